"""Whether one arm fails more often than the other, given that failures come in bursts.

Independent failures are judged exactly, given their total; bursts by swapping the arms' names
window by window. Whichever is less sure decides.
"""

import math
from dataclasses import dataclass, replace

from scipy.special import betaincinv, ndtri

from analysis.noise import MEMORY_S, Refusal, Signs, measure_noise, score_p_value, too_short
from analysis.render.format import few
from analysis.results.values import Estimate, estimate
from analysis.windows import Rates, differences

_FEWEST_FAILURES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorRates:
    """Both arms' error rates and their difference, arm - baseline, as shares of 1.

    `failed` counts both arms' failures. `design_effect` says how many times the bursts widen the
    variance of the difference; None where nothing is tested.
    """

    failed: int
    baseline_rate: float | None = None
    arm_rate: float | None = None
    difference: Estimate | None = None
    p_value: float | None = None
    design_effect: float | None = None
    reason: str | None = None


def error_rate_difference(sample: Rates, *, signs: Signs, memory_s: float = MEMORY_S) -> ErrorRates:
    """Judge the difference of two error rates; the sample's values are 1 (failed) and 0.

    With fewer than five failures there is no test; the interval then runs between the one-sided
    Clopper-Pearson bounds of the two rates, so that it can show the arms alike within a margin but
    never one of them worse.
    """
    baseline, arm = sample.baseline, sample.arm
    failures = round(float(baseline.sums.sum())), round(float(arm.sums.sum()))
    found = ErrorRates(failed=sum(failures))
    if sample.smaller == 0:
        return replace(found, reason="One of the arms has no requests.")
    found = replace(found, baseline_rate=baseline.mean, arm_rate=arm.mean)
    if refusal := too_short(sample.span_s, memory_s):
        return replace(found, reason=refusal.reason)
    value, sizes = arm.mean - baseline.mean, (baseline.size, arm.size)
    if found.failed < _FEWEST_FAILURES:
        return replace(
            found,
            difference=estimate(value, lambda level: _apart(failures, sizes, level)),
            reason=f"{few(found.failed, 'request')} failed; a test takes {_FEWEST_FAILURES}.",
        )
    pooled = found.failed / (baseline.size + arm.size)
    score = differences(baseline.counts, baseline.sums, arm.counts, arm.sums)
    noise = measure_noise(
        score,
        baseline.counts,
        arm.counts,
        span_s=sample.span_s,
        memory_s=memory_s,
        independent=pooled * (1 - pooled) * (1 / baseline.size + 1 / arm.size),
    )
    if isinstance(noise, Refusal):
        return replace(found, reason=noise.reason)
    from scipy.stats import binomtest  # slow to import, and few runs come here

    arm_share = arm.size / (baseline.size + arm.size)
    exact = float(binomtest(failures[1], found.failed, arm_share).pvalue)
    widening = math.sqrt(max(1.0, noise.design_effect))
    return replace(
        found,
        difference=estimate(value, lambda level: newcombe(failures, sizes, level, widening)),
        p_value=max(exact, score_p_value(score, noise, signs)),
        design_effect=noise.design_effect,
    )


def wilson(successes: int, n: int, level: float) -> tuple[float, float]:
    """Give the score interval of a share: Wilson, E. B. (1927), Probable inference.

    Raises ValueError where n is not positive.
    """
    if n <= 0:
        raise ValueError("a share of nothing has no interval")
    z = float(ndtri((1 + level) / 2))
    share = successes / n
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    # At the ends the limit is exactly the share, which rounding would put it beyond.
    return 0.0 if successes == 0 else middle - half, 1.0 if successes == n else middle + half


def newcombe(
    failures: tuple[int, int], sizes: tuple[int, int], level: float, widening: float = 1.0
) -> tuple[float, float]:
    """Combine two Wilson intervals into one of the difference.

    Newcombe, R. G. (1998), Interval estimation for the difference between independent proportions,
    method 10, between -1 and 1. Its arms are made longer by `widening`.
    """
    shares = failures[0] / sizes[0], failures[1] / sizes[1]
    (low_a, high_a), (low_b, high_b) = (
        wilson(failed, size, level) for failed, size in zip(failures, sizes, strict=True)
    )
    value = shares[1] - shares[0]
    down = widening * math.hypot(shares[1] - low_b, high_a - shares[0])
    up = widening * math.hypot(high_b - shares[1], shares[0] - low_a)
    return max(value - down, -1.0), min(value + up, 1.0)


def _apart(failures: tuple[int, int], sizes: tuple[int, int], level: float) -> tuple[float, float]:
    """Bound the difference by each rate's own one-sided upper limit, the other taken as 0."""
    upper_a, upper_b = (
        float(betaincinv(failed + 1, size - failed, (1 + level) / 2)) if failed < size else 1.0
        for failed, size in zip(failures, sizes, strict=True)
    )
    return -upper_a, upper_b
