"""Did the endpoint keep its instances through a run: what it was before, and what after?"""

from typing import Any

from analysis.read import Run
from analysis.results import Check


def instances_of(run: Run, arm: str) -> int | None:
    """Give how many instances an arm's variant had; `None` where that is not known."""
    found = _counts(run.manifest.get("endpoint", {})).get(run.plan.variant_of(arm) or "", set())
    return found.pop() if len(found) == 1 else None


def held_check(run: Run) -> Check | None:
    """Fail a run in which a variant of an arm was scaled, or was to be; `None`: not known."""
    before, after = (_counts(run.manifest.get(key, {})) for key in ("endpoint", "endpoint_after"))
    arms = [run.plan.variant_of(arm) for arm in run.plan.arms]
    variants = [name for name in arms if name in before and name in after]
    if not variants:
        return None
    title = "Instances held"
    for name in variants:
        seen = before[name] | after[name]
        if len(seen) > 1:
            counts = " and ".join(map(str, sorted(seen)))
            finding = f"{name} had {counts} instances, or was to have them, during one run"
            return Check("scaling", title, "fail", finding, _suspend(run.plan.endpoint.name, name))
    said = ", ".join(f"{name} {next(iter(before[name]))}" for name in variants)
    return Check("scaling", title, "ok", f"before and after, as wanted: {said}")


def _counts(endpoint: dict[str, Any]) -> dict[str, set[int]]:
    """Give each variant's instances, and those that it is to have."""
    variants = endpoint.get("variants", {}).items()
    return {
        name: {count for key in ("instances", "desired_instances") if (count := facts.get(key))}
        for name, facts in variants
        if facts.get("instances")
    }


def _suspend(endpoint: str, variant: str) -> str:
    kinds = ("DynamicScalingInSuspended", "DynamicScalingOutSuspended", "ScheduledScalingSuspended")
    states = ",".join(f"{kind}=true" for kind in kinds)
    return (
        "Suspend scaling first: aws application-autoscaling register-scalable-target "
        f"--service-namespace sagemaker --resource-id endpoint/{endpoint}/variant/{variant} "
        f"--scalable-dimension sagemaker:variant:DesiredInstanceCount --suspended-state {states} "
        "and resume it afterwards by the same command with =false."
    )
