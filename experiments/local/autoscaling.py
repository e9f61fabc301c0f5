"""What Application Auto Scaling says of the variants that the endpoint file has it scale."""

from collections.abc import Iterator

from experiments.local import config
from experiments.local.deployment import Deployment, Json
from experiments.local.service_error import invalid

DIMENSION = "sagemaker:variant:DesiredInstanceCount"
_METRIC = "SageMakerVariantInvocationsPerInstance"


def describe_scalable_targets(asked: Json, account: str, deployment: Deployment) -> Json:
    """Answer DescribeScalableTargets."""
    owner = f"arn:aws:iam::{account}:role/aws-service-role"
    return {
        "ScalableTargets": [
            {
                **resource,
                "MinCapacity": table.min,
                "MaxCapacity": table.max,
                "RoleARN": f"{owner}/sagemaker.application-autoscaling.amazonaws.com/local",
                "CreationTime": deployment.fleet.created_s,
            }
            for _, resource, table in _scaled(asked, account, deployment)
            if resource["ResourceId"] in asked.get("ResourceIds", [resource["ResourceId"]])
        ]
    }


def describe_scaling_policies(asked: Json, account: str, deployment: Deployment) -> Json:
    """Answer DescribeScalingPolicies."""
    region = deployment.endpoint.region
    arn = f"arn:aws:autoscaling:{region}:{account}:scalingPolicy:local:policyName"
    return {
        "ScalingPolicies": [
            {
                **resource,
                "PolicyARN": f"{arn}/{policy}",
                "PolicyName": policy,
                "PolicyType": "TargetTrackingScaling",
                "TargetTrackingScalingPolicyConfiguration": {
                    "TargetValue": table.invocations_per_instance,
                    "PredefinedMetricSpecification": {"PredefinedMetricType": _METRIC},
                },
                "Alarms": [],
                "CreationTime": deployment.fleet.created_s,
            }
            for name, resource, table in _scaled(asked, account, deployment)
            if (policy := f"{name}-invocations") in asked.get("PolicyNames", [policy])
        ]
    }


def describe_scaling_activities(asked: Json, account: str, deployment: Deployment) -> Json:
    """Answer DescribeScalingActivities, the latest first."""
    resources = {name: resource for name, resource, _ in _scaled(asked, account, deployment)}
    activities = [
        {
            **resources[one.variant],
            "ActivityId": f"{one.variant}-{number}",
            "Description": f"Setting desired instance count to {one.after}.",
            "Cause": f"The endpoint file has autoscaling change it from {one.before}.",
            "StartTime": one.started_s,
            **({} if one.ended_s is None else {"EndTime": one.ended_s}),
            "StatusCode": "InProgress" if one.ended_s is None else "Successful",
        }
        for number, one in enumerate(deployment.fleet.activities, start=1)
        if one.variant in resources
    ]
    return {"ScalingActivities": activities[::-1]}


def _scaled(
    asked: Json, account: str, deployment: Deployment
) -> Iterator[tuple[str, dict[str, str], config.Autoscaling]]:
    """Give each variant that is scaled and asked for, and how it is called here."""
    endpoint = deployment.endpoint
    if (namespace := asked["ServiceNamespace"]) != "sagemaker":
        raise invalid(f"ServiceNamespace is {namespace}; here is only sagemaker.")
    if account != endpoint.account:
        return
    for name, variant in endpoint.variants.items():
        resource = f"endpoint/{endpoint.name}/variant/{name}"
        is_asked_for = (
            asked.get("ResourceId", resource) == resource
            and asked.get("ScalableDimension", DIMENSION) == DIMENSION
        )
        if variant.autoscaling is not None and is_asked_for:
            names = {"ServiceNamespace": "sagemaker", "ScalableDimension": DIMENSION}
            yield name, {**names, "ResourceId": resource}, variant.autoscaling
