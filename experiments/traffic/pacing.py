"""Wakes each slot when its request is due, to a fraction of a millisecond.

gevent's own timers count whole milliseconds. Linux has timers that expire to the microsecond
(experiments/timer.py), which the event loop can wait for like for a socket; elsewhere the slots
sleep on gevent's timers, and each record still carries its scheduled and its real start.
"""

import contextlib
import heapq
import time
from itertools import count

import gevent
from gevent import get_hub, getcurrent
from gevent.event import Event

from experiments.timer import Timer

_S = 1_000_000_000


class Pacer:
    """Wakes sleepers in the order in which they are due; one timer serves them all."""

    def __init__(self, stop: Event) -> None:
        self._stop = stop
        self._sleepers: list[tuple[int, int, gevent.Greenlet]] = []
        self._ticket = count()  # sleepers with one time are woken in the order of their coming
        self._timer: Timer | None = None
        with contextlib.suppress(OSError):
            self._timer = Timer()
        if self._timer is not None:
            self._watcher = get_hub().loop.io(self._timer.fd, 1)
            self._watcher.start(self._wake)
            stop.rawlink(self._wake_all)

    def wait_until(self, due_ns: int) -> bool:
        """Sleep until `due_ns` on `time.perf_counter_ns()`; say whether the run was stopped."""
        if self._stop.is_set():
            return True
        if self._timer is None:
            return self._sleep_by_gevent(due_ns)
        if due_ns > time.perf_counter_ns():
            sleeper = (due_ns, next(self._ticket), getcurrent())
            heapq.heappush(self._sleepers, sleeper)
            if self._sleepers[0] is sleeper:
                self._timer.set(due_ns)
            try:
                get_hub().switch()
            except BaseException:  # killed asleep; nobody must wake it from what it does next
                with contextlib.suppress(ValueError):
                    self._sleepers.remove(sleeper)
                    heapq.heapify(self._sleepers)
                raise
        return bool(self._stop.is_set())

    def close(self) -> None:
        """Give the timer back. Nobody may be asleep any more."""
        if self._timer is not None:
            self._stop.unlink(self._wake_all)
            self._watcher.stop()
            self._watcher.close()
            self._timer.close()
            self._timer = None

    def _sleep_by_gevent(self, due_ns: int) -> bool:
        while (remaining_ns := due_ns - time.perf_counter_ns()) > 0:
            if self._stop.wait(remaining_ns / _S):
                return True
        return False

    def _wake(self) -> None:
        """Run in the event loop when the timer has expired: wake all that are due by now."""
        assert self._timer is not None
        if not self._timer.has_expired():
            return  # it was set anew after it had expired
        while self._sleepers and self._sleepers[0][0] <= time.perf_counter_ns():
            heapq.heappop(self._sleepers)[2].switch()
        if self._sleepers:
            self._timer.set(self._sleepers[0][0])

    def _wake_all(self, _stop: Event) -> None:
        sleepers, self._sleepers = self._sleepers, []
        for _, _, greenlet in sleepers:
            get_hub().loop.run_callback(greenlet.switch)
