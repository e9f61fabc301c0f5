import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import integrate, stats

from analysis.noise import Noise, draw_signs
from analysis.sequential import (
    ALPHA,
    BOUNDS,
    LOOKS,
    e_interval,
    last_look,
    level_of,
    log_e_value,
    moments,
    t_interval,
    t_p_value,
    window_s,
)
from analysis.simulate import STREAMS
from analysis.swap import SwapTest, score_of
from analysis.windows import windowed
from experiments.plan_file import find, load

SIGNS = draw_signs(np.random.default_rng(1))


def test_the_bounds_spend_five_percent_as_lan_and_demets_do() -> None:
    times = np.arange(1, LOOKS + 1) / LOOKS
    together = np.sqrt(np.minimum.outer(times, times) / np.maximum.outer(times, times))
    for looks in range(2, LOOKS + 1):
        bounds = np.array(BOUNDS[:looks])
        normal = stats.multivariate_normal(cov=together[:looks, :looks], seed=1)
        crossed = 1 - normal.cdf(bounds, lower_limit=-bounds)
        # Each side spends 2 - 2 Phi(z(1.25 %) / sqrt(t)) of its 2.5 %.
        spent = 4 * stats.norm.sf(stats.norm.isf(ALPHA / 4) / math.sqrt(times[looks - 1]))
        assert crossed == pytest.approx(spent, rel=0.02)


def test_the_level_of_a_look_is_that_of_its_bound() -> None:
    assert [level_of(look) for look in range(1, LOOKS + 1)] == pytest.approx(
        [2 * stats.norm.sf(bound) for bound in BOUNDS]
    )


def test_a_run_that_ends_between_two_looks_has_the_bound_of_the_earlier() -> None:
    ended_s = (1, 119.9, 120, 239, 240, 480, 599, 600, 600.2)
    assert [last_look(s, 600) for s in ended_s] == [1, 1, 1, 1, 2, 4, 4, 5, 5]
    # 0.7 * 3 / 5 is a little less than 0.42 in floating point.
    assert last_look(0.7 * 3 / 5, 0.7) == 3


def test_looks_are_taken_at_equal_parts_and_the_guardrail_after_each_full_window() -> None:
    plan = load(find("ab"), ["traffic.duration=600s", "traffic.warmup=10s"])
    found = moments(plan)
    assert [m.at_s for m in found if m.look is not None] == [130, 250, 370, 490]
    # Windows of 30 s, from the fifth on; the twentieth is full when the run is over.
    assert [m.windows for m in found if m.look is None] == list(range(5, 20))
    assert [m.at_s for m in found if m.look is None][:2] == [160, 190]
    assert [m.at_s for m in found] == sorted(m.at_s for m in found)
    assert window_s(load(find("ab"), ["traffic.duration=2h"])) == 120
    assert window_s(load(find("ab"), ["compare.memory=2s", "traffic.duration=300s"])) == 6


def straight(*, at: float, spread: float, cosines: list[float]) -> SwapTest:
    """Give a test whose summed score falls by 60 for each unit of log ratio and is 0 at `at`."""
    noise = Noise(
        inflation=((60, 1.0), (20, 1.0)),
        cosines=np.array(cosines),
        deviation=spread,
        autocorrelation=0.0,
        design_effect=1.0,
        guard="E4" if cosines else "none",
        label=None,
        warning=None,
    )
    return SwapTest(
        score=lambda log_ratio: np.full(60, at - log_ratio),
        noise=noise,
        signs=SIGNS,
        log_ratio=at,
        baseline_value=1.0,
        arm_value=math.exp(at),
        tail_requests=1000,
    )


def test_the_test_of_a_look_is_a_t_test_on_twenty_windows() -> None:
    test = straight(at=0.1, spread=2.0, cosines=[])
    assert t_p_value(test) == pytest.approx(2 * stats.t.sf(6 / 2, df=19))
    interval = t_interval(test, 0.01)
    half = 2.0 * stats.t.isf(0.005, df=19) / 60
    assert np.log([interval.low, interval.high]) == pytest.approx(
        [0.1 - half, 0.1 + half], abs=1e-4
    )


