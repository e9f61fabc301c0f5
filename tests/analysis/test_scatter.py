"""What is said of a run's length and rate, against closed forms and against the test itself."""

import math

import numpy as np
import pytest
from scipy.stats import binom, lognorm, t

from analysis.noise import Refusal, draw_signs
from analysis.scatter import (
    ALIKE,
    FOUND,
    INDEPENDENT,
    Rates,
    fewest_requests,
    lognormal,
    memory_said,
    observed,
)
from analysis.swap import Swap, swap_ratio, swap_test
from analysis.windows import windowed
from experiments.units import quantile_of

TEN_MINUTES = 600.0
THIRTY_THREE = Rates(20_000 / TEN_MINUTES, 20_000 / TEN_MINUTES)
SIGNS = draw_signs(np.random.default_rng(20))


@pytest.mark.parametrize(
    ("metric", "percent"), [("p50", 1.9), ("p90", 2.6), ("p95", 3.2), ("p99", 5.7), ("p99.9", 14.9)]
)
def test_the_table_of_the_planner(metric, percent):
    # 20,000 requests an arm, spread 0.5. Of p99.9 as many are too few for a verdict, so there ten
    # times as many make it 1 / sqrt(10) of the logarithm.
    times = 10 if metric == "p99.9" else 1
    rates = Rates(*(times * rate for rate in THIRTY_THREE))
    found = lognormal(metric, rates, spread=0.5, design_effect=1.0).reach(TEN_MINUTES, FOUND)
    assert 100 * math.expm1(math.log1p(found) * math.sqrt(times)) == pytest.approx(
        percent, abs=0.06
    )


@pytest.mark.parametrize(
    ("metric", "thousands"),
    [("p50", 2.9), ("p90", 5.4), ("p95", 8.2), ("p99", 25.5), ("p99.9", 161)],
)
def test_the_requests_of_the_planner(metric, thousands):
    slow = Rates(4.0, 4.0)  # so that the run is long, and no cosines guard it
    needed = lognormal(metric, slow, spread=0.5, design_effect=1.0).needed(0.05, FOUND)
    assert needed.requests == pytest.approx(1000 * thousands, rel=0.02)
    assert needed.requests == round(needed.measured_s * 4)


@pytest.mark.parametrize("quantile", [0.1, 0.5, 0.9, 0.99])
def test_the_error_is_that_of_a_quantile_whose_density_is_known(quantile):
    spread, n_a, n_b = 0.3, 18_000, 6_000
    # The density of x log's is x f(x).
    x = lognorm.ppf(quantile, spread)
    density = x * lognorm.pdf(x, spread)
    error = math.sqrt(3 * quantile * (1 - quantile) * (1 / n_a + 1 / n_b)) / density
    rates = Rates(n_a / TEN_MINUTES, n_b / TEN_MINUTES)
    scatter = lognormal(f"p{100 * quantile:g}", rates, spread=spread, design_effect=3.0)
    for quantiles in (FOUND, ALIKE):
        wanted = math.expm1((t.ppf(quantiles[0], 19) + t.ppf(quantiles[1], 19)) * error)
        assert scatter.reach(TEN_MINUTES, quantiles) == pytest.approx(wanted)


def test_the_mean_has_the_error_of_its_coefficient_of_variation():
    cv = lognorm.std(0.4) / lognorm.mean(0.4)
    error = math.sqrt(cv**2 * 2 / 20_000)
    found = lognormal("mean", THIRTY_THREE, spread=0.4, design_effect=1.0).reach(TEN_MINUTES, FOUND)
    assert math.log1p(found) == pytest.approx(2.954 * error, rel=1e-3)


def test_four_times_as_long_halves_what_is_found_and_a_design_effect_of_four_doubles_it():
    plain = lognormal("p90", THIRTY_THREE, spread=0.5, design_effect=1.0)
    noisy = lognormal("p90", THIRTY_THREE, spread=0.5, design_effect=4.0)
    one = math.log1p(plain.reach(600, FOUND))
    assert math.log1p(plain.reach(2400, FOUND)) == pytest.approx(one / 2)
    assert math.log1p(noisy.reach(600, FOUND)) == pytest.approx(2 * one)
    assert noisy.needed(0.01, FOUND).measured_s == pytest.approx(
        4 * plain.needed(0.01, FOUND).measured_s, rel=1e-3
    )


@pytest.mark.parametrize(("measured_s", "freedom"), [(60, 2), (119, 2), (120, 4), (599, 4)])
def test_a_short_run_is_judged_with_few_degrees_of_freedom(measured_s, freedom):
    scatter = lognormal("p50", Rates(100, 100), spread=0.5)
    error = scatter.error_1s / math.sqrt(measured_s)
    wanted = math.expm1((t.ppf(0.975, freedom) + t.ppf(0.8, freedom)) * error)
    assert scatter.reach(measured_s, FOUND) == pytest.approx(wanted)


def test_what_has_no_verdict_reaches_nothing_and_says_why():
    scatter = lognormal("p99", Rates(10, 10), spread=0.5)
    assert scatter.reach(59, FOUND) is None
    assert "shorter than six times" in scatter.why_not(59)
    assert scatter.reach(499, FOUND) is None
    assert scatter.why_not(499) == "the smaller arm gets 4,990 requests, and 5,000 are needed"
    assert scatter.reach(500, FOUND) is not None
    assert scatter.needed(0.9, FOUND).requests == 5000
    assert [fewest_requests(m) for m in ("p50", "p90", "p10", "mean")] == [200, 500, 500, 200]
    assert fewest_requests("p99.9") == pytest.approx(50_000)


