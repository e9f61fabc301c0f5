"""Arrival times: their rate, their law, and that they depend on the seed and the index only."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from experiments.plan import Traffic
from experiments.schedule import due_times_ns


def traffic(rate: float, length_s: float, arrivals: str = "poisson") -> Traffic:
    return Traffic(
        routing="pinned",
        arrivals=arrivals,  # type: ignore[arg-type]
        rate=rate,
        warmup=0.0,
        duration=length_s,
    )


def test_constant_arrivals_come_at_equal_steps() -> None:
    times = due_times_ns(traffic(4.0, 1.5, "constant"), seed=0)
    assert times.tolist() == [0, 250_000_000, 500_000_000, 750_000_000, 10**9, 1_250_000_000]


def test_a_fractional_constant_rate_is_kept() -> None:
    times = due_times_ns(traffic(0.3, 100.0, "constant"), seed=0)
    assert len(times) == 30
    assert times[1] == 3_333_333_333


@given(st.integers(0, 2**63 - 1), st.floats(0.5, 2000), st.floats(0.1, 20))
def test_poisson_arrivals_ascend_within_the_run(seed: int, rate: float, length_s: float) -> None:
    times = due_times_ns(traffic(rate, length_s), seed)
    assert (np.diff(times) >= 0).all()
    assert ((times >= 0) & (times <= length_s * 1e9)).all()


@given(st.integers(0, 2**32), st.floats(1, 100), st.floats(1, 100))
def test_a_longer_run_begins_with_the_arrivals_of_a_shorter(
    seed: int, first_s: float, more_s: float
) -> None:
    short = due_times_ns(traffic(200.0, first_s), seed)
    long = due_times_ns(traffic(200.0, first_s + more_s), seed)
    assert (long[: len(short)] == short).all()


def test_poisson_gaps_are_exponential_with_the_planned_rate() -> None:
    times = due_times_ns(traffic(80.0, 1000.0), seed=3) / 1e9
    # The count's standard deviation is sqrt(80,000) = 283; four of them.
    assert abs(len(times) - 80_000) < 1132
    assert stats.kstest(np.diff(times), "expon", args=(0, 1 / 80)).pvalue > 1e-4


def test_another_seed_gives_other_arrivals() -> None:
    one, other = (due_times_ns(traffic(50.0, 10.0), seed) for seed in (1, 2))
    assert one[:10].tolist() != other[:10].tolist()
