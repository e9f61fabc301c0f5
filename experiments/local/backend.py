"""What answers an invocation: a simulated instance, or a model server."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple, Protocol

from experiments.local.clock import Clock
from experiments.local.http import Response
from experiments.local.instance import Instance

ANSWER = b'{"predictions": [{"label": 0}]}'
"""What a simulated instance says to every request."""

Ask = Callable[[Mapping[str, str], bytes], Awaitable[Response]]
"""Headers and body in, the answer of a model server out."""


class Reply(NamedTuple):
    """An answer, and the time that it waited for a worker and that it was served."""

    response: Response
    wait_s: float
    service_s: float


class Backend(Protocol):
    """One instance of a variant, as the endpoint calls it."""

    def outstanding(self, at_s: float) -> int:
        """Count its requests that are not done."""
        ...

    async def invoke(
        self, headers: Mapping[str, str], body: bytes, at_s: float, extra_s: float
    ) -> Reply:
        """Answer the request that arrived at `at_s`; `extra_s` makes its service longer.

        Raises:
            TimeoutError: it takes longer than a model may.
            OSError: there is no answer.
        """
        ...


class Simulated:
    """An instance that is only a queue: it takes its time, and says the same to everyone."""

    def __init__(self, instance: Instance, clock: Clock, limit_s: float) -> None:
        self._instance = instance
        self._clock = clock
        self._limit_s = limit_s
        self.outstanding = instance.outstanding

    async def invoke(
        self, _headers: Mapping[str, str], body: bytes, at_s: float, extra_s: float
    ) -> Reply:
        """Answer any request, once it has waited and been served."""
        begins_at_s, ends_at_s = self._instance.arrives(at_s, len(body), extra_s)
        if ends_at_s > at_s + self._limit_s:
            await self._clock.sleep_until(at_s + self._limit_s)
            raise TimeoutError
        await self._clock.sleep_until(ends_at_s)
        response = Response(status=200, headers={"content-type": "application/json"}, body=ANSWER)
        return Reply(response, begins_at_s - at_s, ends_at_s - begins_at_s)


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
        self, headers: Mapping[str, str], body: bytes, at_s: float, extra_s: float
    ) -> Reply:
        """Answer with what the model server says."""
        self._calls += 1
        try:
            async with asyncio.timeout(self._limit_s):
                response = await self._ask(headers, body)
                if extra_s:
                    await self._clock.sleep_until(self._clock.now_s() + extra_s)
        finally:
            self._calls -= 1
        return Reply(response, 0.0, self._clock.now_s() - at_s)
