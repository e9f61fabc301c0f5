"""What goes over the wire when an answer is spoilt."""

import asyncio
import contextlib
from itertools import pairwise

import pytest

from experiments.local import http
from experiments.local.delivery import Spoilt
from experiments.local.http import Request, Response

BODY = b"0123456789" * 10


def received(spoilt: Spoilt) -> tuple[list[tuple[float, bytes]], str]:
    """What arrives, with times in seconds, and how the connection ends."""

    async def handler(_request: Request) -> Response:
        return Response(status=200, headers={}, body=BODY, spoilt=spoilt)

    async def main() -> tuple[list[tuple[float, bytes]], str]:
        listener = http.listen("127.0.0.1", 0)
        loop = asyncio.get_running_loop()
        pieces: list[tuple[float, bytes]] = []
        async with http.serve(handler, listener):
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            ends = "stays"
            try:
                with contextlib.suppress(TimeoutError):
                    while True:
                        piece = await asyncio.wait_for(reader.read(65_536), 0.6)
                        if not piece:
                            ends = "closed"
                            break
                        pieces.append((loop.time(), piece))
            except ConnectionResetError:
                ends = "reset"
            writer.close()
        return pieces, ends

    return http.run(main())


@pytest.mark.parametrize(
    ("how", "body", "ends"),
    [
        ("slow_body", BODY, "stays"),
        ("cut_body", BODY[:50], "closed"),
        ("closed_keep_alive", BODY, "closed"),
    ],
)
def test_the_head_promises_all_of_the_body_and_the_connection(
    how: str, body: bytes, ends: str
) -> None:
    pieces, ended = received(Spoilt(how, 0.2))  # type: ignore[arg-type]
    head, _, found = b"".join(piece for _, piece in pieces).partition(b"\r\n\r\n")
    assert b"Content-Length: 100" in head
    assert b"Connection" not in head
    assert (found, ended) == (body, ends)


def test_a_slow_body_comes_in_pieces_over_its_time() -> None:
    pieces, _ = received(Spoilt("slow_body", 0.2))
    assert len(pieces) > 5
    assert pieces[-1][0] - pieces[0][0] >= 0.17
    assert max(later - sooner for (sooner, _), (later, _) in pairwise(pieces)) < 0.15


def test_a_reset_sends_nothing() -> None:
    assert received(Spoilt("reset")) == ([], "reset")


def test_wrong_bytes_are_not_http() -> None:
    pieces, ended = received(Spoilt("wrong_bytes"))
    assert ended == "closed"
    assert not b"".join(piece for _, piece in pieces).startswith(b"HTTP")
