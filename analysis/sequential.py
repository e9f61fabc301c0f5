"""Tests that may be asked while a run goes on, at error rates that the asking does not raise.

Five looks are planned, at equal parts of the measured phase. Each has a bound of its own, strict at
first and near the usual one at the end, so that all five together find a difference between equal
arms in 5 % of runs (O'Brien and Fleming 1979, as spent by Lan and DeMets 1983). A look's interval
holds every ratio within its bound: such repeated confidence intervals hold over all looks, whatever
the run was stopped for (Jennison and Turnbull 1989).

The guardrail is an e-process, which may be asked as often as one likes: a t-test mixed over effects
(Lai 1976), on windows so long that they are nearly independent.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtr, stdtr, stdtrit

from analysis.noise import Noise, memory_of
from analysis.results.values import Interval, of_logs
from analysis.swap import SwapTest, score_of
from analysis.windows import WINDOWS, Floats, Sample
from experiments.plan import Plan

ALPHA = 0.05
BOUNDS = (4.877, 3.357, 2.680, 2.290, 2.031)
LOOKS = len(BOUNDS)

_FEWEST_WINDOWS = 5
_MEMORIES_PER_WINDOW = 3
_TUNED_TO = 15.0
"""Windows at which the e-process finds the smallest effect."""
_WIDEST_LOG_RATIO = 16.0
_HALVINGS = 22


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """When a run is judged, in seconds from its start: at a look, or after some full windows."""

    at_s: float
    look: int | None = None
    windows: int = 0


def moments(plan: Plan) -> tuple[Moment, ...]:
    """Give the looks before the run's end and the guardrail's moments, in order of time."""
    traffic, length_s = plan.traffic, window_s(plan)
    looks = (
        Moment(at_s=traffic.warmup + traffic.measured_s * look / LOOKS, look=look)
        for look in range(1, LOOKS)
    )
    guards = (
        Moment(at_s=traffic.warmup + length_s * windows, windows=windows)
        for windows in range(_FEWEST_WINDOWS, math.ceil(traffic.measured_s / length_s - 1e-9))
    )
    return tuple(sorted((*looks, *guards), key=lambda moment: moment.at_s))


def window_s(plan: Plan) -> float:
    """The length of the guardrail's windows: thrice as long as noise lasts, or longer."""
    return max(_MEMORIES_PER_WINDOW * memory_of(plan), plan.traffic.measured_s / WINDOWS)


def last_look(measured_s: float, planned_s: float) -> int:
    """The look whose bound holds for a run that was measured for so long.

    Between two looks it is the earlier one, whose bound is the stricter; before the first, that.
    """
    return min(max(math.floor(LOOKS * measured_s / planned_s + 1e-6), 1), LOOKS)


def level_of(look: int) -> float:
    """The two-sided level at which one look tests, so that all of them together do at 5 %."""
    return 2 * float(ndtr(-BOUNDS[look - 1]))


def t_p_value(test: SwapTest, log_ratio: float = 0.0) -> float:
    """The two-sided p-value of a log ratio: the largest of the t-tests that the noise gives.

    A share of random swaps cannot be as small as an early look asks for.
    """
    return t_p_value_of(float(test.score(log_ratio).sum()), test.noise)


def t_p_value_of(total: float, noise: Noise) -> float:
    """The same of a summed score, whatever it counts."""
    return max(2 * float(stdtr(free, -abs(total) / spread)) for spread, free in _spreads(noise))


def t_interval(test: SwapTest, level: float) -> Interval:
    """The ratios that `t_p_value` does not reject at this level."""
    most = max(spread * -float(stdtrit(free, level / 2)) for spread, free in _spreads(test.noise))
    return _interval(lambda ratio: abs(float(test.score(ratio).sum())) <= most, test.log_ratio)


def log_e_value(scores: Floats, alpha: float) -> float:
    """The log of the evidence against a mean of 0, which above log(1 / alpha) is rejected.

    Asked after every further score, it ever exceeds that in at most `alpha` of all sequences of
    independent normal scores whose mean is 0. It is tuned by `alpha`.
    """
    squares = float(np.mean(scores**2))
    if squares == 0.0:
        return 0.0
    log_alpha = math.log(alpha)
    mixed = scores.size * (-2 * log_alpha + math.log(1 - 2 * log_alpha)) / _TUNED_TO
    explained = float(np.mean(scores)) ** 2 / squares
    gain = scores.size / 2 * math.log1p(-explained * mixed / (1 + mixed))
    return -math.log1p(mixed) / 2 - gain


def e_interval(
    sample: Sample, quantile: float | None, *, windows: int, log_ratio: float, alpha: float
) -> Interval:
    """The ratios that the e-process of the first `windows` windows does not reject at `alpha`.

    `log_ratio` is the estimate.
    """
    most, score = -math.log(alpha), score_of(sample, quantile)

    def kept(tried: float) -> bool:
        return log_e_value(score(tried)[:windows], alpha) <= most

    return _interval(kept, log_ratio)


def _spreads(noise: Noise) -> list[tuple[float, float]]:
    """The standard deviations of the summed score, with the degrees of freedom of each."""
    spreads = [(noise.deviation, replace(noise, cosines=np.empty(0)).freedom)]
    if noise.cosines.size:
        # Each cosine of the scores has the variance of one window's score.
        of_sum = math.sqrt(WINDOWS * float(np.mean(noise.cosines**2)))
        spreads.append((of_sum, noise.cosines.size))
    return spreads


def _interval(kept: Callable[[float], bool], start: float) -> Interval:
    low, high = (_edge(kept, start, side * _WIDEST_LOG_RATIO) for side in (-1, 1))
    return of_logs(low, high, 1 - ALPHA)


def _edge(kept: Callable[[float], bool], start: float, reach: float) -> float | None:
    """The last log ratio that is kept on one side of the estimate; None if there is no end."""
    if kept(start + reach):
        return None
    inside, outside = start, start + reach
    for _ in range(_HALVINGS):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if kept(middle) else (inside, middle)
    return inside