def test_what_takes_over_a_day_is_not_offered():
    needed = lognormal("p99", Rates(0.1, 0.1), spread=0.5).needed(0.02, FOUND)
    assert (needed.measured_s, needed.requests) == (None, None)


def test_a_higher_rate_lessens_independent_noise_and_no_other():
    slow, fast = Rates(10, 10), Rates(1e9, 1e9)
    even, noisy = (lognormal("p50", slow, spread=0.5, design_effect=d) for d in (1.3, 5.2))
    assert even.at(Rates(40, 40)).error_1s == pytest.approx(even.error_1s / 2)
    assert even.at(Rates(40, 40)).design_effect == pytest.approx(1.3)
    # A quarter of the variance is that of independent requests.
    assert noisy.at(fast).error_1s == pytest.approx(noisy.error_1s * math.sqrt(3 / 4))
    assert noisy.at(slow).error_1s == pytest.approx(noisy.error_1s)
    paired = lognormal("p50", slow, spread=0.5, design_effect=0.5)
    assert paired.at(Rates(40, 40)).error_1s == pytest.approx(paired.error_1s / 2)


def sample_of(rng, size, effect=1.0, *, spread=0.5, duration_s=TEN_MINUTES):
    at_s = [rng.uniform(0, duration_s, size) for _ in range(2)]
    values = [rng.lognormal(4, spread, size) for _ in range(2)]
    return windowed(values[0], at_s[0], values[1] * effect, at_s[1], start_s=0, end_s=duration_s)


@pytest.mark.parametrize("duration_s", [100.0, 300.0, 600.0])
@pytest.mark.parametrize("quantile", [None, 0.9])
def test_what_a_run_is_said_to_find_is_what_its_test_says(duration_s, quantile):
    sample = sample_of(np.random.default_rng(1), 6000, duration_s=duration_s)
    found = swap_ratio(sample, quantile, signs=SIGNS)
    rates = Rates(6000 / duration_s, 6000 / duration_s)
    scatter = observed("p90", found, rates, duration_s, 10.0)
    assert scatter.reach(duration_s, FOUND) == pytest.approx(found.detectable)


@pytest.mark.parametrize(("metric", "duration_s"), [("p50", 120.0), ("p90", 600.0)])
def test_the_difference_said_to_be_found_is_found_four_times_in_five(metric, duration_s):
    runs, size = 250, 4000
    rates = Rates(size / duration_s, size / duration_s)
    effect = 1 + lognormal(metric, rates, spread=0.5).reach(duration_s, FOUND)
    rng = np.random.default_rng(7)
    found = 0
    for run in range(runs):
        sample = sample_of(rng, size, effect, duration_s=duration_s)
        signs = SIGNS[run % 10 * 1000 :][:1000]
        found += swap_test(sample, quantile_of(metric), signs=signs).p_value() < 0.05
    low, high = binom.ppf([0.0005, 0.9995], runs, 0.8)
    assert low <= found <= high


def test_independent_requests_measure_about_the_design_effect_that_is_taken_for_theirs():
    rng = np.random.default_rng(8)
    measured = [
        swap_test(sample_of(rng, 4000), 0.5, signs=SIGNS).noise.design_effect for _ in range(200)
    ]
    assert np.mean(measured) == pytest.approx(INDEPENDENT, abs=0.2)


def test_a_run_says_how_long_its_noise_lasts() -> None:
    # Of 300 s memory, seen in 60 windows of 50 s; requests are so many that they hide little.
    rng = np.random.default_rng(3)
    steps = rng.normal(0, 0.2, 3000)
    for i in range(1, 3000):
        steps[i] = math.exp(-1 / 300) * steps[i - 1] + math.sqrt(-math.expm1(-2 / 300)) * steps[i]
    at_s = np.arange(30_000) / 10
    ms = [rng.lognormal(3, 0.1, at_s.size), rng.lognormal(3, 0.1, at_s.size)]
    ms[1] *= np.exp(steps[at_s.astype(int)])
    found = swap_ratio(windowed(ms[0], at_s, ms[1], at_s, start_s=0, end_s=3000), 0.5, signs=SIGNS)
    assert isinstance(found, Swap)
    r = found.noise.autocorrelation
    said = memory_said([found], 3000)
    lasts_s = -50 / math.log(r)
    assert 100 < lasts_s < 600
    assert f"its noise lasts {lasts_s:.2g} s" in said
    assert f'compare.memory = "{math.ceil(2 * lasts_s)}s"' in said


def test_noise_without_memory_is_still_given_ten_seconds() -> None:
    at_s = np.arange(12_000) / 20
    ms = np.random.default_rng(4).lognormal(3, 0.3, (2, at_s.size))
    found = swap_ratio(windowed(ms[0], at_s, ms[1], at_s, start_s=0, end_s=600), 0.5, signs=SIGNS)
    assert 'compare.memory = "10s"' in memory_said([found], 600)
    assert "cannot be told" in memory_said([Refusal(reason="none")], 600)
    assert "less than 600 s" in memory_said([found], 599)
