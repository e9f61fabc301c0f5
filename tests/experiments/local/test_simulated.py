import asyncio
import json
import time

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest, lognorm

from experiments.local import config
from experiments.local.simulated import Simulated


def simulated(**table: object) -> Simulated:
    return Simulated(config.Simulated.model_validate(table), np.random.default_rng(3))


@given(
    gaps=st.lists(st.floats(0, 0.1), min_size=1, max_size=40),
    workers=st.integers(1, 4),
)
def test_a_queue_of_constant_service_times_is_first_in_first_out(
    gaps: list[float], workers: int
) -> None:
    queue = simulated(constant="20ms", workers=workers)
    ends: list[float] = []
    for arrived_at in np.cumsum(gaps):
        # With one service time for all, the worker that request i waits for is request i-c's.
        begins_at = max(arrived_at, ends[-workers]) if len(ends) >= workers else arrived_at
        ends.append(begins_at + 0.02)
        assert np.isclose(queue.ends_at(arrived_at), ends[-1])


def test_lognormal_service_times_have_the_median_and_sigma_that_were_asked_for() -> None:
    queue = simulated(distribution="lognormal", median="20ms", sigma=0.3)
    served = [queue.ends_at(arrival) - arrival for arrival in np.arange(5000.0)]
    assert kstest(served, lognorm(s=0.3, scale=0.02).cdf).pvalue > 0.001


def test_an_answer_takes_its_service_time_and_waits_for_a_worker() -> None:
    queue = simulated(constant="40ms", workers=2)

    async def main() -> list[float]:
        started = time.monotonic()

        async def one() -> float:
            answer = await queue.invoke({}, b"")
            assert json.loads(answer.body) == {"predictions": [{"label": 0}]}
            return time.monotonic() - started

        return await asyncio.gather(*(one() for _ in range(4)))

    taken = asyncio.run(main())
    for number, expected in enumerate([0.04, 0.04, 0.08, 0.08]):
        assert expected - 0.002 < taken[number] < expected + 1.0
