"""A model server as the endpoint calls it: SageMaker's container contract, connections kept."""

import asyncio
import contextlib
import time
from collections.abc import Mapping
from typing import cast

import httptools

from experiments.local.http import Response

PING_LIMIT_S = 2.0
"""SageMaker's own limit on the answer to a ping."""


class Container:
    """A model server on `host` and `port`.

    A call that gets no answer raises OSError; how long it may take is the caller's matter.
    """

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._idle: list[_Connection] = []

    async def invoke(self, headers: Mapping[str, str], body: bytes) -> Response:
        """Return the answer to POST /invocations."""
        return await self._call("POST /invocations", headers, body)

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

    async def _call(self, line: str, headers: Mapping[str, str], body: bytes) -> Response:
        lines = [f"{line} HTTP/1.1", f"host: {self._host}:{self._port}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines += [f"content-length: {len(body)}", "\r\n"]
        message = "\r\n".join(lines).encode("latin-1") + body
        while self._idle:
            connection = self._idle.pop()
            # What has been written may have been served, and is not sent again.
            if not connection.transport.is_closing():
                return await self._exchange(connection, message)
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(_Connection, self._host, self._port)
        return await self._exchange(connection, message)

    async def _exchange(self, connection: "_Connection", message: bytes) -> Response:
        try:
            response = await connection.send(message)
        except BaseException:
            connection.transport.abort()
            raise
        if connection.reusable:
            self._idle.append(connection)
        else:
            connection.transport.abort()
        return response


class _Connection(asyncio.Protocol):
    """One connection to the model server; carries one exchange at a time."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.reusable = True
        self._parser = httptools.HttpResponseParser(self)
        self._answer: asyncio.Future[Response] | None = None

    def send(self, message: bytes) -> asyncio.Future[Response]:
        """Send a request; the future holds its response."""
        self._answer = asyncio.get_running_loop().create_future()
        self._received = False
        self._ends_with_connection = False
        if self.transport.is_closing():
            self.connection_lost(None)
        else:
            self.transport.write(message)
        return self._answer

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

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if self._answer is not None and not self._answer.done():
            body = b"".join(self._body)
            self._answer.set_result(Response(status=status, headers=self._headers, body=body))

    def _fail(self, error: ConnectionError) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
