import asyncio
import itertools
import json
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.errors import EndpointError
from experiments.local import http
from experiments.local.http import Request, Response
from experiments.local.process import LocalEndpoint

TOKEN = st.text("abcdefghijklmnopqrstuvwxyzABC-", min_size=1, max_size=10).map("x-{}".format)
VALUE = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=12)
REQUEST = st.fixed_dictionaries(
    {
        "method": st.sampled_from(["GET", "POST", "PUT"]),
        "target": st.text("abc/%2F?=&.", max_size=15).map("/{}".format),
        "headers": st.dictionaries(TOKEN.map(str.lower), VALUE, max_size=4),
        "body": st.binary(max_size=60),
        "chunked": st.booleans(),
    }
)


async def echo(request: Request) -> Response:
    heard = [request.method, request.target, dict(request.headers), request.body.hex()]
    return Response(status=200, headers={"X-Echo": "yes"}, body=json.dumps(heard).encode())


def on_wire(request: dict[str, Any]) -> bytes:
    headers = dict(request["headers"])
    body = request["body"]
    if request["chunked"]:
        headers["transfer-encoding"] = "chunked"
        pieces = [body[start : start + 7] for start in range(0, len(body), 7)] + [b""]
        body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    else:
        headers["content-length"] = str(len(body))
    lines = [f"{request['method']} {request['target']} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "\r\n"]).encode() + body


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").splitlines()
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in head[1:-1])}
    body = await reader.readexactly(int(headers["content-length"]))
    return int(head[0].split(" ")[1]), headers, body


def talk(
    client: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    handler: http.Handler = echo,
    body_limit: int = 6_291_456,
) -> None:
    """Let `client` talk to a real server over one loopback connection."""

    async def main() -> None:
        listener = http.listen("127.0.0.1", 0)
        async with http.serve(handler, listener, body_limit):
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            try:
                async with asyncio.timeout(20):
                    await client(reader, writer)
            finally:
                writer.close()

    http.run(main())


@given(
    requests=st.lists(REQUEST, min_size=1, max_size=4),
    cuts=st.lists(st.integers(0, 1000), max_size=12),
)
def test_requests_parse_the_same_wherever_they_are_split(
    requests: list[dict[str, Any]], cuts: list[int]
) -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        message = b"".join(map(on_wire, requests))
        places = sorted({0, len(message), *(cut % len(message) for cut in cuts)})
        for start, end in itertools.pairwise(places):
            writer.write(message[start:end])
            await asyncio.sleep(0)
            await asyncio.sleep(0)  # the server's turn to read
        for request in requests:
            status, headers, body = await read_answer(reader)
            method, target, heard, heard_body = json.loads(body)
            assert (status, headers["x-echo"]) == (200, "yes")
            assert (method, target) == (request["method"], request["target"])
            assert bytes.fromhex(heard_body) == request["body"]
            assert request["headers"].items() <= heard.items()

    talk(client)


def test_pipelined_requests_are_answered_in_order_one_at_a_time() -> None:
    running = 0

    async def slow_first(request: Request) -> Response:
        nonlocal running
        running += 1
        assert running == 1
        await asyncio.sleep(0.02 if request.target == "/0" else 0)
        running -= 1
        return http.text(200, request.target)

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for number in range(50):
            writer.write(b"GET /%d HTTP/1.1\r\n\r\n" % number)
        for number in range(50):
            assert (await read_answer(reader))[2] == b"/%d" % number

    talk(client, slow_first)


def test_a_header_that_comes_twice_is_joined_and_a_trailer_is_left_out() -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(
            b"POST / HTTP/1.1\r\nA:  one \t\r\nA: two\r\nEmpty:\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nTrailer: no\r\n\r\n"
        )
        heard = json.loads((await read_answer(reader))[2])
        assert heard[2] == {"a": "one,two", "empty": "", "transfer-encoding": "chunked"}

    talk(client)


