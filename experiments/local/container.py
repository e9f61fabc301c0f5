"""A model server as the endpoint calls it: SageMaker's container contract, connections kept."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Mapping
from typing import cast

import httptools

from experiments.local.http import Response

PING_LIMIT_S = 2.0
"""SageMaker's own limit on the answer to a ping."""

_MOST_PIECES = 32
"""Of a streamed answer that nobody has taken yet; then the model server has to wait."""


class Container:
    """A model server on `host` and `port`.

    A call that gets no answer raises OSError; how long it may take is the caller's matter.
    """

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._idle: list[_Connection] = []

    async def invoke(
        self, headers: Mapping[str, str], body: bytes, *, streamed: bool = False
    ) -> Response:
        """Return the answer to POST /invocations; `streamed`, as soon as its head is there.

        The stream of an answer raises OSError where it breaks.
        """
        return await self._call("POST /invocations", headers, body, streamed=streamed)

    async def is_healthy(self, within_s: float) -> bool:
        """Ask GET /ping until it is answered with 200, or `within_s` seconds are over."""
        deadline = time.monotonic() + within_s
        while True:
            with contextlib.suppress(OSError):
                async with asyncio.timeout(PING_LIMIT_S):
                    if (await self._call("GET /ping", {}, b"")).status == 200:
                        return True
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(0.05)

    async def _call(
        self, line: str, headers: Mapping[str, str], body: bytes, *, streamed: bool = False
    ) -> Response:
        lines = [f"{line} HTTP/1.1", f"host: {self._host}:{self._port}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines += [f"content-length: {len(body)}", "\r\n"]
        message = "\r\n".join(lines).encode("latin-1") + body
        while self._idle:
            connection = self._idle.pop()
            # What has been written may have been served, and is not sent again.
            if not connection.transport.is_closing():
                return await self._exchange(connection, message, streamed)
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(_Connection, self._host, self._port)
        return await self._exchange(connection, message, streamed)

    async def _exchange(
        self, connection: "_Connection", message: bytes, streamed: bool
    ) -> Response:
        try:
            response = await connection.send(message, streamed)
        except BaseException:
            connection.transport.abort()
            raise
        if streamed:
            stream = self._streamed(connection)
            return Response(
                status=response.status, headers=response.headers, body=b"", stream=stream
            )
        self._release(connection)
        return response

    async def _streamed(self, connection: "_Connection") -> AsyncGenerator[bytes]:
        try:
            while (piece := await connection.next_piece()) is not None:
                yield piece
        except BaseException:  # the reader's giving up, too
            connection.transport.abort()
            raise
        self._release(connection)

    def _release(self, connection: "_Connection") -> None:
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
        self._answer: asyncio.Future[Response] | None = None
        self._pieces: asyncio.Queue[bytes | ConnectionError | None] | None = None

    def send(self, message: bytes, streamed: bool) -> asyncio.Future[Response]:
        """Send a request; the future holds its response, or the head of a streamed one."""
        self._answer = asyncio.get_running_loop().create_future()
        self._pieces = asyncio.Queue() if streamed else None
        self._received = False
        self._ends_with_connection = False
        if self.transport.is_closing():
            self.connection_lost(None)
        else:
            self.transport.write(message)
        return self._answer

    async def next_piece(self) -> bytes | None:
        """Return the next piece of a streamed answer as it arrives; `None` at its end."""
        assert self._pieces is not None
        piece = await self._pieces.get()
        if self._pieces.qsize() < _MOST_PIECES:
            self.transport.resume_reading()
        if isinstance(piece, ConnectionError):
            raise piece
        return piece

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is None:
            return
        if self._ends_with_connection and exc is None:
            self.on_message_complete()
        elif self._received:
            self._fail(ConnectionError("it closed the connection in the middle of its answer"))
        else:
            self._fail(ConnectionError("it closed the connection without an answer"))

    def data_received(self, data: bytes) -> None:
        self._received = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(ConnectionError(f"its answer is not HTTP/1.1: {error}"))

    def on_message_begin(self) -> None:
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1").strip(" \t")

    def on_headers_complete(self) -> None:
        self.reusable = self._parser.should_keep_alive()
        framed = {"content-length", "transfer-encoding"} & self._headers.keys()
        self._ends_with_connection = not framed and not self.reusable
        if self._pieces is not None:
            self._resolve(b"")

    def on_body(self, body: bytes) -> None:
        if self._pieces is None:
            self._body.append(body)
            return
        self._pieces.put_nowait(body)
        if self._pieces.qsize() >= _MOST_PIECES:
            self.transport.pause_reading()

    def on_message_complete(self) -> None:
        if self._pieces is None:
            self._resolve(b"".join(self._body))
        else:
            self._pieces.put_nowait(None)

    def _resolve(self, body: bytes) -> None:
        status = self._parser.get_status_code()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(Response(status=status, headers=self._headers, body=body))

    def _fail(self, error: ConnectionError) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
        elif self._answer is not None and self._pieces is not None:
            self._pieces.put_nowait(error)
