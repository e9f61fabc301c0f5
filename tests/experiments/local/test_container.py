import asyncio
import contextlib

import pytest

from experiments.local.backend import Asked
from experiments.local.container import Container
from experiments.local.http import Response

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def against(*scripts: list[bytes]) -> tuple[list[Response | OSError], list[int]]:
    """Call a server that follows a script a connection: answer each request, then close.

    Returns what came of as many calls as there are answers, and requests seen a connection.
    """
    seen: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = len(seen)
        seen.append(0)
        for answer in scripts[number]:
            await reader.readuntil(b"\r\n\r\nbody")
            seen[number] += 1
            writer.write(answer)
            await writer.drain()
        writer.close()

    async def main() -> list[Response | OSError]:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        container = Container(*server.sockets[0].getsockname())
        outcomes: list[Response | OSError] = []
        async with server, asyncio.timeout(20):
            for _ in range(3):
                await asyncio.sleep(0.02)  # time for a closing to arrive
                try:
                    outcomes.append(await container.invoke(Asked({"accept": "x"}, b"body")))
                except OSError as error:
                    outcomes.append(error)
        return outcomes

    return asyncio.run(main()), seen


def bodies(outcomes: list[Response | OSError]) -> list[bytes | str]:
    return [one.body if isinstance(one, Response) else str(one) for one in outcomes]


def test_calls_share_one_connection() -> None:
    outcomes, seen = against([OK, OK, OK])
    assert (bodies(outcomes), seen) == ([b"ok"] * 3, [3])


def test_a_connection_that_went_stale_is_replaced() -> None:
    outcomes, seen = against([OK], [OK], [OK])
    assert (bodies(outcomes), seen) == ([b"ok"] * 3, [1, 1, 1])


def test_a_call_closed_without_an_answer_is_not_sent_again() -> None:
    outcomes, seen = against([OK, b""], [OK])
    assert bodies(outcomes) == [b"ok", "it closed the connection without an answer", b"ok"]
    assert seen == [2, 1]


def test_a_call_closed_within_its_answer_is_not_sent_again() -> None:
    outcomes, seen = against([OK, b"HTTP/1.1 200"], [OK])
    assert bodies(outcomes) == [
        b"ok",
        "it closed the connection in the middle of its answer",
        b"ok",
    ]
    assert seen == [2, 1]


def test_a_fresh_connection_that_is_closed_is_not_tried_again() -> None:
    outcomes, seen = against([b""], [b""], [b""])
    assert bodies(outcomes) == ["it closed the connection without an answer"] * 3
    assert seen == [1, 1, 1]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\n\r\nok",
    ],
)
def test_every_framing_of_an_answer_is_read(answer: bytes) -> None:
    outcomes, _ = against([answer], [answer], [answer])
    assert bodies(outcomes) == [b"ok"] * 3


def test_an_answer_that_is_not_http_is_an_error_and_its_connection_is_dropped() -> None:
    outcomes, seen = against([b"nonsense\r\n\r\n"], [OK, OK])
    assert "not HTTP" in str(bodies(outcomes)[0])
    assert seen == [1, 2]


def test_a_cancelled_call_takes_its_connection_with_it() -> None:
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")
        if connections == 1:
            await reader.read()  # until the client goes
        writer.write(OK)
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            container = Container(*server.sockets[0].getsockname())
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await container.invoke(Asked())
            assert (await container.invoke(Asked())).body == b"ok"

    asyncio.run(main())
    assert connections == 2


def test_a_server_that_is_not_there_is_not_healthy() -> None:
    async def main() -> bool:
        server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        server.close()
        await server.wait_closed()
        return await Container(*address).is_healthy(0.1)

    assert asyncio.run(main()) is False


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def streamed(*pieces: bytes, most: int | None = None) -> tuple[list[bytes | str], list[int]]:
    """Call twice a server that sends pieces one by one; read each answer, or `most` of its pieces.

    Returns what came, an error as its text, and the requests seen a connection.
    """
    seen: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = len(seen)
        seen.append(0)
        try:
            while True:
                await reader.readuntil(b"\r\n\r\nbody")
                seen[number] += 1
                for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0.01)
                if b"0\r\n\r\n" not in pieces:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()

    async def main() -> list[bytes | str]:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        container = Container(*server.sockets[0].getsockname())
        came: list[bytes | str] = []
        async with server, asyncio.timeout(20):
            for _ in range(2):
                response = await container.invoke(Asked(body=b"body", streamed=True))
                assert (response.status, response.body) == (200, b"")
                assert response.stream is not None
                try:
                    async with contextlib.aclosing(response.stream) as stream:
                        async for piece in stream:
                            came.append(piece)
                            if len(came) == most:
                                break
                except OSError as error:
                    came.append(str(error))
            for connection in container._idle:
                connection.transport.abort()
            await asyncio.sleep(0.05)  # the server sees that, and closes its own
        return came

    return asyncio.run(main()), seen


def test_a_stream_gives_each_piece_and_then_its_connection_back() -> None:
    came, seen = streamed(CHUNKED, b"3\r\none\r\n", b"3\r\ntwo\r\n", b"0\r\n\r\n")
    assert (came, seen) == ([b"one", b"two"] * 2, [2])


def test_a_stream_may_end_with_its_connection() -> None:
    came, seen = streamed(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", b"one", b"two")
    assert (came, seen) == ([b"one", b"two"] * 2, [1, 1])


def test_a_stream_that_breaks_says_so_after_what_came() -> None:
    came, seen = streamed(CHUNKED, b"3\r\none\r\n")
    broken = "it closed the connection in the middle of its answer"
    assert (came, seen) == ([b"one", broken] * 2, [1, 1])


def test_a_stream_that_nobody_reads_to_its_end_takes_its_connection_with_it() -> None:
    came, seen = streamed(CHUNKED, b"3\r\none\r\n", b"3\r\ntwo\r\n", b"0\r\n\r\n", most=1)
    assert came[0] == b"one"
    assert seen == [1, 1]


def test_a_stream_longer_than_what_may_wait_is_whole() -> None:
    pieces = [b"3\r\n%03d\r\n" % number for number in range(120)]
    came, _ = streamed(CHUNKED, b"".join(pieces), b"0\r\n\r\n")
    assert came == [b"%03d" % number for number in range(120)] * 2
