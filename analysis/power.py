"""Can this plan decide what it guards? Said before the run, not after it."""

from analysis.noise import MEMORY_S, precision
from experiments.plan import Plan, quantile_of


def foreseen(plan: Plan) -> tuple[str, ...]:
    """Say which guarded metrics cannot reach a verdict at the planned rate and duration."""
    traffic = plan.traffic
    said = []
    if traffic.measured_s < 6 * MEMORY_S:
        said.append(
            f"Note: {traffic.measured_s:g} s are measured; below {6 * MEMORY_S:g} s there is "
            "no verdict, only estimates."
        )
    elif traffic.measured_s < 12 * MEMORY_S:
        said.append(
            f"Note: {traffic.measured_s:g} s are measured; a verdict from less than "
            f"{12 * MEMORY_S:g} s is marked as that of a short run."
        )
    shares = [arm.share for arm in plan.arms.values()]
    if traffic.rate_rps is None:  # the plan does not say
        return tuple(said)
    smallest = traffic.rate_rps * traffic.measured_s * min(shares) / sum(shares)
    guarded = plan.comparison.margins if plan.question == "compare" else ()
    for metric in guarded:
        quantile = quantile_of(metric)
        if quantile is None:
            continue
        beyond = smallest * min(quantile, 1 - quantile)
        if precision(int(beyond)) != "enough":
            needed = 50 / min(quantile, 1 - quantile)
            said.append(
                f"Note: compare.margins guards {metric}, which needs {needed:,.0f} requests an "
                f"arm; the smallest arm gets about {smallest:,.0f}. It will end in cannot tell."
            )
    return tuple(said)
