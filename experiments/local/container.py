"""A model server as the endpoint calls it: SageMaker's container contract, connections kept."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator
from typing import cast

import httptools

from experiments.local.backend import Asked
from experiments.local.http import Response

PING_LIMIT_S = 2.0
"""SageMaker's own limit on the answer to a ping."""

_MOST_PIECES = 32
"""Of an answer that nobody has taken yet; then the model server has to wait."""


class Container:
    """A model server on `host` and `port`.

    A call that gets no answer raises OSError; how long it may take is the caller's matter.
    """

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._idle: list[_Connection] = []

    async def invoke(self, asked: Asked) -> Response:
        """Return the answer to POST /invocations; a streamed one as soon as its head is there.

        The stream of an answer raises OSError where it breaks.
        """
        return await self._call("POST /invocations", asked)

    async def is_healthy(self, within_s: float) -> bool:
        """Ask GET /ping until it is answered with 200, or `within_s` seconds are over."""
        deadline = time.monotonic() + within_s
        while True:
            with contextlib.suppress(OSError):
                async with asyncio.timeout(PING_LIMIT_S):
                    if (await self._call("GET /ping", Asked())).status == 200:
                        return True
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(0.05)

    async def _call(self, line: str, asked: Asked) -> Response:
        lines = [f"{line} HTTP/1.1", f"host: {self._host}:{self._port}"]
        lines += [f"{name}: {value}" for name, value in asked.headers.items()]
        lines += [f"content-length: {len(asked.body)}", "\r\n"]
        connection = await self._connected()
        try:
            # What has been written may have been served, and is not sent again.
            connection.send("\r\n".join(lines).encode("latin-1") + asked.body)
            head = await connection.next_event()
        except BaseException:
            connection.transport.abort()
            raise
        assert isinstance(head, Response)
        stream = self._pieces(connection)
        if asked.streamed:
            return head._replace(stream=stream)
        return head._replace(body=b"".join([piece async for piece in stream]))

    async def _connected(self) -> "_Connection":
        while self._idle:
            connection = self._idle.pop()
            if not connection.transport.is_closing():
                return connection
        loop = asyncio.get_running_loop()
        return (await loop.create_connection(_Connection, self._host, self._port))[1]

    async def _pieces(self, connection: "_Connection") -> AsyncGenerator[bytes]:
        """Give the body as it arrives, and then the connection back."""
        try:
            while isinstance(piece := await connection.next_event(), bytes):
                yield piece
        except BaseException:  # the reader's giving up, too
            connection.transport.abort()
            raise
        if connection.reusable:
            self._idle.append(connection)
        else:
            connection.transport.abort()


class _Connection(asyncio.Protocol):
    """One connection to the model server; carries one exchange at a time."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.reusable = True
        self._parser = httptools.HttpResponseParser(self)
        self._begin()

    def _begin(self) -> None:
        self._events: asyncio.Queue[Response | bytes | ConnectionError | None] = asyncio.Queue()
        self._received = False
        self._ends_with_connection = False

    def send(self, message: bytes) -> None:
        """Send a request, of whose answer `next_event` gives what comes."""
        self._begin()
        if self.transport.is_closing():
            self.connection_lost(None)
        else:
            self.transport.write(message)

    async def next_event(self) -> Response | bytes | None:
        """Return the answer's head, then each piece of its body, then `None`, or raise OSError."""
        event = await self._events.get()
        if self._events.qsize() < _MOST_PIECES:
            self.transport.resume_reading()
        if isinstance(event, ConnectionError):
            raise event
        return event

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._ends_with_connection and exc is None:
            self.on_message_complete()
        else:
            when = "in the middle of its answer" if self._received else "without an answer"
            self._events.put_nowait(ConnectionError(f"it closed the connection {when}"))

    def data_received(self, data: bytes) -> None:
        self._received = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._events.put_nowait(ConnectionError(f"its answer is not HTTP/1.1: {error}"))

    def on_message_begin(self) -> None:
        self._headers: dict[str, str] = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1").strip(" \t")

    def on_headers_complete(self) -> None:
        self.reusable = self._parser.should_keep_alive()
        framed = {"content-length", "transfer-encoding"} & self._headers.keys()
        self._ends_with_connection = not framed and not self.reusable
        self._events.put_nowait(Response(self._parser.get_status_code(), self._headers, b""))

    def on_body(self, body: bytes) -> None:
        self._events.put_nowait(body)
        if self._events.qsize() >= _MOST_PIECES:
            self.transport.pause_reading()

    def on_message_complete(self) -> None:
        self._events.put_nowait(None)
