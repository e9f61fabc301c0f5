import math

import numpy as np
import pytest
from scipy.stats import binomtest
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from analysis.error_rates import error_rate_difference, wilson
from analysis.noise import draw_signs
from analysis.windows import windowed

SIGNS = draw_signs(np.random.default_rng(1))


def spread(failed, n):
    """Failures as evenly over n requests as they go."""
    failures = np.zeros(n)
    failures[np.linspace(0, n - 1, failed).astype(int)] = 1
    return failures


def judged(baseline, arm, *, duration_s=600.0):
    at_s = [np.linspace(0, duration_s, len(failures)) for failures in (baseline, arm)]
    sample = windowed(baseline, at_s[0], arm, at_s[1], start_s=0, end_s=duration_s)
    return error_rate_difference(sample, signs=SIGNS)


@pytest.mark.parametrize(("successes", "n"), [(0, 20), (3, 20), (20, 20), (1, 1), (7, 100_000)])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_the_interval_of_a_share_is_wilsons(successes, n, level):
    low, high = proportion_confint(successes, n, alpha=1 - level, method="wilson")
    found = wilson(successes, n, level)
    assert found == pytest.approx((low, high), abs=1e-12)


def test_a_share_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="nothing"):
        wilson(0, 0, 0.95)


@pytest.mark.parametrize(("failed", "sizes"), [((40, 55), (6000, 6000)), ((60, 20), (9000, 1800))])
def test_the_interval_of_failures_that_do_not_cluster_is_newcombes(failed, sizes):
    found = judged(spread(failed[0], sizes[0]), spread(failed[1], sizes[1]))
    assert found.design_effect <= 1
    for interval in (found.difference.interval, found.difference.interval_90):
        low, high = confint_proportions_2indep(
            failed[1], sizes[1], failed[0], sizes[0], method="newcomb", alpha=1 - interval.level
        )
        assert (interval.low, interval.high) == pytest.approx((low, high))
    assert found.difference.value == pytest.approx(failed[1] / sizes[1] - failed[0] / sizes[0])
    assert found.failed == sum(failed)


def test_the_p_value_is_never_below_that_of_the_exact_conditional_test():
    found = judged(spread(40, 6000), spread(70, 6000))
    assert found.p_value >= binomtest(70, 110, 0.5).pvalue
    assert found.p_value < 0.05


def test_failures_in_one_burst_prove_nothing_and_widen_the_interval():
    arm = np.zeros(6000)
    arm[3000:3060] = 1
    burst, even = judged(np.zeros(6000), arm), judged(np.zeros(6000), spread(60, 6000))
    assert binomtest(60, 60, 0.5).pvalue < 1e-10
    assert burst.p_value > 0.2
    assert even.p_value < 0.001
    widening = math.sqrt(burst.design_effect)
    assert widening > 3
    for end in ("low", "high"):
        distance = abs(getattr(burst.difference.interval, end) - 0.01)
        usual = abs(getattr(even.difference.interval, end) - 0.01)
        assert distance == pytest.approx(widening * usual)


@pytest.mark.parametrize("failed", [(0, 0), (1, 0), (0, 4), (2, 2)])
def test_fewer_than_five_failures_are_bounded_but_not_tested(failed):
    found = judged(spread(failed[0], 6000), spread(failed[1], 3000))
    assert found.p_value is None
    assert "; a test takes 5" in found.reason
    for interval in (found.difference.interval, found.difference.interval_90):
        alpha = 1 - interval.level
        upper = [
            proportion_confint(x, n, alpha=alpha, method="beta")[1]
            for x, n in zip(failed, (6000, 3000), strict=True)
        ]
        assert (interval.low, interval.high) == pytest.approx((-upper[0], upper[1]))
        assert interval.low < 0 < interval.high


def test_no_failure_at_all_can_show_that_the_arms_are_alike():
    # The upper bound of 0 of 6000 at 95 % one-sided is 1 - 0.05 ** (1 / 6000) = 0.0499 %.
    interval = judged(np.zeros(6000), np.zeros(6000)).difference.interval_90
    assert interval.high == pytest.approx(1 - 0.05 ** (1 / 6000))
    assert interval.low > -0.005
    assert interval.high < 0.005


@pytest.mark.parametrize(("baseline", "arm"), [(0, 60), (60, 0), (0, 6000), (6000, 0)])
def test_failures_of_one_arm_only_are_found_on_the_right_side(baseline, arm):
    found = judged(spread(baseline, 6000), spread(arm, 6000))
    assert found.p_value < 0.001
    interval = found.difference.interval
    assert -1 <= interval.low < interval.high <= 1
    assert (interval.low > 0) == (arm > baseline)


def test_arms_that_fail_always_are_refused():
    found = judged(np.ones(6000), np.ones(6000))
    assert (found.baseline_rate, found.arm_rate) == (1, 1)
    assert found.difference is None
    assert found.reason


def test_an_empty_arm_is_refused():
    found = judged(np.ones(6000), [])
    assert found.difference is None
    assert found.baseline_rate is None
    assert found.reason


def test_a_run_too_short_for_windows_is_refused_with_its_rates():
    found = judged(spread(10, 1000), spread(20, 1000), duration_s=30)
    assert found.difference is None
    assert (found.baseline_rate, found.arm_rate) == (0.01, 0.02)
    assert "30 s" in found.reason


def test_swapping_the_arms_mirrors_the_difference():
    a, b = spread(40, 6000), np.roll(spread(90, 6000), 7)
    one, other = judged(a, b), judged(b, a)
    assert other.p_value == pytest.approx(one.p_value)
    assert other.difference.interval.low == pytest.approx(-one.difference.interval.high)
    assert other.difference.interval.high == pytest.approx(-one.difference.interval.low)
