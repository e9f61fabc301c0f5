import math

import numpy as np
import pytest

from analysis.noise import Refusal, draw_signs, sign_flip_p
from analysis.simulate import STREAMS
from analysis.swap import Swap, SwapTest, shift, swap_ratio, swap_test
from analysis.windows import merged, windowed

SIGNS = draw_signs(np.random.default_rng(1))


def stream(name="ar", *, seed=1, duration_s=600.0, rate_rps=30.0, effect=1.0):
    return STREAMS[name](
        np.random.default_rng(seed), duration_s=duration_s, rate_rps=rate_rps, effect=effect
    )


def sample_of(arms, *, scale=1.0, delay_s=0.0, duration_s=600.0, swapped=False):
    baseline, arm = (
        (arms.baseline_ms * scale, arms.baseline_at_s + delay_s),
        (arms.arm_ms * scale, arms.arm_at_s + delay_s),
    )
    first, second = (arm, baseline) if swapped else (baseline, arm)
    return windowed(*first, *second, start_s=delay_s, end_s=delay_s + duration_s)


def steady(baseline, arm, *, duration_s=600.0):
    """Two arms whose requests are evenly spread over a run."""
    at_s = [np.linspace(0, duration_s, len(values)) for values in (baseline, arm)]
    return windowed(baseline, at_s[0], arm, at_s[1], start_s=0, end_s=duration_s)


def judged(sample, metric):
    if metric == "mean":
        return swap_ratio(sample, None, signs=SIGNS)
    return swap_ratio(sample, metric, signs=SIGNS)


def same_interval(found, expected):
    return (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-6)


METRICS = [0.5, 0.99, "mean"]


@pytest.mark.parametrize("metric", [0.5, 0.9, 0.99])
def test_the_estimate_is_the_ratio_of_the_arms_quantiles(metric):
    arms = stream(effect=1.2)
    found = judged(sample_of(arms), metric)
    baseline, arm = (
        np.quantile(values, metric, method="inverted_cdf")
        for values in (arms.baseline_ms, arms.arm_ms)
    )
    assert (found.baseline_value, found.arm_value) == (baseline, arm)
    assert found.ratio.value == pytest.approx(arm / baseline)


def test_the_estimate_of_the_mean_is_the_ratio_of_the_means():
    arms = stream(effect=1.2)
    found = judged(sample_of(arms), "mean")
    assert found.ratio.value == pytest.approx(arms.arm_ms.mean() / arms.baseline_ms.mean())


@pytest.mark.parametrize("name", ["iid", "burst"])
@pytest.mark.parametrize("log_ratio", [0.0, 0.05, -0.1])
def test_the_score_is_that_of_scaling_the_data(name, log_ratio):
    arms = stream(name)
    test = swap_test(sample_of(arms), 0.95, signs=SIGNS)
    scaled = arms.arm_ms * math.exp(-log_ratio)
    q = np.quantile(np.concatenate([arms.baseline_ms, scaled]), 0.95, method="inverted_cdf")
    above = [arms.baseline_ms > q, scaled > q]
    pooled = np.concatenate(above).mean()
    expected = np.zeros(60)
    for sign, at_s, beyond in zip((-1, 1), (arms.baseline_at_s, arms.arm_at_s), above, strict=True):
        window = np.minimum(np.floor(at_s / 10).astype(int), 59)
        expected += sign * np.bincount(window, beyond - pooled, 60) / beyond.size
    # The one request at the quantile itself may count in part.
    assert test.score(log_ratio) == pytest.approx(expected, abs=2 / arms.arm_ms.size)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("duration_s", [600.0, 100.0])
def test_swapping_the_arms_inverts_the_ratio_and_keeps_the_p_value(metric, duration_s):
    arms = stream(duration_s=duration_s, rate_rps=60, effect=1.03)
    one = judged(sample_of(arms, duration_s=duration_s), metric)
    other = judged(sample_of(arms, duration_s=duration_s, swapped=True), metric)
    assert other.ratio.value == pytest.approx(1 / one.ratio.value)
    assert other.p_value == pytest.approx(one.p_value)
    for level in ("interval", "interval_90"):
        a, b = getattr(one.ratio, level), getattr(other.ratio, level)
        assert (b.low, b.high) == pytest.approx((1 / a.high, 1 / a.low), rel=1e-6)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    "change", [{"scale": 1e-3}, {"scale": 1024.0}, {"delay_s": 4096.0}], ids=str
)
def test_the_unit_and_the_time_of_day_do_not_matter(metric, change):
    arms = stream("burst", effect=1.05)
    one, other = judged(sample_of(arms), metric), judged(sample_of(arms, **change), metric)
    assert other.ratio.value == pytest.approx(one.ratio.value)
    assert other.p_value == pytest.approx(one.p_value)
    assert same_interval(other.ratio.interval, one.ratio.interval)


