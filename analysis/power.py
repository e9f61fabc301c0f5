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
    said += _foreseen_of_slo(plan)
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


def _foreseen_of_slo(plan: Plan) -> list[str]:
    """Say which limits cannot be met, whatever comes: too short a stage, or too few requests."""
    said = []
    share = {name: arm.share for name, arm in plan.arms.items()}
    spans = {phase.name: phase.end_s - phase.start_s for phase in plan.traffic.phases}
    for asked in plan.thresholds:
        where = f" in {asked.phase}" if asked.phase else ""
        limit = f"the {asked.metric} limit of {asked.arm}{where}"
        length_s = spans[asked.phase] if asked.phase else plan.traffic.measured_s
        if asked.phase and asked.window_s is None and length_s < 6 * MEMORY_S:
            said.append(
                f"Note: {limit} will end in cannot tell: {length_s:g} s are fewer than "
                f"{6 * MEMORY_S:g} s."
            )
        elif (rate_rps := _rate_rps(plan, asked.phase)) is not None:
            stretch_s = asked.window_s or length_s
            requests = rate_rps * stretch_s * share[asked.arm] / sum(share.values())
            needed = 3 / asked.allowed  # -ln 5 %: so many without a miss show the share
            if requests < needed:
                each = f" in {asked.window_s:g} s" if asked.window_s else ""
                said.append(
                    f"Note: {limit} needs {needed:,.0f} requests{each}, and gets about "
                    f"{requests:,.0f}. It will end in cannot tell unless it is broken."
                )
    return said


def _rate_rps(plan: Plan, phase: str | None) -> float | None:
    """Give the mean rate of a phase, or of all that is measured; `None`: the plan does not say."""
    stages = plan.traffic.stages or []
    measured = plan.traffic.phases[-len(stages) :] if stages else ()
    for span, stage in zip(measured, stages, strict=True):
        if span.name == phase:
            return stage.expected_requests / stage.length
    return plan.traffic.rate_rps
