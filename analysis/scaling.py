"""Did the endpoint keep its instances through a run: what it was before, and what after?"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from analysis.read import Run
from analysis.results import Check

_SCALES = ("Pending", "InProgress", "Successful")


def instances_of(run: Run, arm: str) -> int | None:
    """Give how many instances an arm's variant had; `None` where that is not known."""
    found = _counts(run.manifest.get("endpoint", {})).get(run.plan.variant_of(arm) or "", set())
    return found.pop() if len(found) == 1 else None


def held_check(run: Run) -> Check | None:
    """Fail a run in which a variant of an arm was scaled, or was to be; `None`: not known.

    It warns where the instances are known before the run and not after it.
    """
    before, after = (_counts(run.manifest.get(key, {})) for key in ("endpoint", "endpoint_after"))
    arms = [run.plan.variant_of(arm) for arm in run.plan.arms]
    variants = [name for name in arms if name in before and name in after]
    lost = [str(name) for name in arms if name in before and name not in after]
    title = "Instances held"
    for name in variants:
        seen = before[name] | after[name]
        if len(seen) > 1:
            counts = " and ".join(map(str, sorted(seen)))
            finding = f"{name} had {counts} instances, or was to have them, during one run"
            return Check("scaling", title, "fail", finding, suspend(run.plan.endpoint.name, name))
    for name, finding in scaled_since(run, run.manifest["started_at"]):
        return Check("scaling", title, "fail", finding, suspend(run.plan.endpoint.name, name))
    if lost and "endpoint_after" in run.manifest:
        why = run.manifest["endpoint_after"].get("note") or "it is not described"
        finding = f"how many instances {', '.join(lost)} had after the run is not known: {why}"
        step = "Allow sagemaker:DescribeEndpoint, and look whether the endpoint scaled."
        return Check("scaling", title, "warn", finding, step)
    if not variants:
        return None
    said = ", ".join(f"{name} {next(iter(before[name]))}" for name in variants)
    note = run.manifest.get("scaling", {}).get("note")
    said += f"; scaling activity could not be read: {note}" if note else ""
    return Check("scaling", title, "ok", f"before and after, as wanted: {said}")


def scaled_since(run: Run, began_at: str) -> Iterator[tuple[str, str]]:
    """Give each variant of an arm that was scaled between a UTC time and the run's end, and how."""
    began = datetime.fromisoformat(began_at)
    variants = {run.plan.variant_of(arm) for arm in run.plan.arms}
    for each in run.manifest.get("scaling", {}).get("activities", ()):
        is_over = each["ended_at"] and datetime.fromisoformat(each["ended_at"]) < began
        if each["variant"] in variants and each["status"] in _SCALES and not is_over:
            yield each["variant"], f"{each['variant']} was scaled: {each['description']}"


def _counts(endpoint: dict[str, Any]) -> dict[str, set[int]]:
    """Give each variant's instances, and those that it is to have."""
    variants = endpoint.get("variants", {}).items()
    return {
        name: {count for key in ("instances", "desired_instances") if (count := facts.get(key))}
        for name, facts in variants
        if facts.get("instances")
    }


def suspend(endpoint: str, variant: str) -> str:
    """Say how scaling is suspended, and resumed."""
    kinds = ("DynamicScalingInSuspended", "DynamicScalingOutSuspended", "ScheduledScalingSuspended")
    states = ",".join(f"{kind}=true" for kind in kinds)
    return (
        "Suspend scaling first: aws application-autoscaling register-scalable-target "
        f"--service-namespace sagemaker --resource-id endpoint/{endpoint}/variant/{variant} "
        f"--scalable-dimension sagemaker:variant:DesiredInstanceCount --suspended-state {states} "
        "and resume it afterwards by the same command with =false."
    )