@pytest.mark.parametrize("metric", METRICS)
def test_the_order_of_the_records_does_not_matter(metric):
    arms = stream(effect=1.05)
    order = np.random.default_rng(3).permutation(arms.arm_ms.size)
    shuffled = windowed(
        arms.baseline_ms,
        arms.baseline_at_s,
        arms.arm_ms[order],
        arms.arm_at_s[order],
        start_s=0,
        end_s=600,
    )
    one, other = judged(sample_of(arms), metric), judged(shuffled, metric)
    assert other.p_value == pytest.approx(one.p_value)
    assert same_interval(other.ratio.interval, one.ratio.interval)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("metric", METRICS)
def test_a_p_value_is_below_a_level_where_the_interval_leaves_out_1(metric, seed):
    found = judged(sample_of(stream(seed=seed, effect=1.03)), metric)
    for interval in (found.ratio.interval, found.ratio.interval_90):
        outside = not interval.low <= 1 <= interval.high
        assert outside == (found.p_value < 1 - interval.level)


@pytest.mark.parametrize("metric", METRICS)
def test_the_narrower_interval_lies_inside_the_wider(metric):
    ratio = judged(sample_of(stream(effect=1.1)), metric).ratio
    assert ratio.interval.low < ratio.interval_90.low < ratio.value
    assert ratio.value < ratio.interval_90.high < ratio.interval.high
    assert (ratio.interval.level, ratio.interval_90.level) == (0.95, 0.90)


@pytest.mark.parametrize("quantile", [None, 0.9])
def test_the_ends_of_the_interval_are_where_the_p_value_crosses_its_level(quantile):
    sample = sample_of(stream(effect=1.1))
    test = swap_test(sample, quantile, signs=SIGNS)
    interval = swap_ratio(sample, quantile, signs=SIGNS).ratio.interval
    assert test.p_value(test.log_ratio) > 0.9
    for end in (interval.low, interval.high):
        assert test.p_value(math.log(end)) == pytest.approx(0.05, abs=0.005)


def test_ties_at_the_quantile_do_not_make_a_difference_of_equal_quantiles():
    rng = np.random.default_rng(4)
    baseline = rng.choice([10.0, 11.0], 6000, p=[0.6, 0.4])
    arm = rng.choice([10.0, 11.0], 6000, p=[0.9, 0.1])
    found = swap_ratio(steady(baseline, arm), 0.5, signs=SIGNS)
    assert found.ratio.value == 1
    assert found.p_value == 1


def test_a_coarse_clock_still_gives_an_interval():
    arms = stream("iid", effect=1.1)
    sample = windowed(
        np.round(arms.baseline_ms, -1) + 10,
        arms.baseline_at_s,
        np.round(arms.arm_ms, -1) + 10,
        arms.arm_at_s,
        start_s=0,
        end_s=600,
    )
    found = swap_ratio(sample, 0.9, signs=SIGNS)
    assert isinstance(found, Swap)
    assert found.ratio.interval.low <= found.ratio.value <= found.ratio.interval.high
    assert found.ratio.interval.high / found.ratio.interval.low < 1.2


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("baseline", "arm"),
    [(10.0, 10.0), (10.0, 11.0), (0.1, 0.3)],
    ids=["equal", "different", "not exact in binary"],
)
def test_constant_latencies_are_refused_with_their_values(metric, baseline, arm):
    found = judged(steady(np.full(6000, baseline), np.full(6000, arm)), metric)
    assert isinstance(found, Refusal)
    assert (found.baseline_value, found.arm_value) == pytest.approx((baseline, arm))
    assert "vary" in found.reason


@pytest.mark.parametrize("metric", METRICS)
def test_an_empty_arm_is_refused(metric):
    found = judged(steady(np.ones(6000), []), metric)
    assert isinstance(found, Refusal)
    assert found.baseline_value is None


@pytest.mark.parametrize("metric", METRICS)
def test_latencies_of_zero_are_refused(metric):
    assert isinstance(judged(steady(np.zeros(6000), np.ones(6000)), metric), Refusal)


@pytest.mark.parametrize("metric", METRICS)
def test_a_run_in_one_window_is_refused(metric):
    latencies = np.random.default_rng(5).lognormal(size=6000)
    sample = windowed(
        latencies, np.full(6000, 3.0), latencies, np.full(6000, 3.0), start_s=0, end_s=600
    )
    assert isinstance(judged(sample, metric), Refusal)


@pytest.mark.parametrize(
    ("requests", "quantile", "precision"),
    [(1999, 0.99, None), (2000, 0.99, "imprecise"), (5000, 0.99, "enough"), (200, 0.5, "enough")],
)
def test_the_requests_beyond_a_quantile_decide_whether_it_is_judged(requests, quantile, precision):
    rng = np.random.default_rng(6)
    sample = steady(rng.lognormal(size=requests), rng.lognormal(size=20_000))
    found = swap_ratio(sample, quantile, signs=SIGNS)
    if precision is None:
        assert isinstance(found, Refusal)
        assert "Fewer than 20 requests of the smaller arm lie beyond it" in found.reason
    else:
        assert isinstance(found, Swap)
        assert found.precision == precision
    assert found.tail_requests == math.floor(requests * round(1 - quantile, 9))