@pytest.mark.parametrize(
    ("request_head", "closes"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n", True),
        (b"GET / HTTP/1.0\r\n\r\n", True),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", True),
        (b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\nPRI", True),
    ],
)
def test_the_connection_closes_when_it_says_so(request_head: bytes, closes: bool) -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(request_head)
        status, headers, _ = await read_answer(reader)
        assert status == 200
        assert (headers.get("connection") == "close") is closes
        if closes:
            assert await reader.read() == b""
        else:
            writer.write(request_head)
            assert (await read_answer(reader))[0] == 200

    talk(client)


@pytest.mark.parametrize(
    "nonsense",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: two\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_what_is_not_http_is_refused_after_what_came_before_it(nonsense: bytes) -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"GET /first HTTP/1.1\r\n\r\n" + nonsense)
        assert (await read_answer(reader))[0] == 200
        status, headers, _ = await read_answer(reader)
        assert (status, headers["connection"]) == (400, "close")
        assert await reader.read() == b""

    talk(client)


def test_headers_without_end_are_refused() -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"GET / HTTP/1.1\r\nX: " + b"x" * http.HEAD_LIMIT_BYTES)
        assert (await read_answer(reader))[0] == 431

    talk(client)


def test_a_body_over_the_limit_is_refused_and_the_connection_goes_on() -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for size, expected in ((100_000, 200), (100_001, 413)):
            writer.write(b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % size + bytes(size))
            status, headers, _ = await read_answer(reader)
            assert status == expected
            assert ("x-amzn-requestid" in headers) is (expected == 413)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        assert (await read_answer(reader))[0] == 200

    talk(client, body_limit=100_000)


def test_a_client_that_waits_to_be_told_to_continue_is_told() -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"hi")
        status, _, body = await read_answer(reader)
        assert (status, json.loads(body)[3]) == (200, b"hi".hex())

    talk(client)


def test_a_handler_that_fails_is_a_500_and_the_server_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def handler(request: Request) -> Response:
        if request.target == "/fail":
            raise KeyError("gone")
        return http.text(200, "well")

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"GET /fail HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n")
        assert (await read_answer(reader))[0] == 500
        assert (await read_answer(reader))[0] == 200

    talk(client, handler)
    assert "KeyError" in caplog.text


def test_the_endpoint_survives_what_is_not_http(endpoint: LocalEndpoint) -> None:
    for message in (b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", endpoint.port), timeout=10) as connection:
            connection.sendall(message)
            status = int(connection.recv(1000).split(b" ")[1])
        assert status == (400 if message.startswith(b"nonsense") else 403)


def test_a_port_in_use_is_named() -> None:
    with http.listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EndpointError, match=f"127.0.0.1, port {port}: .* in use"):
            http.listen("127.0.0.1", port)


def test_an_address_of_another_machine_is_named() -> None:
    with pytest.raises(EndpointError, match=r"203\.0\.113\.1"):
        http.listen("203.0.113.1", 0)


async def pieces_of(count: int, fails: bool) -> Any:
    for _ in range(count):
        yield b"x" * 100_000
    if fails:
        raise RuntimeError("in the middle")


def test_a_stream_is_sent_in_chunks_and_waits_for_its_reader() -> None:
    async def handler(_: Request) -> Response:
        return Response(status=200, headers={}, body=b"", stream=pieces_of(200, fails=False))

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            writer.write(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            assert b"Transfer-Encoding: chunked" in head
            assert b"Content-Length" not in head
            await asyncio.sleep(0.05)  # more is waiting by now than the sockets hold
            whole = 0
            while size := int(await reader.readuntil(b"\r\n"), 16):
                whole += size
                await reader.readexactly(size + 2)
            assert await reader.readexactly(2) == b"\r\n"
            assert whole == 20_000_000

    talk(client, handler)


def test_a_stream_that_fails_ends_its_connection(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(_: Request) -> Response:
        return Response(status=200, headers={}, body=b"", stream=pieces_of(1, fails=True))

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n")
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1_000_000)

    talk(client, handler)
    assert "A streamed answer failed" in caplog.text
