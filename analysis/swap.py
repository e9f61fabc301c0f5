"""By what factor one arm's latency differs from the other's, and how sure that is.

The score of a window is how far the arms differ in it once a ratio is taken out: in the share of
requests beyond the pooled quantile, or in the mean. `analysis.noise` says how likely the summed
score is; an interval holds every ratio that this test does not reject. A ratio is tried by scaling
a threshold, never the data, so a try costs O(windows x log requests) however long the run.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import stdtrit

from analysis.noise import (
    MEMORY_S,
    Noise,
    Precision,
    Refusal,
    Signs,
    measure_noise,
    precision,
    score_p_value,
)
from analysis.results.comparison import ShiftPoint
from analysis.results.values import Estimate, Interval, of_logs
from analysis.windows import Floats, Sample, differences

Score = Callable[[float], Floats]
"""From a log ratio to the score of each window once that ratio is taken out; it has no unit."""

_WIDEST_LOG_RATIO = 16.0
_FIRST_STEP = 0.01
_EDGE_PRECISION = 1 / 256
_NARROWEST = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SwapTest:
    """The test of one metric, ready to be asked about any log ratio."""

    score: Score
    noise: Noise
    signs: Signs
    log_ratio: float
    baseline_value: float
    arm_value: float
    tail_requests: int

    def p_value(self, log_ratio: float = 0.0) -> float:
        """The two-sided p-value of a log ratio."""
        return score_p_value(self.score(log_ratio), self.noise, self.signs)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Swap:
    """The ratio of the arm's metric to the baseline's, and what it rests on.

    `p_value` is for a ratio of 1. A side of an interval is None where the noise lasts so long that
    no ratio can be ruled out. `detectable` is the relative difference that a run as noisy as this
    one finds about four times in five; None where it would miss any.
    """

    ratio: Estimate
    p_value: float
    baseline_value: float
    arm_value: float
    tail_requests: int
    precision: Precision
    detectable: float | None
    noise: Noise


def swap_ratio(
    sample: Sample, quantile: float | None, *, signs: Signs, memory_s: float = MEMORY_S
) -> Swap | Refusal:
    """The ratio of the arms' quantiles, or for None of their means, with its intervals."""
    return with_intervals(swap_test(sample, quantile, signs=signs, memory_s=memory_s))


def shift(
    sample: Sample,
    quantiles: Sequence[float],
    *,
    arm: str,
    signs: Signs,
    memory_s: float = MEMORY_S,
) -> tuple[ShiftPoint, ...]:
    """The shift function (Doksum, 1974) as ratios, with pointwise 95 % intervals.

    An interval that is refused is None; a side of one that is None is unbounded.
    """
    points = []
    for quantile in quantiles:
        test = swap_test(sample, quantile, signs=signs, memory_s=memory_s)
        if not test.baseline_value or test.arm_value is None:
            continue
        interval = None
        if isinstance(test, SwapTest):
            interval = _interval(test, 0.95, _standard_error(test))
        points.append(
            ShiftPoint(
                arm=arm,
                quantile=quantile,
                baseline_ms=test.baseline_value,
                arm_ms=test.arm_value,
                ratio=test.arm_value / test.baseline_value,
                interval=interval,
            )
        )
    return tuple(points)


def swap_test(
    sample: Sample, quantile: float | None, *, signs: Signs, memory_s: float = MEMORY_S
) -> SwapTest | Refusal:
    """The test behind `swap_ratio`, without its intervals."""
    arms = baseline, arm = sample.baseline, sample.arm
    if sample.smaller == 0:
        return Refusal(reason="One of the arms has no requests.")
    score = score_of(sample, quantile)
    if quantile is None:
        independent = sum(a.variance / max(a.mean, 1e-150) ** 2 / a.size for a in arms)
        values = baseline.mean, arm.mean
        return ratio_test(sample, score, values, sample.smaller, independent, signs, memory_s)
    values = baseline.quantile(quantile), arm.quantile(quantile)
    tail_requests = beyond(sample, quantile)
    if precision(tail_requests) == "refused":
        return Refusal(
            reason="Fewer than 20 requests of the smaller arm lie beyond it, too few to judge by.",
            tail_requests=tail_requests,
            baseline_value=values[0],
            arm_value=values[1],
        )
    independent = quantile * (1 - quantile) * (1 / baseline.size + 1 / arm.size)
    return ratio_test(sample, score, values, tail_requests, independent, signs, memory_s)


