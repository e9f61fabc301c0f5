import math

import numpy as np
import pytest

from analysis.noise import Refusal, draw_signs
from analysis.paired import band_of, conflict, ramps_of, smoothed_test
from analysis.results.values import Estimate, Interval
from analysis.swap import Swap, SwapTest, swap_ratio, with_intervals
from analysis.windows import windowed
from benchmarks.payload_pairs import payload_pairs

SIGNS = draw_signs(np.random.default_rng(1))


def pairs_of(baseline, arm, *, duration_s=600.0):
    at_s = np.linspace(0, duration_s, len(baseline), endpoint=False)
    return windowed(baseline, at_s, arm, at_s, start_s=0, end_s=duration_s)


def drawn(*, seed=1, pairs=6000, effect=1.0):
    rng = np.random.default_rng(seed)
    payload = rng.standard_t(5, pairs) * 0.6 / math.sqrt(5 / 3)
    baseline, arm = (np.exp(payload + rng.normal(0, 0.2, pairs)) for _ in range(2))
    return baseline, arm * effect


def judged(pairs, quantile=0.99):
    return with_intervals(smoothed_test(ramps_of(pairs), quantile, signs=SIGNS))


@pytest.mark.parametrize(
    ("quantile", "band"),
    [
        (0.5, (0.25, 0.75)),
        (0.9, (0.6, 0.975)),
        (0.95, (0.8, 0.9875)),
        (0.99, (0.96, 0.9975)),
        (0.999, (0.996, 0.99975)),
    ],
)
def test_a_band_reaches_to_four_times_and_to_a_quarter_of_what_lies_beyond(quantile, band):
    assert band_of(quantile) == band


@pytest.mark.parametrize("quantile", [0.5, 0.99])
@pytest.mark.parametrize("log_ratio", [0.0, 0.07, -0.3])
def test_the_score_is_the_difference_of_the_ramps_of_each_pair(quantile, log_ratio):
    baseline, arm = drawn(effect=1.1)
    test = smoothed_test(ramps_of(pairs_of(baseline, arm)), quantile, signs=SIGNS)
    assert isinstance(test, SwapTest)

    def at(values, q):
        return np.quantile(values, q, method="inverted_cdf")

    aligned = np.log(arm) - np.log(at(arm, quantile) / at(baseline, quantile))
    together = np.concatenate([np.log(baseline), aligned])
    low, high = (at(together, q) for q in band_of(quantile))
    half = min(at(together, quantile) - low, high - at(together, quantile))
    a, b = np.log(baseline), np.log(arm) - log_ratio

    def ramp(x, q):
        return np.clip(0.5 + (x - q) / (2 * half), 0, 1)

    low, high = -20.0, 20.0
    for _ in range(80):
        q = (low + high) / 2
        beyond = (ramp(a, q).mean() + ramp(b, q).mean()) / 2
        low, high = (q, high) if beyond > 1 - quantile else (low, q)
    window = np.arange(a.size) * 60 // a.size
    expected = np.bincount(window, ramp(b, q) - ramp(a, q), 60) / a.size
    assert test.score(log_ratio) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("quantile", [0.5, 0.9, 0.99])
def test_a_factor_on_every_latency_is_recovered(quantile):
    baseline, _ = drawn()
    test = smoothed_test(ramps_of(pairs_of(baseline, 1.25 * baseline)), quantile, signs=SIGNS)
    # Pairs that differ by one factor differ by no noise: there is nothing to judge by.
    assert isinstance(test, Refusal)
    assert test.arm_value / test.baseline_value == pytest.approx(1.25)


@pytest.mark.parametrize("quantile", [0.5, 0.99])
def test_swapping_the_arms_inverts_the_ratio(quantile):
    baseline, arm = drawn(effect=1.05)
    one = judged(pairs_of(baseline, arm), quantile)
    other = judged(pairs_of(arm, baseline), quantile)
    assert other.ratio.value == pytest.approx(1 / one.ratio.value)
    assert other.p_value == pytest.approx(one.p_value)
    ends = 1 / one.ratio.interval.high, 1 / one.ratio.interval.low
    assert (other.ratio.interval.low, other.ratio.interval.high) == pytest.approx(ends, rel=1e-6)


def test_the_unit_does_not_matter():
    baseline, arm = drawn(effect=1.05)
    one, other = judged(pairs_of(baseline, arm)), judged(pairs_of(1e3 * baseline, 1e3 * arm))
    assert other.ratio.value == pytest.approx(one.ratio.value)
    assert other.ratio.interval.high == pytest.approx(one.ratio.interval.high, rel=1e-6)


