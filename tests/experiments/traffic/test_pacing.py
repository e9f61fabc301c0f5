"""A slot wakes when its request is due, never before, and at once when the run stops."""

import time

import gevent
from gevent.event import Event

from experiments.traffic.pacing import wait_until


def test_it_never_wakes_early() -> None:
    for wait_ns in (0, 100_000, 1_500_000, 20_300_000):
        due_ns = time.perf_counter_ns() + wait_ns
        assert not wait_until(due_ns, Event())
        assert time.perf_counter_ns() >= due_ns


def test_a_time_that_has_passed_does_not_wait() -> None:
    assert not wait_until(time.perf_counter_ns() - 1, Event())


def test_a_stopped_run_wakes_it() -> None:
    stop = Event()
    gevent.spawn_later(0.01, stop.set)
    began_s = time.perf_counter()
    assert wait_until(time.perf_counter_ns() + 60_000_000_000, stop)
    assert time.perf_counter() - began_s < 30
    assert wait_until(0, stop)
