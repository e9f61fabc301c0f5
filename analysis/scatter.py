"""How much does the ratio of two arms scatter, and what does a run of a given length make of it?

The log ratio of two quantiles has the standard error sqrt(deff p (1 - p) (1/N_A + 1/N_B)) / f,
where f is the density of log latency at the quantile (Woodruff, R. S., 1952, Confidence intervals
for medians and other position measures), and deff, the design effect, is the variance over that of
independent requests. At a given rate the error shrinks with the root of time.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri, stdtrit

from analysis.noise import ENOUGH_BEYOND, MEMORY_S, Refusal, cosine_waves, guard_of, too_short
from analysis.swap import Swap
from analysis.windows import WINDOWS
from experiments.units import quantile_of

FOUND = (0.975, 0.8)
"""Quantiles of t. Four runs in five show, at 5 %, a difference of their sum in standard errors."""
ALIKE = (0.95, 0.9)
"""Four runs in five of equal arms keep two one-sided tests at 5 % within that."""
LONGEST_S = 24 * 3600.0
INDEPENDENT = 1.3
"""The design effect that runs of independent requests measure, since the test allows for noise that
it may have missed. With 1, seven runs in ten show what is said to be found, and not eight."""

_TELLS_MEMORY_S = 600.0
_FEWEST_REQUESTS, _TWENTY_WINDOWS = 200, 400
"""Of an arm: twenty in each of the ten windows below which nothing is judged; in each of twenty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Needed:
    """What must be measured: how long, and how many requests of the smaller arm.

    Both are None where it would take more than 24 hours.
    """

    measured_s: float | None
    requests: int | None


class Rates(NamedTuple):
    """Requests a second of the baseline and of an arm."""

    baseline: float
    arm: float

    @property
    def smaller(self) -> float:
        """Of the two."""
        return min(self)

    @property
    def inverse(self) -> float:
        """What the variance of independent requests is proportional to."""
        return 1 / self.baseline + 1 / self.arm


@dataclass(frozen=True, slots=True, kw_only=True)
class Scatter:
    """How sure one second of a run would be of a metric's log ratio.

    `error_1s`, the standard error, is None where the noise is not known. `reason` says why, or why
    it is known roughly only.
    """

    metric: str
    rates: Rates
    memory_s: float = MEMORY_S
    error_1s: float | None = None
    design_effect: float | None = None
    reason: str | None = None

    def reach(self, measured_s: float, quantiles: tuple[float, float]) -> float | None:
        """Give so many standard errors of a run of this length as a relative difference.

        None where there would be no verdict.
        """
        requests = self.rates.smaller * measured_s
        freedom = _freedom(measured_s, requests, self.memory_s)
        enough = requests >= fewest_requests(self.metric) * (1 - 1e-9)
        if self.error_1s is None or freedom is None or not enough:
            return None
        error = self.error_1s / math.sqrt(measured_s)
        return float(np.expm1(np.sum(stdtrit(freedom, quantiles)) * error))

    def needed(self, size: float, quantiles: tuple[float, float]) -> Needed:
        """Give the shortest run whose reach is no more than `size`."""

        def reaches(measured_s: float) -> bool:
            reach = self.reach(measured_s, quantiles)
            return reach is not None and reach <= size

        return shortest(reaches, self.rates.smaller, self.memory_s)

    def why_not(self, measured_s: float) -> str:
        """Say why a run of this length has no verdict."""
        if refusal := too_short(measured_s, self.memory_s):
            return refusal.reason
        requests, needed = self.rates.smaller * measured_s, fewest_requests(self.metric)
        if requests < needed * (1 - 1e-9):
            few = f"the smaller arm gets {requests:,.0f} requests, and {needed:,.0f} are needed"
            return f"{few}; {self.reason}" if self.error_1s and self.reason else few
        return self.reason or "the noise lasts so long that no difference could be shown"

    def at(self, rates: Rates) -> "Scatter":
        """Give what it would be at other rates: only independent noise depends on them."""
        if self.error_1s is None or self.design_effect is None:
            return replace(self, rates=rates)
        independent = min(self.design_effect, INDEPENDENT)
        ratio = rates.inverse / self.rates.inverse
        variance = independent * ratio + self.design_effect - independent
        return replace(
            self,
            rates=rates,
            error_1s=self.error_1s * math.sqrt(variance / self.design_effect),
            design_effect=variance / ratio,
        )


