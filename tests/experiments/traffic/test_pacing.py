"""A slot wakes when its request is due, never before, and at once when the run stops."""

import sys
import time
from collections.abc import Iterator

import gevent
import pytest
from gevent.event import Event

from experiments.traffic.pacing import Pacer

LONG_NS = 60_000_000_000


@pytest.fixture(params=["timer descriptor", "gevent"])
def pacer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pacer]:
    if request.param == "gevent":
        monkeypatch.setattr(sys, "platform", "darwin")
    made = Pacer(Event())
    yield made
    made.close()


def test_it_never_wakes_early(pacer: Pacer) -> None:
    for wait_ns in (0, 100_000, 1_500_000, 20_300_000):
        due_ns = time.perf_counter_ns() + wait_ns
        assert not pacer.wait_until(due_ns)
        assert time.perf_counter_ns() >= due_ns


def test_a_time_that_has_passed_does_not_wait(pacer: Pacer) -> None:
    assert not pacer.wait_until(time.perf_counter_ns() - 1)


def test_sleepers_wake_in_the_order_of_their_times(pacer: Pacer) -> None:
    # Far enough ahead that all are asleep before the first is due, on a busy machine too.
    now_ns = time.perf_counter_ns() + 500_000_000
    woken: list[tuple[int, bool]] = []

    def sleep(number: int) -> None:
        due_ns = now_ns + number * 300_000
        stopped = pacer.wait_until(due_ns)
        woken.append((number, not stopped and time.perf_counter_ns() >= due_ns))

    gevent.joinall([gevent.spawn(sleep, number) for number in range(50)], timeout=30)
    assert woken == [(number, True) for number in range(50)]


def test_a_stopped_run_wakes_everybody() -> None:
    stop = Event()
    pacer = Pacer(stop)
    due_ns = time.perf_counter_ns() + LONG_NS
    sleepers = [gevent.spawn(pacer.wait_until, due_ns + number) for number in range(5)]
    gevent.spawn_later(0.01, stop.set)
    gevent.joinall(sleepers, timeout=30)
    assert [sleeper.value for sleeper in sleepers] == [True] * 5
    assert pacer.wait_until(0)
    pacer.close()


def test_one_killed_asleep_is_not_woken_later_from_what_it_does_next(pacer: Pacer) -> None:
    now_ns = time.perf_counter_ns()
    steps: list[str] = []

    def sleep_and_tidy_up() -> None:
        try:
            pacer.wait_until(now_ns + 20_000_000)
        finally:
            gevent.sleep(0.4)
            steps.append("tidied up")

    first = gevent.spawn(sleep_and_tidy_up)
    second = gevent.spawn(
        lambda: steps.append(f"woken: {not pacer.wait_until(now_ns + 30_000_000)}")
    )
    gevent.sleep(0.001)
    first.kill(block=False)
    gevent.joinall([first, second], timeout=30)
    assert steps == ["woken: True", "tidied up"]
