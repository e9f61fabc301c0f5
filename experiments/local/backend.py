"""What answers an invocation: a simulated instance, or a model server."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import NamedTuple, Protocol

from experiments.local.clock import Clock
from experiments.local.http import Response, text
from experiments.local.instance import Instance
from experiments.local.sessions import SESSION_ID, NotOpenError, Sessions

ANSWER = b'{"predictions": [{"label": 0}]}'
"""What a simulated instance says to every request; each part of a stream is a line of it."""


class Ask(Protocol):
    """Headers and body in, the answer of a model server out; `streamed`, its head and a stream."""

    async def __call__(
        self, headers: Mapping[str, str], body: bytes, *, streamed: bool = False
    ) -> Response:
        """Ask the model server.

        Raises:
            OSError: there is no answer.
        """
        ...


class Reply(NamedTuple):
    """An answer, and the time that it waited for a worker and that it was served.

    Of a streamed answer it is known beforehand how long that takes, or counts to its head.
    """

    response: Response
    wait_s: float
    service_s: float


class Backend(Protocol):
    """One instance of a variant, as the endpoint calls it."""

    def outstanding(self, at_s: float) -> int:
        """Count its requests that are not done."""
        ...

    async def invoke(
        self,
        headers: Mapping[str, str],
        body: bytes,
        at_s: float,
        extra_s: float,
        *,
        streamed: bool = False,
    ) -> Reply:
        """Answer the request that arrived at `at_s`; `extra_s` makes its service longer.

        A `streamed` answer has a stream, which raises OSError where it breaks.

        Raises:
            TimeoutError: it takes longer than a model may.
            OSError: there is no answer.
        """
        ...


class Simulated:
    """An instance that is only a queue: it takes its time, and says the same to everyone."""

    def __init__(self, instance: Instance, clock: Clock, limit_s: float, chunks: int = 1) -> None:
        self._instance = instance
        self._clock = clock
        self._limit_s = limit_s
        self._chunks = chunks
        self._sessions = Sessions()
        self.outstanding = instance.outstanding

    async def invoke(
        self,
        headers: Mapping[str, str],
        body: bytes,
        at_s: float,
        extra_s: float,
        *,
        streamed: bool = False,
    ) -> Reply:
        """Answer any request, once it has waited and been served."""
        begins_at_s, ends_at_s = self._instance.arrives(at_s, len(body), extra_s)
        service_s = ends_at_s - begins_at_s
        first_at_s = begins_at_s + service_s / self._chunks if streamed else ends_at_s
        if first_at_s > at_s + self._limit_s:
            await self._clock.sleep_until(at_s + self._limit_s)
            raise TimeoutError
        await self._clock.sleep_until(first_at_s)
        said = {"content-type": "application/json"}
        try:
            if SESSION_ID in headers:
                said |= self._sessions.answer(headers, body)
            stream = self._parts(begins_at_s, service_s) if streamed else None
            response = Response(200, said, ANSWER, None, stream)
        except NotOpenError as error:
            response = text(400, str(error))
        return Reply(response, begins_at_s - at_s, service_s)

    async def _parts(self, begins_at_s: float, service_s: float) -> AsyncGenerator[bytes]:
        for number in range(1, self._chunks + 1):
            await self._clock.sleep_until(begins_at_s + service_s * number / self._chunks)
            yield ANSWER + b"\n"


class Model:
    """A model server; how long a request waits in it, it does not say."""

    def __init__(self, ask: Ask, clock: Clock, limit_s: float) -> None:
        self._ask = ask
        self._clock = clock
        self._limit_s = limit_s
        self._calls = 0

    def outstanding(self, _at_s: float) -> int:
        """Count the calls that are not answered."""
        return self._calls

    async def invoke(
        self,
        headers: Mapping[str, str],
        body: bytes,
        at_s: float,
        extra_s: float,
        *,
        streamed: bool = False,
    ) -> Reply:
        """Answer with what the model server says."""
        self._calls += 1
        try:
            async with asyncio.timeout(self._limit_s):
                response = await self._ask(headers, body, streamed=streamed)
                if extra_s:
                    await self._clock.sleep_until(self._clock.now_s() + extra_s)
        finally:
            self._calls -= 1
        if response.stream is not None:
            response = response._replace(stream=self._counted(response.stream))
        return Reply(response, 0.0, self._clock.now_s() - at_s)

    async def _counted(self, stream: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
        self._calls += 1
        try:
            async for piece in stream:
                yield piece
        finally:
            self._calls -= 1
            await stream.aclose()
