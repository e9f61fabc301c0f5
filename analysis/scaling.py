"""Did the endpoint stay as it was through a run: its instances, its weights, and what it serves?"""

from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from typing import Any, Literal

from analysis.read import Run
from analysis.render.format import count, joined, share
from analysis.results.run import Check
from experiments.run_folder import RunFolder

_SCALES = ("Pending", "InProgress", "Successful")
_WHOLE = {"config": "config", "status": "status", "pending": "config that is being deployed"}
_SERVED = {"model": "model", "image": "image", "instance_type": "instance type"}
_MOST_SHOWN = 4


def described_as(run: Run, arm: str) -> str | None:
    """Name the described variant that answers for an arm; `None`: more than one may, or none is.

    Of an endpoint of the arm's own its name comes before the variant's: "b/blue".
    """
    own = _variants_of(run, arm)
    is_one = run.plan.variant_of(arm) or run.plan.arms[arm].request.endpoint_name
    return own[0] if is_one and len(own) == 1 else None


def _variants_of(run: Run, arm: str) -> list[str]:
    """Name the described variants that may answer for an arm: its own, or all of its endpoint."""
    endpoint, variant = run.plan.endpoint_of(arm), run.plan.variant_of(arm)
    of = "" if endpoint == run.plan.endpoint.name else endpoint
    if variant is not None:
        return [f"{of}/{variant}" if of else variant]
    known = run.manifest.get("endpoint", {}).get("variants", {})
    return [name for name in known if name.rpartition("/")[0] == of]


def _of_arms(run: Run) -> list[str]:
    return list(dict.fromkeys(name for arm in run.plan.arms for name in _variants_of(run, arm)))


def instances_of(run: Run, arm: str) -> int | None:
    """Give how many instances an arm's variant had; `None` where that is not known."""
    found = _counts(run.manifest.get("endpoint", {})).get(described_as(run, arm) or "", set())
    return found.pop() if len(found) == 1 else None


def load_check(run: Run) -> Check | None:
    """Warn of arms whose instances carry unequal load, which tells them apart like a model does."""
    endpoint = run.manifest.get("endpoint", {})
    title = "Equal load per instance"
    if endpoint.get("status") not in (None, "InService"):
        step = "Wait until it is InService: a deployment mixes two models under one name."
        return Check("instances", title, "warn", f"the endpoint was {endpoint['status']}", step)
    if endpoint.get("note"):
        step = "Allow sagemaker:DescribeEndpoint and sagemaker:DescribeEndpointConfig."
        return Check("instances", title, "warn", endpoint["note"], step)
    load = {}
    for name, arm in run.plan.arms.items():
        variant = endpoint.get("variants", {}).get(described_as(run, name) or "", {})
        if variant.get("instances"):
            load[name] = arm.share / variant["instances"]
    if len(load) < len(run.plan.arms):
        return None
    finding = ", ".join(f"{name} {share(part / sum(load.values()))}" for name, part in load.items())
    if any(abs(a - b) > 1e-9 for a, b in pairwise(load.values())):
        step = "Give the arms instances in proportion to their share."
        said = f"share of the load that one instance gets: {finding}"
        return Check("instances", title, "warn", said, step)
    return Check("instances", title, "ok", "each instance of each arm gets the same share")


def held_check(run: Run) -> Check | None:
    """Fail a run in which a variant of an arm was scaled, or was to be; `None`: not known.

    It warns where the instances are known before the run and not after it.
    """
    before, after = (_counts(run.manifest.get(key, {})) for key in ("endpoint", "endpoint_after"))
    arms = _of_arms(run)
    variants = [name for name in arms if name in before and name in after]
    lost = [name for name in arms if name in before and name not in after]
    title = "Instance count steady"
    readings = [_counts(described) for _, described in _descriptions(run)]
    for name in (name for name in arms if name in before):
        seen = {number for reading in readings for number in reading.get(name, ())}
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
    return Check("scaling", title, "ok", f"instances before and after the run: {said}")


def unchanged_check(run: Run) -> Check | None:
    """Say whether the endpoint served the same by the same weights throughout; `None`: not known.

    What an arm served, or a weight by which requests were routed, fails the run where it changed.
    """
    changes = [
        (at, *change)
        for (_, before), (at, after) in pairwise(_descriptions(run))
        for change in _changes(run, before, after)
    ]
    title = "Endpoint unchanged"
    if changes:
        said = [f"{what} ({at})" for at, what, _ in changes[:_MOST_SHOWN]]
        more = len(changes) - len(said)
        said += [f"{count(more)} more changes"] if more else []
        state: Literal["warn", "fail"] = "fail" if any(bad for *_, bad in changes) else "warn"
        step = "Make the run again while nobody deploys to the endpoint or changes its weights."
        return Check("endpoint", title, state, joined(said), step)
    taken = run.manifest.get("endpoint_readings")
    if taken is None or "variants" not in run.manifest.get("endpoint_after", {}):
        return None
    path = RunFolder(run.path).timeline
    lines = path.read_bytes().count(b"\n") if path.is_file() else 0
    if not lines or lines > len(run.timeline):  # the last may be torn, of a run that was killed
        step = "Restore timeline.jsonl from a copy, or make the run again."
        return Check("endpoint", title, "warn", "not known: timeline.jsonl is not whole", step)
    read = taken["taken"] - taken["failed"]
    finding = "weights, configuration, models and images stayed what they were before the run, as "
    finding += f"read {count(read + 2)} times"
    return Check("endpoint", title, "ok", finding)


def _descriptions(run: Run) -> list[tuple[str, dict[str, Any]]]:
    """Give what the endpoint was, each with its time: before, at each change, and afterwards."""
    seen = [(e["at"][11:19], e) for e in run.timeline if e["kind"] == "endpoint"]
    first = ("before", run.manifest.get("endpoint", {}))
    last = ("at the end", run.manifest.get("endpoint_after", {}))
    return [each for each in (first, *seen, last) if each[1].get("variants")]


def _changes(run: Run, before: dict[str, Any], after: dict[str, Any]) -> Iterator[tuple[str, bool]]:
    """Give each change in words, and whether a run cannot be trusted for it."""
    for key, word in _WHOLE.items():
        if before.get(key) != after.get(key):
            yield f"the {word} was {before.get(key)} and is {after.get(key)}", key == "config"
    arms = _of_arms(run)
    routes = run.plan.traffic.routing == "weighted"
    for name, was in before["variants"].items():
        now = after["variants"].get(name)
        if now is None:
            yield f"the variant {name} is gone", True
            continue
        for key in ("weight", "desired_weight"):
            if was.get(key) != now.get(key) and (key == "weight" or now.get(key) != now["weight"]):
                word = "weight" if key == "weight" else "weight to come"
                yield f"the {word} of {name} was {was.get(key)} and is {now.get(key)}", routes
        for key, word in _SERVED.items():
            if was.get(key) != now.get(key):
                said = f"the {word} of {name} was {was.get(key)} and is {now.get(key)}"
                yield said, name in arms


def scaled_since(run: Run, began_at: str) -> Iterator[tuple[str, str]]:
    """Give each variant of an arm that was scaled between a UTC time and the run's end, and how."""
    began = datetime.fromisoformat(began_at)
    variants = _of_arms(run)
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
    other, _, own = variant.rpartition("/")
    return (
        "Suspend scaling first: aws application-autoscaling register-scalable-target "
        f"--service-namespace sagemaker --resource-id endpoint/{other or endpoint}/variant/{own} "
        f"--scalable-dimension sagemaker:variant:DesiredInstanceCount --suspended-state {states} "
        "and resume it afterwards by the same command with =false."
    )
