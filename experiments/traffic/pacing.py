"""Wakes a slot when its request is due."""

import time

from gevent.event import Event


def wait_until(due_ns: int, stop: Event) -> bool:
    """Sleep until `due_ns` on `time.perf_counter_ns()`; say whether the run was stopped meanwhile.

    gevent's timers count whole milliseconds, so that a request leaves up to 1 ms late; each
    record carries its scheduled and its real start.
    """
    while (remaining_ns := due_ns - time.perf_counter_ns()) > 0:
        if stop.wait(remaining_ns / 1e9):
            return True
    return bool(stop.is_set())
