"""By what factor a smoothed percentile differs, where both arms were sent the same payloads.

Two answers to one payload differ far less than answers to two, but a count of requests beyond a
quantile sees of a pair only whether one lies beyond and the other does not. A score that rises
evenly over a band about the quantile, instead of jumping at it, sees how far they are apart too.
What it gives is the ratio of the quantiles of distributions smoothed over that band (Azzalini,
1981, A note on the estimation of a distribution function and quantiles by a kernel method). Where
every latency changes by one factor that is the ratio of the quantiles; elsewhere it is near it.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from analysis.noise import MEMORY_S, Refusal, Signs, precision
from analysis.results.values import Estimate
from analysis.swap import SwapTest, beyond, ratio_test
from analysis.windows import Floats, Ints, Sample, WindowedArm, ranks

_NARROWEST = 1e-6
"""The half-width of a band whose ends are tied: the score then jumps in all but name."""


class _Ramp(NamedTuple):
    """One arm's log latencies, all of them and window by window, with the running sums of each."""

    logs: Floats
    sums: Floats
    parts: tuple[Floats, ...]
    sums_by_part: Floats
    ends: Ints

    def total_beyond(self, middle: float, half: float) -> float:
        """How many values lie above `middle`; those nearer than `half` in part."""
        first, last = np.searchsorted(self.logs, (middle - half, middle + half))
        return float(_above(middle, half, first, last, self.sums, self.logs.size))

    def beyond(self, middle: float, half: float) -> Floats:
        """The same per window."""
        begins = np.concatenate([[0], self.ends[:-1]])
        first, last = (begins + ranks(self.parts, at) for at in (middle - half, middle + half))
        return np.asarray(_above(middle, half, first, last, self.sums_by_part, self.ends))


def _above(middle: float, half: float, first: Any, last: Any, sums: Floats, end: Any) -> Any:
    inside = last - first
    distance = sums[last] - sums[first] - inside * middle
    return end - last + inside / 2 + distance / (2 * half)


@dataclass(frozen=True, slots=True, eq=False)
class Ramps:
    """Complete pairs, prepared once for every percentile that is smoothed."""

    pairs: Sample
    baseline: _Ramp
    arm: _Ramp


def ramps_of(pairs: Sample) -> Ramps:
    """Prepare complete pairs, both requests of each in one window.

    So the arms have equally many in every window.
    """
    return Ramps(pairs, _ramp(pairs.baseline), _ramp(pairs.arm))


def band_of(quantile: float) -> tuple[float, float]:
    """The quantiles that a quantile of one half or more is smoothed over."""
    beyond = 1 - quantile
    low, high = max(0.25, 1 - 4 * beyond), 1 - beyond / (2 if quantile == 0.5 else 4)
    return round(low, 9), round(high, 9)


def smoothed_test(
    ramps: Ramps, quantile: float, *, signs: Signs, memory_s: float = MEMORY_S
) -> SwapTest | Refusal:
    """The test of the ratio of the arms' smoothed quantiles."""
    from scipy.optimize import brentq  # slow to import, and short runs do not come here

    pairs, baseline, arm = ramps.pairs, ramps.baseline, ramps.arm
    tail_requests = beyond(pairs, quantile)
    if precision(tail_requests) == "refused":
        return Refusal(reason="Too few complete pairs.", tail_requests=tail_requests)
    if min(pairs.baseline.ordered[0], pairs.arm.ordered[0]) <= 0:
        return Refusal(reason="A latency of 0 has no ratio to another.")
    half = _half_width(pairs, quantile)
    share, size = 1 - quantile, pairs.smaller

    def middle(*shifted: tuple[_Ramp, float]) -> float:
        """Where the share of the arms' values beyond is that of the quantile."""

        def surplus(at: float) -> float:
            found = sum(ramp.total_beyond(at + by, half) for ramp, by in shifted)
            return found / (len(shifted) * size) - share

        low = min(ramp.logs[0] - by for ramp, by in shifted) - half
        high = max(ramp.logs[-1] - by for ramp, by in shifted) + half
        return float(brentq(surplus, low, high, xtol=1e-12))

    def score(log_ratio: float) -> Floats:
        at = middle((baseline, 0.0), (arm, log_ratio))
        return np.asarray((arm.beyond(at + log_ratio, half) - baseline.beyond(at, half)) / size)

    values = math.exp(middle((baseline, 0.0))), math.exp(middle((arm, 0.0)))
    independent = 2 * quantile * share / size
    return ratio_test(pairs, score, values, tail_requests, independent, signs, memory_s)


def conflict(raw: Estimate, smoothed: Estimate) -> str | None:
    """Say how a smoothed ratio contradicts the ratio that it smooths, if it does."""
    for one, other in ((raw, smoothed), (smoothed, raw)):
        low, high = one.interval.low, one.interval.high
        if low is not None and other.interval.high is not None and low > other.interval.high:
            return "the intervals do not overlap"
        if (low is not None and low > 1 > other.value) or (
            high is not None and high < 1 < other.value
        ):
            return "one is shown to differ from no change, and the other lies on the other side"
    return None


def _ramp(arm: WindowedArm) -> _Ramp:
    with np.errstate(divide="ignore"):  # a latency of 0, which is refused later
        logs, parts = np.log(arm.ordered), tuple(np.log(part) for part in arm.parts)
    sums, sums_by_part = (np.cumsum(np.concatenate([[0.0], *of])) for of in ([logs], parts))
    return _Ramp(logs, sums, parts, sums_by_part, np.cumsum([part.size for part in parts]))


def _half_width(pairs: Sample, quantile: float) -> float:
    """How far the score rises to either side: to the nearer end of the band, arms laid together."""
    scale = pairs.baseline.quantile(quantile) / pairs.arm.quantile(quantile)
    low, high = band_of(quantile)
    ends = [math.log(pairs.pooled_quantile(q, scale)) for q in (low, quantile, high)]
    return max(min(ends[1] - ends[0], ends[2] - ends[1]), _NARROWEST)
