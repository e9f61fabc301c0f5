"""Is the gate wrong no more often than it says? Few gates, seeded; benchmarks/gate.py has many.

Bounds are counts that a binomial at the promised rate exceeds once in 10,000.
"""

import argparse
from collections import Counter

import numpy as np
import pytest
from scipy.stats import binom

from benchmarks.gate import outcome

GATES = 150
OPTIONS = argparse.Namespace(runs=5, spread=0.032, stream="iid", duration=30.0, rate=33.3)


def outcomes(design: str, shift: float, runs: int = 5) -> Counter[str]:
    rng = np.random.default_rng([11, round(100 * shift), runs])
    options = argparse.Namespace(**{**vars(OPTIONS), "runs": runs})
    margins = {"p50": 0.05, "error_rate": 0.005}
    return Counter(outcome(rng, design, options, shift, margins) for _ in range(GATES))


@pytest.mark.parametrize("design", ["separate", "blocks"])
def test_equal_sides_seldom_fail(design: str) -> None:
    assert outcomes(design, 0.0)["FAIL"] <= binom.ppf(0.9999, GATES, 0.025)


@pytest.mark.parametrize("design", ["separate", "blocks"])
def test_a_change_of_the_margin_seldom_passes(design: str) -> None:
    assert outcomes(design, 0.05)["PASS"] <= binom.ppf(0.9999, GATES, 0.05)


@pytest.mark.parametrize("design", ["separate", "blocks"])
def test_twice_the_margin_fails(design: str) -> None:
    # 0.95 of 500 gates were measured, of runs with five times as many requests.
    assert outcomes(design, 0.10)["FAIL"] >= binom.ppf(0.0001, GATES, 0.90)


def test_one_run_a_side_tells_nothing_whatever_the_truth() -> None:
    assert outcomes("separate", 0.50, runs=1) == {"undecided": GATES}
