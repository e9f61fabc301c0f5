"""One number a run, and Student's t-tests on them."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_ind, ttest_rel
from statsmodels.stats.proportion import confint_proportions_2indep

from analysis.results.comparison import Difference
from analysis.runs import ArmRun, Side, change, difference


def arm_run(*latencies_ms: float, failed: int = 0, unassigned: int = 0, known_to_ms=math.inf):
    values = np.array(latencies_ms, dtype=np.float64)
    return ArmRun(
        sent=values.size + failed,
        failed=failed,
        latencies_ms={"response": values},
        known_to_ms={"response": known_to_ms},
        unassigned=unassigned,
    )


def compared(baseline, arm, metric="p50", *, design="separate", **fields) -> Difference:
    old, new = (Side(name="", of=(), numbers=tuple(runs)) for runs in (baseline, arm))
    return difference(old, new, metric, "response", design, 0.05, **fields)


def test_a_run_gives_one_number_a_metric() -> None:
    run = arm_run(*range(1, 101), failed=25)
    assert run.number("p50", "response") == 50
    assert run.number("p99", "response") == 99
    assert run.number("mean", "response") == 50.5
    assert run.number("error_rate", "response") == 0.2
    assert run.beyond("p99", "response") == 1
    assert run.beyond("p5", "response") == 5
    assert run.beyond("mean", "response") == 100


def test_what_is_not_known_is_not_a_number() -> None:
    assert arm_run().number("p50", "response") is None
    assert arm_run(1, 2, 3, unassigned=1).number("error_rate", "response") is None
    timed_out = arm_run(*[10.0] * 95, *[1e15] * 5, known_to_ms=100.0)
    assert timed_out.number("p50", "response") == 10.0
    assert timed_out.number("p99", "response") is None
    assert timed_out.number("mean", "response") is None


runs = st.lists(st.floats(-3, 3), min_size=3, max_size=12).filter(lambda v: np.ptp(v) > 1e-3)


@given(runs, runs)
def test_separate_runs_are_judged_by_the_pooled_t_test(a, b) -> None:
    found, oracle = change(a, b, "separate"), ttest_ind(b, a)
    assert found.p_value == pytest.approx(oracle.pvalue, abs=1e-12)
    for level in (0.9, 0.95):
        assert found.interval(level) == pytest.approx(tuple(oracle.confidence_interval(level)))


@given(runs, st.data())
def test_blocks_are_judged_by_the_paired_t_test(a, data) -> None:
    shifts = st.lists(st.floats(-3, 3), min_size=len(a), max_size=len(a))
    b = np.array(a) + data.draw(shifts.filter(lambda v: np.ptp(v) > 1e-3))
    found, oracle = change(a, b, "blocks"), ttest_rel(b, a)
    assert found.p_value == pytest.approx(oracle.pvalue, abs=1e-12)
    assert found.interval(0.95) == pytest.approx(tuple(oracle.confidence_interval(0.95)))


def test_runs_that_do_not_vary_are_no_fault() -> None:
    assert change([1, 1, 1], [1, 1, 1], "blocks").p_value == 1
    assert change([1, 1, 1], [2, 2, 2], "separate").p_value == 0


def test_a_latency_is_compared_on_a_log_scale() -> None:
    baseline = [arm_run(*[ms] * 100) for ms in (10.0, 11.0, 12.0)]
    arm = [arm_run(*[ms] * 100) for ms in (12.0, 12.5, 13.5)]
    found = compared(baseline, arm)
    oracle = ttest_ind(np.log([12, 12.5, 13.5]), np.log([10, 11, 12]))
    low, high = np.exp(oracle.confidence_interval(0.9))
    assert found.ratio is not None
    assert found.ratio.value == pytest.approx((12 * 12.5 * 13.5 / (10 * 11 * 12)) ** (1 / 3))
    assert (found.ratio.interval_90.low, found.ratio.interval_90.high) == pytest.approx((low, high))
    assert found.baseline_value == pytest.approx((10 * 11 * 12) ** (1 / 3))
    assert found.tail_requests == 150
    # Paired, each run with the one beside it: what is common to both goes.
    paired = compared(baseline, arm, design="blocks")
    assert paired.p_value == pytest.approx(
        ttest_rel(np.log([12, 12.5, 13.5]), np.log([10, 11, 12])).pvalue
    )


def test_the_interval_of_an_error_rate_is_never_narrower_than_that_of_its_requests() -> None:
    none = [arm_run(*[10.0] * 200) for _ in range(3)]
    found = compared(none, none, "error_rate").difference
    assert found is not None
    low, high = confint_proportions_2indep(0, 600, 0, 600, method="newcomb")
    assert (found.interval.low, found.interval.high) == pytest.approx((low, high))
    assert compared(none, none, "error_rate").p_value == 1


def test_bursts_of_errors_widen_it() -> None:
    some = [arm_run(*[10.0] * 200, failed=failed) for failed in (0, 0, 60)]
    none = [arm_run(*[10.0] * 200) for _ in range(3)]
    found = compared(none, some, "error_rate")
    oracle = ttest_ind([0, 0, 60 / 260], [0, 0, 0])
    assert found.difference is not None
    assert found.difference.interval.low == pytest.approx(oracle.confidence_interval().low)
    assert found.p_value == pytest.approx(oracle.pvalue)


@pytest.mark.parametrize(
    ("baseline", "metric", "said"),
    [
        ([arm_run(*[10.0] * 300)] * 2 + [arm_run(*[1e15] * 300, known_to_ms=5.0)], "p50",
         "1 run gave no p50"),
        ([arm_run(*[10.0] * 300)] * 3, "p99", "Only 9 requests of a side lie beyond p99"),
        ([arm_run(*[10.0] * 300, unassigned=2)] * 3, "error_rate", "failures that name no arm"),
    ],
)  # fmt: skip
def test_what_cannot_be_stated_is_refused(baseline, metric, said) -> None:
    found = compared(baseline, [arm_run(*[10.0] * 300)] * 3, metric)
    assert (found.call, found.precision, found.ratio, found.difference) == (
        "refused", "refused", None, None,
    )  # fmt: skip
    assert said in (found.reason or "")


def test_too_few_runs_show_their_numbers_and_no_interval() -> None:
    found = compared([arm_run(*[10.0] * 300)], [arm_run(*[20.0] * 300)], refusal="Too few.")
    assert (found.call, found.ratio, found.reason) == ("refused", None, "Too few.")
    assert (found.baseline_value, found.arm_value) == pytest.approx((10.0, 20.0))


@pytest.mark.parametrize("design", ["separate", "blocks"])
def test_runs_without_any_spread_are_copies_and_tell_nothing(design) -> None:
    before, after = [arm_run(*[10.1] * 300)] * 3, [arm_run(*[20.3] * 300)] * 3
    found = compared(before, after, design=design)
    assert (found.call, found.ratio, found.p_value) == ("refused", None, None)
    assert "do not differ in p50 at all" in (found.reason or "")