def test_a_run_too_short_for_a_verdict_still_has_its_values():
    found = swap_ratio(
        sample_of(stream(duration_s=50, rate_rps=60), duration_s=50), 0.5, signs=SIGNS
    )
    assert isinstance(found, Refusal)
    assert found.baseline_value == pytest.approx(100, rel=0.3)


def test_where_noise_lasts_too_long_a_side_is_unbounded_and_the_run_is_warned_of():
    # The arm is fast for half the run and slow for the other half: it may be faster by any factor.
    rng = np.random.default_rng(7)
    baseline = rng.lognormal(4, 0.2, 12_000)
    arm = rng.lognormal(4, 0.2, 12_000) * np.repeat([0.5, 2.0], 6000)
    found = swap_ratio(steady(baseline, arm), None, signs=SIGNS)
    assert isinstance(found, Swap)
    assert found.ratio.interval.low is None
    assert found.ratio.interval.high > 2
    assert found.noise.autocorrelation == 0.9
    assert "four times" in found.noise.warning


@pytest.mark.parametrize("metric", [0.5, "mean"])
@pytest.mark.parametrize("factor", [0.2, 5.0])
def test_noise_that_lasts_does_not_hide_a_factor_of_five(metric, factor):
    # The baseline swings three times, by a fifth: of twenty windows three are left.
    rng = np.random.default_rng(9)
    swing = np.exp(0.2 * np.sin(np.linspace(0, 6 * np.pi, 24_000)))
    arm = factor * rng.lognormal(4, 0.3, 24_000)
    sample = steady(rng.lognormal(4, 0.3, 24_000) * swing, arm)
    found = judged(sample, metric)
    windows, inflation = found.noise.inflation[-1]
    assert windows / inflation**2 < 4
    quantile = None if metric == "mean" else metric
    scores = merged(swap_test(sample, quantile, signs=SIGNS).score(0.0), windows)
    assert sign_flip_p(scores, SIGNS, inflation=inflation) > 0.05
    assert found.p_value < 0.05
    assert found.noise.warning
    low, high = found.ratio.interval.low, found.ratio.interval.high
    assert low < found.ratio.value < high
    assert not low <= 1 <= high


def test_a_difference_far_beyond_the_noise_is_found():
    found = swap_ratio(sample_of(stream(effect=2.0)), 0.5, signs=SIGNS)
    assert found.p_value < 0.001
    assert 1.9 < found.ratio.interval.low < found.ratio.interval.high < 2.1


def test_the_detectable_difference_of_independent_requests_is_that_of_the_planner():
    # Lognormal with spread 0.5: the log median has density 1 / (0.5 sqrt(2 pi)).
    n = 20_000
    rng = np.random.default_rng(8)
    sample = steady(rng.lognormal(4, 0.5, n), rng.lognormal(4, 0.5, n))
    found = swap_ratio(sample, 0.5, signs=SIGNS)
    error = math.sqrt(0.25 * 2 / n) * 0.5 * math.sqrt(2 * math.pi)
    planned = math.expm1(2.95 * error * math.sqrt(found.noise.design_effect))
    assert found.detectable == pytest.approx(planned, rel=0.1)


def test_a_shorter_run_detects_less_than_its_noise_alone_would_tell():
    arms = stream("iid", duration_s=100, rate_rps=60)
    sample = sample_of(arms, duration_s=100)
    guarded = swap_ratio(sample, 0.5, signs=SIGNS)
    trusted = swap_ratio(sample, 0.5, signs=SIGNS, memory_s=1.0)
    assert (guarded.noise.guard, trusted.noise.guard) == ("E2", "none")
    assert guarded.detectable > 1.5 * trusted.detectable


def test_the_shift_function_has_a_point_for_each_quantile():
    arms = stream(rate_rps=4, effect=1.5)
    points = shift(sample_of(arms), [0.5, 0.9, 0.999], arm="candidate", signs=SIGNS)
    assert [(point.arm, point.quantile) for point in points] == [
        ("candidate", 0.5),
        ("candidate", 0.9),
        ("candidate", 0.999),
    ]
    median = swap_ratio(sample_of(arms), 0.5, signs=SIGNS)
    assert points[0].ratio == pytest.approx(points[0].arm_ms / points[0].baseline_ms)
    assert points[0].interval == median.ratio.interval
    assert points[2].interval is None  # some 2 requests lie beyond p99.9


def test_an_empty_arm_has_no_shift_function():
    assert shift(steady(np.ones(6000), []), [0.5], arm="candidate", signs=SIGNS) == ()


def test_the_test_alone_gives_the_same_p_value_as_with_its_intervals():
    sample = sample_of(stream(effect=1.02))
    test = swap_test(sample, 0.5, signs=SIGNS)
    assert isinstance(test, SwapTest)
    assert test.p_value() == swap_ratio(sample, 0.5, signs=SIGNS).p_value
