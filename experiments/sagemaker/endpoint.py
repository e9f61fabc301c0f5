"""What the control plane says of an endpoint: its variants, weights, instances and models."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC
from typing import Any

import botocore.exceptions as failures
from botocore.config import Config

from experiments.errors import EndpointError
from experiments.plan import Endpoint, Plan, check_variants
from experiments.sagemaker.invoke import ONE_ATTEMPT, classify, session_for, url_of

_WEIGHT_TOLERANCE = 0.001


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One production variant as it stands."""

    weight: float | None
    instances: int | None
    instance_type: str | None
    model: str | None
    image: str | None
    desired_instances: int | None = None
    """Another number than `instances` while the endpoint scales."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointFacts:
    """An endpoint as it stands; `variants` is empty where the control plane does not answer."""

    region: str | None = None
    config: str | None = None
    status: str | None = None
    variants: dict[str, Variant] = field(default_factory=dict)
    note: str | None = None


def describe(endpoint: Endpoint, name: str) -> EndpointFacts:
    """Read DescribeEndpoint and DescribeEndpointConfig.

    A control plane that may not be read (no permission, or none behind a URL of the plan's) gives
    facts with a `note` and no variants.

    Raises:
        EndpointError: no endpoint of that name, nothing answers, or no usable credentials.
    """
    try:
        client = session_for(endpoint).client("sagemaker", **_reached_by(endpoint))
        found = client.describe_endpoint(EndpointName=name)
        config_name = found["EndpointConfigName"]
        config = client.describe_endpoint_config(EndpointConfigName=config_name)
    except (failures.ClientError, failures.BotoCoreError) as error:
        return _without_control_plane(endpoint, name, error)
    declared = {variant["VariantName"]: variant for variant in config["ProductionVariants"]}
    return EndpointFacts(
        region=client.meta.region_name,
        config=config_name,
        status=found["EndpointStatus"],
        variants={
            variant["VariantName"]: _variant(variant, declared.get(variant["VariantName"], {}))
            for variant in found.get("ProductionVariants", [])
        },
    )


def scaling_activity(endpoint: Endpoint, variants: Iterable[str]) -> dict[str, Any]:
    """Read DescribeScalingActivities: the latest `activities` of each variant, times in UTC.

    Where it may not be read, or nothing answers, a `note` says so instead.
    """
    try:
        session = session_for(endpoint)
        client = session.client("application-autoscaling", **_reached_by(endpoint))
        found = {
            variant: client.describe_scaling_activities(
                ServiceNamespace="sagemaker",
                ResourceId=f"endpoint/{endpoint.name}/variant/{variant}",
            )["ScalingActivities"]
            for variant in variants
        }
    except (failures.ClientError, failures.BotoCoreError) as error:
        return {"note": f"{type(error).__name__}: {error}"}
    return {"activities": [_activity(name, one) for name, own in found.items() for one in own]}


def _activity(variant: str, one: Any) -> dict[str, str | None]:
    ended = one.get("EndTime")
    return {
        "variant": variant,
        "started_at": one["StartTime"].astimezone(UTC).isoformat(),
        "ended_at": ended and ended.astimezone(UTC).isoformat(),
        "status": one["StatusCode"],
        "description": one["Description"],
    }


def _reached_by(endpoint: Endpoint) -> dict[str, Any]:
    config = ONE_ATTEMPT.merge(Config(connect_timeout=5, read_timeout=10))
    return {"endpoint_url": url_of(endpoint), "config": config}


def _variant(found: Any, declared: Any) -> Variant:
    images = found.get("DeployedImages") or [{}]
    return Variant(
        weight=found.get("CurrentWeight"),
        instances=found.get("CurrentInstanceCount"),
        instance_type=declared.get("InstanceType"),
        model=declared.get("ModelName"),
        image=images[0].get("ResolvedImage") or images[0].get("SpecifiedImage"),
        desired_instances=found.get("DesiredInstanceCount"),
    )


def _without_control_plane(endpoint: Endpoint, name: str, error: Exception) -> EndpointFacts:
    failure = classify(error)
    said = failure.error if failure else f"{type(error).__name__}: {error}"
    where = endpoint.url or "the SageMaker control plane"
    if failure and failure.outcome in ("connection", "timeout"):
        raise EndpointError(
            f"{where} does not answer: {said}",
            "Check endpoint.target, the region, and that the endpoint can be reached from here.",
        ) from None
    if "Could not find" in said:
        raise EndpointError(
            f'endpoint.name: there is no endpoint "{name}": {said}',
            "Check endpoint.name, the region and the account.",
        ) from None
    if failure is None or (failure.outcome in ("auth", "other") and failure.http_status is None):
        raise EndpointError(
            f"{where} cannot be asked: {said}",
            "Check the credentials and the region that boto3 finds (AWS_PROFILE, "
            "AWS_DEFAULT_REGION, ~/.aws/config).",
        ) from None
    return EndpointFacts(note=f"The endpoint could not be described: {said}")


def check_arms(plan: Plan, facts: EndpointFacts) -> None:
    """Refuse a plan with an arm whose variant the endpoint does not have.

    Raises:
        EndpointError: naming the arm and the variants that there are.
    """
    if not facts.variants:
        return
    if plan.traffic.routing == "weighted":
        _check_weights(plan, facts)
    check_variants(plan, facts.variants)


def _check_weights(plan: Plan, facts: EndpointFacts) -> None:
    weights = {name: v.weight for name, v in facts.variants.items() if v.weight is not None}
    shares = {plan.variant_of(name) or name: arm.share for name, arm in plan.arms.items()}
    for variant, share in shares.items():
        if sum(weights.values()) and variant in weights:
            wanted = share / sum(shares.values())
            there = weights[variant] / sum(weights.values())
            if abs(wanted - there) > _WEIGHT_TOLERANCE:
                raise EndpointError(
                    f"arms.{variant}.share makes {wanted:.1%} of the traffic, but the weight of "
                    f'the variant "{variant}" makes {there:.1%}.',
                    "Give the arms the endpoint's weights as shares, or set its weights first.",
                )
