"""Must a run end for what the plan's [limits] say?"""

from experiments.plan import Plan

_FEWEST_FOR_ERROR_RATE = 100


def limit_broken(plan: Plan, elapsed_s: float, ended: int, failed: int) -> tuple[str, str] | None:
    """Give how a run that breaks a limit ends, and why; `None`: it keeps them, or has none."""
    limits = plan.limits
    if limits is None:
        return None
    if elapsed_s > limits.max_minutes * 60:
        most = f"limits.max_minutes = {limits.max_minutes:g}"
        return "aborted", f"The run took longer than {most} allows."
    most_failed = limits.abort_error_rate
    if most_failed is None or ended < _FEWEST_FOR_ERROR_RATE or failed <= most_failed * ended:
        return None
    # To a load test failing is an answer, and to a comparison that one arm alone fails.
    ended_as = {"load": "stopped", "compare": "failing"}.get(plan.question, "aborted")
    return ended_as, (
        f"{failed:,} of {ended:,} requests failed, more than "
        f"limits.abort_error_rate = {most_failed:g} allows."
    )
