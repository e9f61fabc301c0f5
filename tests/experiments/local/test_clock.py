import asyncio
import sys
import time
from collections.abc import Awaitable, Callable

import pytest

from experiments.local import http
from experiments.local.clock import Clock


@pytest.fixture(params=["timer descriptor", "asyncio"])
def run(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Callable[[Clock], Awaitable[None]]], None]:
    if request.param == "asyncio":
        monkeypatch.setattr("experiments.timer.sys.platform", "darwin")

    def run_one(check: Callable[[Clock], Awaitable[None]]) -> None:
        async def main() -> None:
            clock = Clock()
            async with asyncio.timeout(20):
                await check(clock)
            clock.close()

        http.run(main())

    return run_one


def test_time_starts_with_the_first_question(run: Callable[..., None]) -> None:
    async def check(clock: Clock) -> None:
        await asyncio.sleep(0.02)
        assert clock.now_s() < 0.01
        assert abs(clock.ns(clock.now_s()) - time.perf_counter_ns()) < 1_000_000_000

    run(check)


def test_nobody_wakes_early(run: Callable[..., None]) -> None:
    async def check(clock: Clock) -> None:
        for wait_s in (-1.0, 0.0, 0.0001, 0.0015, 0.0203):
            due_s = clock.now_s() + wait_s
            await clock.sleep_until(due_s)
            assert clock.now_s() >= due_s - 1e-9

    run(check)


def test_sleepers_wake_in_the_order_of_their_times_and_one_that_left_is_no_harm(
    run: Callable[..., None],
) -> None:
    async def check(clock: Clock) -> None:
        now_s = clock.now_s()
        woken: list[int] = []

        async def sleep(number: int) -> None:
            await clock.sleep_until(now_s + number / 50)
            woken.append(number)

        tasks = [asyncio.ensure_future(sleep(number)) for number in (5, 2, 4, 1, 3)]
        await asyncio.sleep(0)
        tasks[3].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert woken == [2, 3, 4, 5]

    run(check)


@pytest.mark.skipif(sys.platform != "linux", reason="timer descriptors are Linux's")
@pytest.mark.alone
def test_a_sleeper_wakes_within_a_fraction_of_a_millisecond() -> None:
    async def main() -> None:
        clock = Clock()
        late_s = []
        for _ in range(200):
            due_s = clock.now_s() + 0.0033
            await clock.sleep_until(due_s)
            late_s.append(clock.now_s() - due_s)
        clock.close()
        # The timers of the event loop would be half a millisecond late in the median.
        assert sorted(late_s)[100] < 0.0003

    http.run(main())
