"""What the control plane says of an endpoint: its variants, weights, instances and models."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC
from functools import cache
from typing import Any

import botocore.exceptions as failures
from botocore.config import Config
from botocore.parsers import ResponseParserError

from experiments.errors import EndpointError
from experiments.plan import Plan, check_variants
from experiments.sagemaker.invoke import session_for, url_of
from experiments.sagemaker.redacted import said
from experiments.sagemaker.reply import classify
from experiments.tables import Endpoint

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
    desired_weight: float | None = None
    """Another number than `weight` while the endpoint is updated."""
    managed: tuple[int, int] | None = None
    """The least and the most instances that ManagedInstanceScaling gives it, where that is on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointFacts:
    """An endpoint as it stands; `variants` is empty where the control plane does not answer."""

    region: str | None = None
    config: str | None = None
    status: str | None = None
    arn: str | None = None
    pending: str | None = None
    """The config that a deployment under way goes to."""
    failure: str | None = None
    """Why an endpoint whose status is Failed did."""
    variants: dict[str, Variant] = field(default_factory=dict)
    note: str | None = None


_NO_CONTROL_PLANE = (ResponseParserError, AttributeError, KeyError, TypeError, ValueError)
"""What botocore's parser raises for the answer of a server that is none, and what we then miss."""

UNREADABLE = (failures.ClientError, failures.BotoCoreError, *_NO_CONTROL_PLANE)
"""What comes of asking a service that refuses, is not there, or is another."""


def describe(endpoint: Endpoint, name: str, others: Iterable[str] = ()) -> EndpointFacts:
    """Read DescribeEndpoint and DescribeEndpointConfig.

    The variants of `others`, of the same account, have their endpoint's name before theirs:
    "b/blue". Of a control plane that may not be read, or is none, there are no variants but a note.

    Raises:
        EndpointError: no endpoint of that name, nothing answers, or no usable credentials.
    """
    return reader(endpoint, name, others)()


def reader(
    endpoint: Endpoint, name: str, others: Iterable[str] = ()
) -> Callable[[], EndpointFacts]:
    """Give what reads an endpoint again and again with one client, as `describe`."""
    client = cache(lambda: client_for(endpoint, "sagemaker"))
    declared: dict[str, dict[str, Any]] = {}

    def read() -> EndpointFacts:
        found = read_one(name)
        for other in others:
            theirs = read_one(other)
            if note := found.note or theirs.note:
                return EndpointFacts(note=note)  # a reading is of all of them, or of none
            pending = found.pending, theirs.pending and f"{other}/{theirs.pending}"
            found = replace(
                found,
                config=f"{found.config}, {other}/{theirs.config}",
                pending=", ".join(filter(None, pending)) or None,
                failure=found.failure or theirs.failure,
                status=found.status if theirs.status in (None, "InService") else theirs.status,
                variants=found.variants | {f"{other}/{v}": x for v, x in theirs.variants.items()},
            )
        return found

    def read_one(name: str) -> EndpointFacts:
        try:
            found = client().describe_endpoint(EndpointName=name)
            config_name = found["EndpointConfigName"]
            if config_name not in declared:
                config = client().describe_endpoint_config(EndpointConfigName=config_name)
                declared[config_name] = {v["VariantName"]: v for v in config["ProductionVariants"]}
        except (failures.ClientError, failures.BotoCoreError) as error:
            return _without_control_plane(endpoint, name, error)
        except _NO_CONTROL_PLANE as error:
            return EndpointFacts(note=f"The endpoint could not be described: {said(error)}")
        return EndpointFacts(
            region=client().meta.region_name,
            config=config_name,
            status=found["EndpointStatus"],
            arn=found["EndpointArn"],
            pending=found.get("PendingDeploymentSummary", {}).get("EndpointConfigName"),
            failure=found.get("FailureReason"),
            variants={
                variant["VariantName"]: _variant(
                    variant, declared[config_name].get(variant["VariantName"], {})
                )
                for variant in found.get("ProductionVariants", [])
            },
        )

    return read


def scaling_activity(endpoint: Endpoint, variants: Iterable[str]) -> dict[str, Any]:
    """Read DescribeScalingActivities: the latest `activities` of each variant, times in UTC.

    Where it may not be read, or nothing answers, a `note` says so instead.
    """
    try:
        client = client_for(endpoint, "application-autoscaling")
        found = {
            variant: client.describe_scaling_activities(
                ServiceNamespace="sagemaker",
                ResourceId=resource_id(endpoint.name, variant),
            )["ScalingActivities"]
            for variant in variants
        }
        return {"activities": [_activity(name, one) for name, own in found.items() for one in own]}
    except UNREADABLE as error:
        return {"note": said(error)}


