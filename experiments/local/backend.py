"""What answers an invocation: a simulated instance, or a model server."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import NamedTuple, Protocol

from experiments.local.clock import Clock
from experiments.local.http import Response, text
from experiments.local.instance import Instance
from experiments.local.routing import Queue
from experiments.local.sessions import RefusedError, Sessions

ANSWER = b'{"predictions": [{"label": 0}]}'
"""What a simulated instance says to every request; each part of a stream is a line of it."""


class Asked(NamedTuple):
    """A request as an instance gets it."""

    headers: Mapping[str, str] = {}
    body: bytes = b""
    at_s: float = 0.0
    """When it arrived, on the endpoint's clock."""
    extra_s: float = 0.0
    """By how much its service is longer."""
    streamed: bool = False
    """Whether the answer is to be its head and a stream, which raises OSError where it breaks."""


class Reply(NamedTuple):
    """An answer, and the time that it waited for a worker and that it was served.

    Of a streamed answer it is known beforehand how long that takes, or counts to its head.
    """

    response: Response
    wait_s: float
    service_s: float


Ask = Callable[[Asked], Awaitable[Response]]
"""Asks a model server; OSError: there is no answer."""


class Backend(Queue, Protocol):
    """One instance of a variant, as the endpoint calls it."""

    async def invoke(self, asked: Asked) -> Reply:
        """Answer a request.

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

    async def invoke(self, asked: Asked) -> Reply:
        """Answer any request, once it has waited and been served."""
        at_s = asked.at_s
        begins_at_s, ends_at_s = self._instance.arrives(at_s, len(asked.body), asked.extra_s)
        service_s = ends_at_s - begins_at_s
        first_at_s = begins_at_s + service_s / self._chunks if asked.streamed else ends_at_s
        if first_at_s > at_s + self._limit_s:
            await self._clock.sleep_until(at_s + self._limit_s)
            raise TimeoutError
        await self._clock.sleep_until(first_at_s)
        try:
            said = self._sessions.answer(asked.headers, asked.body)
            stream = self._parts(begins_at_s, service_s) if asked.streamed else None
            said["content-type"] = "application/json"
            response = Response(200, said, ANSWER, None, stream)
        except RefusedError as error:
            response = text(error.status, str(error))
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

    async def invoke(self, asked: Asked) -> Reply:
        """Answer with what the model server says."""
        self._calls += 1
        try:
            async with asyncio.timeout(self._limit_s):
                response = await self._ask(asked)
                if asked.extra_s:
                    await self._clock.sleep_until(self._clock.now_s() + asked.extra_s)
        finally:
            self._calls -= 1
        if response.stream is not None:
            response = response._replace(stream=self._counted(response.stream))
        return Reply(response, 0.0, self._clock.now_s() - asked.at_s)

    async def _counted(self, stream: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
        self._calls += 1
        try:
            async for piece in stream:
                yield piece
        finally:
            self._calls -= 1
            await stream.aclose()
