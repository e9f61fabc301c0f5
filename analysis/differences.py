"""One metric of one arm: from what its test found to what the report says of it."""

from dataclasses import replace

from analysis.error_rates import ErrorRates
from analysis.noise import Refusal, precision
from analysis.results.comparison import Difference
from analysis.results.values import Measure
from analysis.swap import Swap
from experiments.plan import Plan


def unknown(
    plan: Plan, arm: str, metric: str, measure: Measure, margin: float | None
) -> Difference:
    """Name a metric of which nothing is known yet; `margin` is None where it is not guarded."""
    return Difference(
        arm=arm,
        baseline=plan.comparison.baseline,
        metric=metric,
        measure=measure,
        unit="share" if measure == "outcome" else "ms",
        margin=margin,
    )


def is_kind(item: Difference) -> bool:
    """Whether it is the rate of one kind of failure: shown, and no part of any verdict."""
    return item.metric.startswith("error_rate.")


def with_ratio(item: Difference, found: Swap | Refusal) -> Difference:
    """Say what a test of latencies found."""
    item = replace(
        item,
        baseline_value=found.baseline_value,
        arm_value=found.arm_value,
        tail_requests=found.tail_requests,
        precision=precision(found.tail_requests),
    )
    if isinstance(found, Refusal):
        return replace(item, reason=found.reason)
    return replace(
        item,
        ratio=found.ratio,
        call="undecided",
        p_value=found.p_value,
        autocorrelation=found.noise.autocorrelation,
    )


def with_rates(item: Difference, found: ErrorRates) -> Difference:
    """Say what a test of error rates found."""
    return replace(
        item,
        baseline_value=found.baseline_rate,
        arm_value=found.arm_rate,
        difference=found.difference,
        tail_requests=found.failed,
        precision="enough" if found.difference else "refused",
        call="undecided" if found.difference else "refused",
        p_value=found.p_value,
        reason=found.reason,
    )
