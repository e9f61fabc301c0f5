"""A small HTTP/1.1 server on asyncio and httptools: Request in, Response out, one at a time."""

import asyncio
import contextlib
import errno
import logging
import os
import socket
import sys
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from functools import lru_cache
from http.client import responses as phrases
from typing import Any, NamedTuple, TypeVar, cast

import httptools
import uvloop

from experiments.errors import EndpointError
from experiments.local.delivery import Spoilt, deliver

BACKLOG = 1024
"""A short backlog drops connections of a burst, and each then waits a second for its next SYN."""

HEAD_LIMIT_BYTES = 65_536
"""Request line and headers; what one read from the socket brings is let through beyond it."""

_T = TypeVar("_T")
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request as it came: `target` still escaped, header names in lower case.

    A header that came more than once has its values joined with commas.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


class Response(NamedTuple):
    """What is sent back. The server adds Date, Connection, and how the body is framed.

    A body that is in chunks already has Transfer-Encoding in its headers.
    """

    status: int
    headers: dict[str, str]
    body: bytes
    spoilt: Spoilt | None = None
    """How it goes wrong on its way, where it is meant to."""
    stream: AsyncGenerator[bytes] | None = None
    """Gives the body in pieces, in place of `body`; each is sent at once, as a chunk."""


Handler = Callable[[Request], Awaitable[Response]]


def text(status: int, message: str) -> Response:
    """Return a response that says `message` in plain text."""
    return Response(status, {"Content-Type": "text/plain; charset=utf-8"}, message.encode())


def too_long(limit: int) -> Response:
    """Return the answer to a body of more than `limit` bytes."""
    return text(413, f"HTTP content length exceeded {limit} bytes.")


def request_id() -> str:
    """Return an id for an answer, written as a UUID is; `uuid.uuid4` takes three times as long."""
    digits = os.urandom(16).hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def run(main: Coroutine[Any, Any, _T]) -> _T:
    """Run `main` to its end."""
    return uvloop.run(main)


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 takes a free one.

    Raises:
        EndpointError: the port is in use, or the address is none of this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except (OSError, OverflowError) as error:
        in_use = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        why = "the port is in use by another process" if in_use else str(error).rstrip(".")
        raise EndpointError(
            f"Cannot listen on {host}, port {port}: {why}.",
            "Choose another port, or 0 for a free one.",
        ) from error
    # Its connections inherit this. asyncio sets it only where the socket states its protocol.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


@contextlib.asynccontextmanager
async def serve(
    handler: Handler, listener: socket.socket, body_limit: int = sys.maxsize
) -> AsyncIterator[None]:
    """Answer requests on `listener` while the context lasts; then drop its connections.

    At the end the answers under way are cancelled and awaited, so that what they use outlives them.
    A body of more than `body_limit` bytes is answered with 413.
    """
    connections: set[_Connection] = set()
    server = await asyncio.get_running_loop().create_server(
        lambda: _Connection(handler, connections, body_limit), sock=listener, backlog=BACKLOG
    )
    try:
        yield
    finally:
        server.close()
        for connection in list(connections):
            connection.transport.abort()  # which cancels its answer
        answers = (one._answering for one in connections if one._answering is not None)
        await asyncio.gather(*answers, return_exceptions=True)