def test_scaling_one_arm_scales_the_ratio_and_its_interval():
    baseline, arm = drawn()
    one, other = judged(pairs_of(baseline, arm)), judged(pairs_of(baseline, 5 * arm))
    for value in ("low", "high"):
        scaled = 5 * getattr(one.ratio.interval, value)
        assert getattr(other.ratio.interval, value) == pytest.approx(scaled, rel=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_a_p_value_is_below_a_level_where_the_interval_leaves_out_1(seed):
    found = judged(pairs_of(*drawn(seed=seed, effect=1.03)))
    for interval in (found.ratio.interval, found.ratio.interval_90):
        outside = not interval.low <= 1 <= interval.high
        assert outside == (found.p_value < 1 - interval.level)
        assert interval.low < found.ratio.value < interval.high


def test_the_interval_is_narrower_than_that_of_the_percentile_itself():
    rng = np.random.default_rng(3)
    widths = []
    for _ in range(8):
        sample = payload_pairs(rng, "iid", duration_s=600, rate_rps=10)
        found = judged(sample), swap_ratio(sample, 0.99, signs=SIGNS)
        widths.append([math.log(x.ratio.interval.high / x.ratio.interval.low) for x in found])
    smoothed, raw = np.median(widths, axis=0)
    assert smoothed < 0.7 * raw


@pytest.mark.parametrize(
    ("change", "p90", "p99"),
    [
        (lambda u, z, rng: np.exp(u + 1.5 * z), 5.2, 7.0),
        (lambda u, z, rng: np.exp(u + z) * np.where(rng.random(u.size) < 0.01, 4, 1), 2.9, 11.7),
        (lambda u, z, rng: np.exp(u + z) * np.where(u > np.quantile(u, 0.95), 1.1, 1), 1.1, 9.5),
    ],
    ids=["wider noise", "one in a hundred four times as long", "long payloads a tenth longer"],
)
def test_a_change_that_is_no_factor_is_smoothed_as_the_method_states(change, p90, p99):
    # In percent, from the simulation that the method comes from; its noise is about 0.4 here.
    rng = np.random.default_rng(4)
    size = 400_000
    u = rng.standard_t(5, size) * 0.6 / math.sqrt(5 / 3)
    baseline, arm = np.exp(u + rng.normal(0, 0.2, size)), change(u, rng.normal(0, 0.2, size), rng)
    for quantile, expected in ((0.9, p90), (0.99, p99)):
        test = smoothed_test(ramps_of(pairs_of(baseline, arm)), quantile, signs=SIGNS)
        assert 100 * math.expm1(test.log_ratio) == pytest.approx(expected, abs=1.0)


def test_where_the_band_is_tied_the_percentile_is_that_of_the_values():
    rng = np.random.default_rng(5)
    baseline = rng.choice([10.0, 11.0, 40.0], 6000, p=[0.2, 0.7, 0.1])
    arm = rng.choice([10.0, 12.0, 40.0], 6000, p=[0.2, 0.7, 0.1])
    found = judged(pairs_of(baseline, arm), 0.5)
    assert isinstance(found, Swap)
    assert found.ratio.value == pytest.approx(12 / 11, rel=1e-4)


def test_equal_constant_latencies_are_refused():
    assert isinstance(judged(pairs_of(np.full(6000, 7.0), np.full(6000, 7.0))), Refusal)


@pytest.mark.parametrize("pairs", [0, 1, 1999])
def test_too_few_pairs_are_refused(pairs):
    assert isinstance(judged(pairs_of(*drawn(pairs=pairs))), Refusal)


def test_pairs_in_one_window_are_refused():
    baseline, arm = drawn()
    at_s = np.full(baseline.size, 3.0)
    sample = windowed(baseline, at_s, arm, at_s, start_s=0, end_s=600)
    assert isinstance(judged(sample), Refusal)


def test_a_latency_of_zero_is_refused():
    baseline, arm = drawn()
    arm[17] = 0
    assert isinstance(judged(pairs_of(baseline, arm)), Refusal)


def estimate(value, low, high):
    interval = Interval(low=low, high=high, level=0.95)
    return Estimate(value=value, interval=interval, interval_90=interval)


@pytest.mark.parametrize(
    ("raw", "smoothed", "words"),
    [
        ((1.05, 0.98, 1.12), (1.04, 1.01, 1.07), None),
        ((1.05, 0.98, 1.12), (0.97, 0.95, 0.99), "lies on the other side"),
        ((0.97, 0.95, 0.99), (1.01, 0.98, 1.04), "lies on the other side"),
        ((1.20, 1.15, 1.25), (1.10, 1.05, 1.14), "do not overlap"),
        ((1.10, 1.05, 1.14), (1.20, 1.15, 1.25), "do not overlap"),
        ((1.10, None, None), (0.90, 0.85, 0.95), "lies on the other side"),
        ((1.10, None, None), (1.20, 1.15, 1.25), None),
    ],
)
def test_a_contradiction_is_said(raw, smoothed, words):
    said = conflict(estimate(*raw), estimate(*smoothed))
    assert said is None if words is None else words in said