def resource_id(endpoint: str, variant: str) -> str:
    """Name a variant of an endpoint, or of the one before its "/", as Auto Scaling does."""
    other, _, own = variant.rpartition("/")
    return f"endpoint/{other or endpoint}/variant/{own}"


def _activity(variant: str, one: Any) -> dict[str, str | None]:
    ended = one.get("EndTime")
    return {
        "variant": variant,
        "started_at": one["StartTime"].astimezone(UTC).isoformat(),
        "ended_at": ended and ended.astimezone(UTC).isoformat(),
        "status": one["StatusCode"],
        "description": one["Description"],
    }


def client_for(endpoint: Endpoint, service: str, *, attempts: int = 3) -> Any:
    """Make a client of one of the endpoint's AWS services, which tries each call so many times.

    Raises:
        botocore.exceptions.BotoCoreError: for example an unknown profile, or no region.
    """
    retries: Any = {"total_max_attempts": attempts, "mode": "standard"}
    config = Config(connect_timeout=5, read_timeout=10, retries=retries)
    session: Any = session_for(endpoint)
    return session.client(service, endpoint_url=url_of(endpoint), config=config)


def _variant(found: Any, declared: Any) -> Variant:
    images = found.get("DeployedImages") or [{}]
    managed = found.get("ManagedInstanceScaling", {})
    bounds = managed.get("MinInstanceCount", 0), managed.get("MaxInstanceCount", 0)
    return Variant(
        weight=found.get("CurrentWeight"),
        instances=found.get("CurrentInstanceCount"),
        instance_type=declared.get("InstanceType"),
        model=declared.get("ModelName"),
        image=images[0].get("ResolvedImage") or images[0].get("SpecifiedImage"),
        desired_instances=found.get("DesiredInstanceCount"),
        desired_weight=found.get("DesiredWeight"),
        managed=bounds if managed.get("Status") == "ENABLED" else None,
    )


def _without_control_plane(endpoint: Endpoint, name: str, error: Exception) -> EndpointFacts:
    failure = classify(error)
    why = (failure and failure.error) or said(error)
    where = endpoint.url or "the SageMaker control plane"
    if failure and failure.outcome in ("connection", "timeout"):
        raise EndpointError(
            f"{where} does not answer: {why}",
            "Check endpoint.target, the region, and that the endpoint can be reached from here.",
        ) from None
    if "Could not find" in why:
        raise EndpointError(
            f'endpoint.name: there is no endpoint "{name}": {why}',
            "Check endpoint.name, the region and the account.",
        ) from None
    if failure is None or (failure.outcome in ("auth", "other") and failure.http_status is None):
        raise EndpointError(
            f"{where} cannot be asked: {why}",
            "Check the credentials and the region that boto3 finds (AWS_PROFILE, "
            "AWS_DEFAULT_REGION, ~/.aws/config).",
        ) from None
    return EndpointFacts(note=f"The endpoint could not be described: {why}")


def check_arms(plan: Plan, facts: EndpointFacts) -> None:
    """Refuse, by an EndpointError, a plan whose arms do not fit the endpoint's variants."""
    if not facts.variants:
        return
    if plan.traffic.routing == "weighted" and not plan.traffic.set_weights:
        _check_weights(plan, facts)
    check_variants(plan, facts.variants)
    if plan.question == "regression":
        _check_instance_types(plan, facts)


def _check_instance_types(plan: Plan, facts: EndpointFacts) -> None:
    """Refuse arms of a release on unlike machines, whose difference would be the machines'."""
    variants = {arm: facts.variants.get(plan.variant_of(arm) or "") for arm in plan.arms}
    types = {arm: found.instance_type for arm, found in variants.items() if found}
    if len(set(types.values())) > 1:
        stands = " and ".join(f"{arm} on {kind or 'no known type'}" for arm, kind in types.items())
        raise EndpointError(
            f"{stands}: a release is held against the one before on one type of instance.",
            'Deploy both on the same type, or ask which is faster with question = "compare".',
        )


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
                    "Give the arms the endpoint's weights as shares, or let the run set them, and "
                    "put them back, with traffic.set_weights = true.",
                )