class _Connection(asyncio.Protocol):
    """One client's connection: parses what arrives, and answers it in order."""

    transport: asyncio.Transport

    def __init__(self, handler: Handler, connections: set["_Connection"], body_limit: int) -> None:
        self._handler = handler
        self._connections = connections
        self._body_limit = body_limit
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[tuple[Request | Response, bool]] = deque()
        self._answering: asyncio.Task[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._input_ended = False
        self._in_body = False
        self._head_bytes = 0
        self.on_message_begin()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._connections.add(self)

    def connection_lost(self, _exc: Exception | None) -> None:
        if self._answering is None:
            self._connections.discard(self)
        else:  # until then it is awaited when the server stops
            self._answering.add_done_callback(lambda _: self._connections.discard(self))
            self._answering.cancel()

    def data_received(self, data: bytes) -> None:
        if self._input_ended:
            return
        if not self._in_body:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._input_ended = True  # what follows is in a protocol that is not spoken here
        except httptools.HttpParserError as error:
            self._refuse(text(400, f"This is not HTTP/1.1: {error}."))
        if self._head_bytes > HEAD_LIMIT_BYTES:
            self._refuse(text(431, f"The headers exceed {HEAD_LIMIT_BYTES} bytes."))

    def pause_writing(self) -> None:
        self._drained = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        self._drained = None

    def on_message_begin(self) -> None:
        self._target = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._body_bytes = 0

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_body:
            return  # a trailer of a chunked body is none of the headers
        key = _header_name(name)
        content = value.decode("latin-1").strip(" \t")
        if key in self._headers:
            content = f"{self._headers[key]},{content}"
        self._headers[key] = content

    def on_headers_complete(self) -> None:
        self._in_body = True
        self._head_bytes = 0
        # curl waits a second for this before it sends a long body.
        if self._answering is None and "100-continue" in self._headers.get("expect", ""):
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        # A body over the limit is still read to its end: a client that is writing does not listen.
        self._body_bytes += len(body)
        if self._body_bytes <= self._body_limit:
            self._body.append(body)

    def on_message_complete(self) -> None:
        self._in_body = False
        parser = self._parser
        method = parser.get_method().decode("ascii")
        # Keep-alive is not granted to HTTP/1.0; and a body that HEAD does not expect must not be
        # taken for the next answer.
        stays = parser.should_keep_alive() and not parser.should_upgrade()
        stays = stays and parser.get_http_version() == "1.1" and method != "HEAD"
        item: Request | Response = Request(
            method=method,
            target=self._target.decode("latin-1"),
            headers=self._headers,
            body=b"".join(self._body),
        )
        if self._body_bytes > self._body_limit:
            item = too_long(self._body_limit)
            item.headers["x-amzn-RequestId"] = request_id()  # AWS's have one; no handler sees this
        self._enqueue(item, stays)

    def _refuse(self, response: Response) -> None:
        self._input_ended = True
        self._enqueue(response, stays=False)

    def _enqueue(self, item: Request | Response, stays: bool) -> None:
        if self._answering is None:
            self._answering = asyncio.get_running_loop().create_task(self._answer(item, stays))
        else:
            self._waiting.append((item, stays))
            self.transport.pause_reading()

    async def _answer(self, item: Request | Response, stays: bool) -> None:
        while True:
            response = item if isinstance(item, Response) else await self._handle(item)
            head = _head(response, stays)
            if response.stream is not None:
                stays = await self._send_chunks(head, response.stream) and stays
            elif response.spoilt is not None:
                whole = await deliver(self.transport, head, response.body, response.spoilt)
                stays = stays and whole
            else:
                # In one piece: two small writes would wait for each other's acknowledgement.
                self.transport.write(head + response.body)
            if not stays:
                self._input_ended = True
                self.transport.close()
                return
            if not self._waiting:
                break
            item, stays = self._waiting.popleft()
        self._answering = None
        self.transport.resume_reading()

    async def _send_chunks(self, head: bytes, stream: AsyncGenerator[bytes]) -> bool:
        """Send each piece as it comes; return whether all of it was sent."""
        self.transport.write(head)
        try:
            async with contextlib.aclosing(stream):
                async for piece in stream:
                    self.transport.write(chunk(piece))
                    if self._drained is not None:
                        await self._drained
        except Exception:
            logger.exception("A streamed answer failed")
            self.transport.abort()
            return False
        self.transport.write(chunk(b""))
        return True

    async def _handle(self, request: Request) -> Response:
        try:
            return await self._handler(request)
        except Exception:
            logger.exception("%s %s failed", request.method, request.target)
            return text(500, "The server failed; its log says how.")


def chunk(piece: bytes) -> bytes:
    """Return a chunk of a chunked body; the empty one is its last."""
    return b"%x\r\n%b\r\n" % (len(piece), piece)


def _head(response: Response, stays: bool) -> bytes:
    lines = [f"HTTP/1.1 {response.status} {phrases.get(response.status, '')}"]
    lines += [f"{name}: {value}" for name, value in response.headers.items()]
    if response.stream is not None:
        lines.append("Transfer-Encoding: chunked")
    elif "Transfer-Encoding" not in response.headers:
        lines.append(f"Content-Length: {len(response.body)}")
    lines.append(f"Date: {_date(int(time.time()))}")
    if not stays:
        lines.append("Connection: close")
    return "\r\n".join([*lines, "\r\n"]).encode("latin-1")


@lru_cache(maxsize=256)
def _header_name(name: bytes) -> str:
    return name.decode("latin-1").lower()


@lru_cache(maxsize=1)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)
