"""The endpoint's clock: seconds since its first invocation, and sleeping to within 0.1 ms."""

import asyncio
import contextlib
import heapq
import time
from itertools import count

from experiments.timer import Timer

_S = 1_000_000_000


class Clock:
    """Seconds that start with the first question for the time; to be made inside the event loop.

    One timer descriptor wakes all sleepers; without one asyncio's timers do, to about 1 ms.
    """

    def __init__(self) -> None:
        self._origin_ns: int | None = None
        self._has_started = asyncio.Event()
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._ticket = count()  # sleepers with one time are woken in the order of their coming
        self._timer: Timer | None = None
        with contextlib.suppress(OSError):
            self._timer = Timer()
            asyncio.get_running_loop().add_reader(self._timer.fd, self._wake)

    def now_s(self) -> float:
        """Return the time; the first call of all returns 0."""
        if self._origin_ns is None:
            self._origin_ns = time.perf_counter_ns()
            self._has_started.set()
            return 0.0
        return (time.perf_counter_ns() - self._origin_ns) / _S

    def elapsed_s(self) -> float:
        """Return the time without starting it: 0 until somebody has."""
        return 0.0 if self._origin_ns is None else self.now_s()

    async def started(self) -> None:
        """Return when somebody has asked for the time."""
        await self._has_started.wait()

    def ns(self, at_s: float) -> int:
        """Return a moment of this clock on `time.perf_counter_ns()`."""
        assert self._origin_ns is not None
        return self._origin_ns + round(at_s * _S)

    async def sleep_until(self, at_s: float) -> None:
        """Return when the time is `at_s`, or at once if that has passed."""
        due_ns = self.ns(at_s)
        if self._timer is None:
            while (remaining_ns := due_ns - time.perf_counter_ns()) > 0:
                await asyncio.sleep(remaining_ns / _S)
        elif due_ns > time.perf_counter_ns():
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            sleeper = (due_ns, next(self._ticket), future)
            heapq.heappush(self._sleepers, sleeper)
            if self._sleepers[0] is sleeper:
                self._timer.set(due_ns)
            await future

    def close(self) -> None:
        """Give the timer back. Nobody may be asleep any more."""
        if self._timer is not None:
            asyncio.get_running_loop().remove_reader(self._timer.fd)
            self._timer.close()
            self._timer = None

    def _wake(self) -> None:
        assert self._timer is not None
        if not self._timer.has_expired():
            return  # it was set anew after it had expired
        while self._sleepers and self._sleepers[0][0] <= time.perf_counter_ns():
            future = heapq.heappop(self._sleepers)[2]
            if not future.done():  # cancelled: its client has gone
                future.set_result(None)
        if self._sleepers:
            self._timer.set(self._sleepers[0][0])