def lognormal(
    metric: str,
    rates: Rates,
    *,
    spread: float,
    design_effect: float = INDEPENDENT,
    memory_s: float = MEMORY_S,
) -> Scatter:
    """Take log latency to be normal, with this standard deviation."""
    variance = lognormal_variance(quantile_of(metric), spread)
    return Scatter(
        metric=metric,
        rates=rates,
        memory_s=memory_s,
        error_1s=math.sqrt(design_effect * variance * rates.inverse),
        design_effect=design_effect,
    )


def lognormal_variance(quantile: float | None, spread: float) -> float:
    """Give the variance of a log quantile, or mean, of lognormal latencies, times their number."""
    if quantile is None:
        return math.expm1(spread**2)
    density = math.exp(-(float(ndtri(quantile)) ** 2) / 2) / math.sqrt(2 * math.pi) / spread
    return quantile * (1 - quantile) / density**2


def observed(
    metric: str, found: Swap | Refusal, rates: Rates, span_s: float, memory_s: float
) -> Scatter:
    """Take the noise that was found in a run of `span_s` seconds."""
    unknown = Scatter(metric=metric, rates=rates, memory_s=memory_s)
    if isinstance(found, Refusal):
        return replace(unknown, reason=found.reason)
    known = replace(unknown, design_effect=found.noise.design_effect)
    if found.detectable is None:
        return known
    errors = float(np.sum(stdtrit(found.noise.freedom, FOUND)))
    few = f"its noise is a rough guess, from {found.tail_requests:,} requests beyond it"
    return replace(
        known,
        error_1s=math.log1p(found.detectable) / errors * math.sqrt(span_s),
        reason=None if found.precision == "enough" else few,
    )


def memory_said(found: Iterable[Swap | Refusal], span_s: float) -> str:
    """Say what a run of `span_s` seconds shows of how long its noise lasts, for `compare.memory`.

    Windows of w seconds whose scores have the lag-1 autocorrelation r are those of noise that lasts
    -w / ln r. Independent noise hides part of r, so twice that is given; of several, the longest.
    """
    if span_s < _TELLS_MEMORY_S * (1 - 1e-9):
        return f"A run of less than {_TELLS_MEMORY_S:g} s cannot tell how long its noise lasts."
    noises = [swap.noise for swap in found if isinstance(swap, Swap)]
    if not noises:
        return "How long its noise lasts cannot be told: p50 has no verdict."
    lasts_s = max(
        -span_s / one.windows / math.log(one.autocorrelation) if one.autocorrelation else 0.0
        for one in noises
    )
    return (
        f"By the lag-1 autocorrelation at p50 its noise lasts {lasts_s:.2g} s, which comes out too "
        f"low: give twice that, and {MEMORY_S:g} s or more, as compare.memory = "
        f'"{max(MEMORY_S, math.ceil(2 * lasts_s)):g}s"; better the mean of several runs.'
    )


def fewest_requests(metric: str) -> int:
    """How many requests of an arm a verdict on a metric needs, however even they are."""
    quantile = quantile_of(metric)
    tail = 1.0 if quantile is None else min(quantile, 1 - quantile)
    return max(round(ENOUGH_BEYOND / tail), _FEWEST_REQUESTS)


def shortest(reaches: Callable[[float], bool], smaller_rps: float, memory_s: float) -> Needed:
    """Give the shortest run with a verdict that reaches something; a longer one must, too."""
    low, high = 6 * memory_s, LONGEST_S
    if not reaches(high):
        return Needed(measured_s=None, requests=None)
    if reaches(low):
        high = low
    while high > low * (1 + 1e-6):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if reaches(middle) else (middle, high)
    return Needed(measured_s=high, requests=round(high * smaller_rps))


def _freedom(measured_s: float, requests: float, memory_s: float) -> int | None:
    """Give the fewest degrees of freedom among the tests of such a run; None: no verdict."""
    if too_short(measured_s, memory_s) or requests < _FEWEST_REQUESTS * (1 - 1e-9):
        return None
    windows = 20 if requests >= _TWENTY_WINDOWS * (1 - 1e-9) else 10
    cosines = len(cosine_waves(guard_of(measured_s, memory_s)))
    return min(windows - 1, cosines or WINDOWS)
