"""Does stopping early keep its promise: few equal arms called different, and real ones found soon?

The counts are bounded as in `test_false_alarms`; benchmarks/sequential.py draws more runs.
"""

import numpy as np
import pytest
from scipy.stats import binom

from analysis.simulate import STREAMS
from benchmarks.sequential import Stops, stops_of

RUNS = 100


def stops(name: str, effect: float, runs: int, quantile: float = 0.5) -> list[Stops]:
    rng = np.random.default_rng(11)
    return [
        stops_of(
            STREAMS[name](rng, duration_s=600.0, rate_rps=20.0, effect=effect),
            600.0,
            quantile,
            0.05,
        )
        for _ in range(runs)
    ]


@pytest.mark.parametrize("name", ["ar", "burst"])
def test_equal_arms_seldom_stop_a_run_as_different(name: str) -> None:
    found = stops(name, 1.0, RUNS)
    most = binom.ppf(0.9999, RUNS, 0.05)
    assert sum(stop.look_s is not None for stop in found) <= most
    assert sum(stop.guard_s is not None for stop in found) <= most
    assert sum(stop.first_s is not None for stop in found) <= most


def test_arms_at_the_margin_are_seldom_called_alike() -> None:
    found = stops("iid", 1.05, RUNS)
    assert sum(stop.same_s is not None for stop in found) <= binom.ppf(0.9999, RUNS, 0.05)


def test_a_large_difference_stops_a_run_early() -> None:
    found = stops("ar", 1.5, 20)
    looks_s, guards_s = ([s.look_s for s in found], [s.guard_slower_s for s in found])
    assert None not in looks_s
    assert None not in guards_s
    assert np.mean(looks_s) <= 270
    assert np.mean(guards_s) <= 210