def score_of(sample: Sample, quantile: float | None) -> Score:
    """How far the arms differ in each window at a quantile, or for None in the mean."""
    baseline, arm = sample.baseline, sample.arm

    def of_mean(log_ratio: float) -> Floats:
        sums = arm.sums * math.exp(-log_ratio)
        pooled = (baseline.sums.sum() + sums.sum()) / (baseline.size + arm.size)
        return np.asarray(differences(baseline.counts, baseline.sums, arm.counts, sums) / pooled)

    def of_quantile(log_ratio: float) -> Floats:
        assert quantile is not None
        share, scale = 1 - quantile, math.exp(-log_ratio)
        threshold = sample.pooled_quantile(quantile, scale)
        return differences(
            baseline.counts,
            baseline.beyond(threshold, share),
            arm.counts,
            arm.beyond(threshold / scale, share),
        )

    return of_mean if quantile is None else of_quantile


def beyond(sample: Sample, quantile: float) -> int:
    """How many requests of the smaller arm lie beyond a quantile, on its rarer side."""
    return math.floor(sample.smaller * min(quantile, 1 - quantile) + 1e-9)


def ratio_test(
    sample: Sample,
    score: Score,
    values: tuple[float, float],
    tail_requests: int,
    independent: float,
    signs: Signs,
    memory_s: float,
) -> SwapTest | Refusal:
    """The test of a score that is 0 in all where the ratio of `values` is taken out.

    `independent` is the variance of the summed score where requests are independent.
    """
    refused = Refusal(
        reason="A latency of 0 has no ratio to another.",
        tail_requests=tail_requests,
        baseline_value=values[0],
        arm_value=values[1],
    )
    if min(values) <= 0:
        return refused
    log_ratio = math.log(values[1] / values[0])
    noise = measure_noise(
        score(log_ratio),
        sample.baseline.counts,
        sample.arm.counts,
        span_s=sample.span_s,
        memory_s=memory_s,
        independent=independent,
    )
    if isinstance(noise, Refusal):
        return replace(refused, reason=noise.reason)
    return SwapTest(
        score=score,
        noise=noise,
        signs=signs,
        log_ratio=log_ratio,
        baseline_value=values[0],
        arm_value=values[1],
        tail_requests=tail_requests,
    )


def with_intervals(test: SwapTest | Refusal) -> Swap | Refusal:
    """What a test finds: the ratios that it does not reject, and its p-value for a ratio of 1."""
    if isinstance(test, Refusal):
        return test
    error = _standard_error(test)
    # The planner's multiple for 80 % power at 5 %: 2.95 where 20 windows are the weakest test.
    multiple = sum(stdtrit(test.noise.freedom, (0.975, 0.8)))
    interval = _interval(test, 0.95, error)
    return Swap(
        ratio=Estimate(
            value=math.exp(test.log_ratio),
            interval=interval,
            interval_90=_interval(test, 0.90, error),
        ),
        p_value=test.p_value(),
        baseline_value=test.baseline_value,
        arm_value=test.arm_value,
        tail_requests=test.tail_requests,
        precision=precision(test.tail_requests),
        detectable=None if error is None else math.expm1(multiple * error),
        noise=test.noise,
    )


def _interval(test: SwapTest, level: float, error: float | None) -> Interval:
    """The ratios that the test does not reject at 1 - level, from the estimate outwards."""

    def kept(log_ratio: float) -> bool:
        return test.p_value(log_ratio) >= 1 - level

    low, high = (_edge(kept, test.log_ratio, side * (error or _FIRST_STEP)) for side in (-1, 1))
    return of_logs(low, high, level)


def _standard_error(test: SwapTest) -> float | None:
    """Of the log ratio: half the span over which the summed score moves by its deviation."""

    def kept(log_ratio: float) -> bool:
        return abs(float(test.score(log_ratio).sum())) <= test.noise.deviation

    low, high = (_edge(kept, test.log_ratio, side * _FIRST_STEP) for side in (-1, 1))
    return None if low is None or high is None else (high - low) / 2


def _edge(kept: Callable[[float], bool], start: float, step: float) -> float | None:
    """The last point that is kept, going from start by doubled steps; None if there is no end."""
    inside, outside = 0.0, step
    while kept(start + outside):
        inside, outside = outside, 2 * outside
        if abs(outside) > _WIDEST_LOG_RATIO:
            return None
    while abs(outside - inside) > max(abs(outside) * _EDGE_PRECISION, _NARROWEST):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if kept(start + middle) else (inside, middle)
    return start + inside
