"""What may move or load an endpoint from outside: scalable targets, and others' invocations."""

import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import Any

from experiments import doctor, run_folder
from experiments.doctor import Finding, Invocations, Scalable
from experiments.plan import Plan
from experiments.sagemaker.cloudwatch import minutes
from experiments.sagemaker.endpoint import (
    UNREADABLE,
    EndpointFacts,
    client_for,
    describe,
    resource_id,
)
from experiments.sagemaker.redacted import said
from experiments.tables import Endpoint

_WINDOW_MIN = 15
_MOVING = ("Pending", "InProgress")


def scaling(plan: Plan, facts: EndpointFacts) -> Finding:
    """Read what may move the instances that answer for a plan's arms, and judge it."""
    variants = dict.fromkeys(chain(*doctor.variants_of(plan, facts).values()))
    named = [arm.request.inference_component_name for arm in plan.arms.values()]
    resources = [resource_id(plan.endpoint.name, variant) for variant in variants]
    resources += [f"inference-component/{name}" for name in named if name]
    if not resources:
        return Finding("Scaling", "skip", "the endpoint's variants are not known")
    bounds = {name: facts.variants[name].managed for name in variants}
    managed = {name: known for name, known in bounds.items() if known}
    return doctor.scaling(scalable_targets(plan.endpoint, resources), managed)


def scalable_targets(endpoint: Endpoint, resources: Iterable[str]) -> list[Scalable] | str:
    """Read DescribeScalableTargets and DescribeScalingActivities; or say why they cannot be."""
    try:
        client = client_for(endpoint, "application-autoscaling")
        return [target for resource in resources for target in _targets(client, resource)]
    except UNREADABLE as error:
        return said(error)


def _targets(client: Any, resource: str) -> Iterator[Scalable]:
    asked = {"ServiceNamespace": "sagemaker"}
    found = client.describe_scalable_targets(**asked, ResourceIds=[resource])["ScalableTargets"]
    for each in found:
        asked = {**asked, "ResourceId": resource, "ScalableDimension": each["ScalableDimension"]}
        activities = client.describe_scaling_activities(**asked)["ScalingActivities"]
        moving = (one["Description"] for one in activities if one["StatusCode"] in _MOVING)
        suspended = each.get("SuspendedState", {})
        yield Scalable(
            resource=resource,
            dimension=each["ScalableDimension"],
            least=each["MinCapacity"],
            most=each["MaxCapacity"],
            is_suspended=len(suspended) == 3 and all(suspended.values()),
            moving=next(moving, None),
        )


def invocations(endpoint: Endpoint, variants: Iterable[str]) -> Invocations | str:
    """Count what CloudWatch knows of the last minutes' calls of variants; or say why it does not.

    A variant of another endpoint has that one's name before it: "b/blue".
    """
    now = datetime.now(UTC)
    asked = {}
    for name in variants:
        other, _, variant = name.rpartition("/")
        asked[name] = {"EndpointName": other or endpoint.name, "VariantName": variant}
    try:
        client = client_for(endpoint, "cloudwatch")
        since = now - timedelta(minutes=_WINDOW_MIN)
        found, _ = minutes(client, asked, (("Invocations", "Sum"),), since, now)
    except UNREADABLE as error:
        return said(error)
    points = list(chain(*(own["Invocations"]["Sum"].items() for own in found.values())))
    latest = max((at for at, count in points if count), default=None)
    return Invocations(
        total=sum(count for _, count in points),
        minutes=_WINDOW_MIN,
        latest=datetime.fromisoformat(latest) if latest else None,
    )


def main() -> None:
    """Say what may move instances while the experiment of a run folder is made, if anything may."""
    folder = run_folder.open_folder(Path(sys.argv[1]))
    plan = Plan.model_validate(run_folder.read_manifest(folder)["plan"])
    found = scaling(plan, describe(plan.endpoint, plan.endpoint.name, plan.other_endpoints))
    if found.state in ("warn", "fail"):
        sys.stdout.write(f"Scaling: {found.finding}. {found.next_step}")


if __name__ == "__main__":
    main()
