"""How arms differ: latency, error rates, and what they answered."""

from dataclasses import dataclass
from typing import Literal

from analysis.results.values import Call, Estimate, Interval, Measure


@dataclass(frozen=True, slots=True, kw_only=True)
class Smoothed:
    """The ratio at a percentile smoothed over a `band` of quantiles, from requests sent in pairs.

    It is narrower than the ratio at the percentile itself, which decides; `conflict` says how the
    two contradict each other, and is `None` where they do not. Of the pairs, `incomplete_pairs`
    are left out, since one of the two requests has no latency.
    """

    ratio: Estimate
    band: tuple[float, float]
    pairs: int
    incomplete_pairs: int
    conflict: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One metric of one arm against the baseline.

    `ratio` is arm/baseline and given for latency; `difference` is arm - baseline and given for
    error rates. A difference in milliseconds has no interval here: the ratio's does not hold how
    uncertain the baseline itself is. `margin` is relative for latency and absolute for error rates,
    and `None` where the metric is not guarded. Of the error rates "error_rate" counts every
    failure, and "error_rate.throttled" and the like those of one outcome.
    `tail_requests` counts the requests beyond the quantile in the smaller arm (for error rates:
    the failed requests of both arms); it decides whether the sample can carry a statement.
    """

    arm: str
    baseline: str
    metric: str
    measure: Measure
    unit: Literal["ms", "share"]
    baseline_value: float | None = None
    arm_value: float | None = None
    ratio: Estimate | None = None
    difference: Estimate | None = None
    margin: float | None
    tail_requests: int = 0
    precision: Literal["enough", "imprecise", "refused"] = "refused"
    call: Call = "refused"
    p_value: float | None = None
    p_value_holm: float | None = None
    autocorrelation: float | None = None
    reason: str | None = None
    smoothed: Smoothed | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShiftPoint:
    """The ratio arm/baseline at one percentile: one point of the shift function."""

    arm: str
    quantile: float
    baseline_ms: float
    arm_ms: float
    ratio: float
    interval: Interval | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmAnswers:
    """How often one arm's answer was right, one vote per payload."""

    arm: str
    right: int
    payloads: int
    share: float | None
    interval: Interval | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswersDifference:
    """Whether two arms answer the same payload alike, and which is right more often.

    `only_baseline_right` and `only_arm_right` count payloads; `p_value` is the exact McNemar
    test on them. `unstable` counts payloads that one arm answered in more than one way.
    """

    arm: str
    baseline: str
    payloads: int
    agree: int
    agreement: float | None
    agreement_interval: Interval | None
    unstable: int
    only_baseline_right: int | None
    only_arm_right: int | None
    p_value: float | None
    call: Call
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What the arms answered, compared on the same payloads."""

    arms: tuple[ArmAnswers, ...]
    differences: tuple[AnswersDifference, ...]