def test_windows_that_are_alike_leave_a_look_fewer_degrees_of_freedom() -> None:
    # Of 20 windows whose sum is inflated by 2.5, 20 / 2.5^2 = 3.2 are independent: below five.
    test = straight(at=0.1, spread=2.0, cosines=[])
    test = replace(test, noise=replace(test.noise, inflation=((60, 1.0), (20, 2.5))))
    assert t_p_value(test) == pytest.approx(2 * stats.t.sf(6 / 2, df=2.2))


def test_cosines_guard_the_look_of_a_short_run() -> None:
    # Of 60 windows the sum's spread by these cosines is sqrt(60 * (1 + 4 + 4 + 1) / 4).
    test = straight(at=0.2, spread=2.0, cosines=[1.0, -2.0, 2.0, -1.0])
    spread = math.sqrt(150)
    assert t_p_value(test) == pytest.approx(2 * stats.t.sf(12 / spread, df=4))
    interval = t_interval(test, 0.05)
    assert math.log(interval.low) == pytest.approx(
        0.2 - spread * stats.t.isf(0.025, df=4) / 60, abs=1e-4
    )


def test_an_interval_that_rules_nothing_out_has_no_ends() -> None:
    interval = t_interval(straight(at=0.0, spread=500.0, cosines=[]), 1e-6)
    assert (interval.low, interval.high) == (None, None)


def mixed_t(scores: list[float], alpha: float) -> float:
    """Integrate the evidence: effects normal with variance g, the scale by its Haar measure."""
    prior = (-2 * math.log(alpha) + math.log(1 - 2 * math.log(alpha))) / 15

    def likelihood(log_scale: float, effect: float) -> float:
        scale = math.exp(log_scale)
        return float(np.prod(stats.norm.pdf(scores, effect * scale, scale)))

    alternative = integrate.dblquad(
        lambda log_scale, effect: likelihood(log_scale, effect)
        * stats.norm.pdf(effect, 0, math.sqrt(prior)),
        -6, 6, -3, 5, epsabs=1e-7, epsrel=1e-6,
    )  # fmt: skip
    equal = integrate.quad(lambda log_scale: likelihood(log_scale, 0.0), -3, 5, epsabs=1e-12)
    return math.log(alternative[0] / equal[0])


@pytest.mark.parametrize("scores", [[1.0, 1.4, 0.7], [0.5, -1.1, 0.2, 0.9]])
def test_an_e_value_is_a_mixture_of_t_tests(scores: list[float]) -> None:
    assert log_e_value(np.array(scores), 0.05) == pytest.approx(mixed_t(scores, 0.05), abs=1e-3)


def test_an_e_value_has_no_unit_and_no_side() -> None:
    scores = np.random.default_rng(2).normal(0.5, 1, 12)
    assert log_e_value(-7 * scores, 0.05) == pytest.approx(log_e_value(scores, 0.05))
    assert log_e_value(np.zeros(6), 0.05) == 0


def test_an_e_value_asked_after_every_window_seldom_exceeds_its_bound() -> None:
    rng = np.random.default_rng(3)
    crossed = sum(
        any(log_e_value(scores[:n], ALPHA) > -math.log(ALPHA) for n in range(5, 56))
        for scores in rng.normal(size=(400, 55))
    )
    assert crossed <= stats.binom.ppf(0.9999, 400, ALPHA)


@pytest.fixture
def slower():
    """Ten minutes in which the arm is half as slow again."""
    rng = np.random.default_rng(4)
    return STREAMS["ar"](rng, duration_s=600, rate_rps=20, effect=1.5)


def sample_of(arms, *, span_s=600.0):
    return windowed(
        arms.baseline_ms, arms.baseline_at_s, arms.arm_ms, arms.arm_at_s, start_s=0, end_s=span_s
    )


def test_an_always_valid_interval_holds_what_the_e_process_does_not_reject(slower) -> None:
    # Windows of 30 s, of which ten minutes fill 20.
    sample = sample_of(slower, span_s=1800.0)
    log_ratio = math.log(sample.arm.quantile(0.5) / sample.baseline.quantile(0.5))
    interval = e_interval(sample, 0.5, windows=20, log_ratio=log_ratio, alpha=ALPHA)
    assert 1.3 < interval.low < 1.5 < interval.high < 1.75
    for edge, outward in ((interval.low, -1e-3), (interval.high, 1e-3)):
        inside, outside = (
            log_e_value(score_of(sample, 0.5)(math.log(edge) + step)[:20], ALPHA)
            for step in (-outward, outward)
        )
        assert inside <= -math.log(ALPHA) < outside
