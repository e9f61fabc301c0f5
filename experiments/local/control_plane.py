"""What the SageMaker API says of the endpoint, and how its weights and instances are changed."""

import math
from collections.abc import Mapping
from typing import Any

from experiments.local import config
from experiments.local.deployment import Deployment
from experiments.local.fleet import Change
from experiments.local.service_error import ServiceError

_KMS_KEY = "none"
"""A key must be named, and there is none."""


def describe_endpoint(
    asked: Mapping[str, Any], account: str, deployment: Deployment
) -> dict[str, Any]:
    """Answer DescribeEndpoint."""
    endpoint, fleet = deployment.endpoint, deployment.fleet
    arn = _found(str(asked["EndpointName"]), "endpoint", account, endpoint)
    variants = [
        {
            "VariantName": name,
            "CurrentWeight": variant.current_weight,
            "DesiredWeight": variant.desired_weight,
            "CurrentInstanceCount": variant.current_instances,
            "DesiredInstanceCount": variant.desired_instances,
            **_routing(endpoint.variants[name]),
        }
        for name, variant in fleet.variants.items()
    ]
    described: dict[str, Any] = {
        "EndpointName": endpoint.name,
        "EndpointArn": arn,
        "EndpointConfigName": endpoint.name,
        "EndpointStatus": "Updating" if fleet.is_updating else "InService",
        "CreationTime": fleet.created_s,
        "LastModifiedTime": fleet.modified_s,
        "ProductionVariants": variants,
    }
    if endpoint.capture is not None:
        described["DataCaptureConfig"] = {
            "EnableCapture": True,
            "CaptureStatus": "Started",
            "CurrentSamplingPercentage": _percentage(endpoint.capture),
            "DestinationS3Uri": f"s3://local/{endpoint.capture.folder}",
            "KmsKeyId": _KMS_KEY,
        }
    return described


def describe_endpoint_config(
    asked: Mapping[str, Any], account: str, deployment: Deployment
) -> dict[str, Any]:
    """Answer DescribeEndpointConfig: what the endpoint file states."""
    endpoint = deployment.endpoint
    arn = _found(str(asked["EndpointConfigName"]), "endpoint-config", account, endpoint)
    variants = [
        {
            "VariantName": name,
            **({} if variant.components else {"ModelName": variant.model or name}),
            "InstanceType": variant.instance_type,
            "InitialInstanceCount": variant.instances,
            "InitialVariantWeight": variant.weight,
            **_routing(variant),
        }
        for name, variant in endpoint.variants.items()
    ]
    described: dict[str, Any] = {
        "EndpointConfigName": endpoint.name,
        "EndpointConfigArn": arn,
        "CreationTime": deployment.fleet.created_s,
        "ProductionVariants": variants,
    }
    if (capture := endpoint.capture) is not None:
        described["DataCaptureConfig"] = {
            "EnableCapture": True,
            "InitialSamplingPercentage": _percentage(capture),
            "DestinationS3Uri": f"s3://local/{capture.folder}",
            "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
            "CaptureContentTypeHeader": {
                "CsvContentTypes": capture.csv_content_types,
                "JsonContentTypes": capture.json_content_types,
            },
        }
    return described


def update_weights_and_capacities(
    asked: Mapping[str, Any], account: str, deployment: Deployment
) -> dict[str, Any]:
    """Answer UpdateEndpointWeightsAndCapacities; what it asks for holds after `update_takes`.

    Raises:
        ServiceError: ValidationException, or ResourceLimitExceeded for more instances than the
            endpoint file prepares.
    """
    endpoint, fleet = deployment.endpoint, deployment.fleet
    arn = _found(str(asked["EndpointName"]), "endpoint", account, endpoint)
    if fleet.is_updating:
        raise _invalid(f'Cannot update in-progress endpoint "{arn}".')
    changes: dict[str, Change] = {}
    if not asked["DesiredWeightsAndCapacities"]:
        raise _invalid("DesiredWeightsAndCapacities must have at least one entry.")
    for one in asked["DesiredWeightsAndCapacities"]:
        name = str(one["VariantName"])
        variant = endpoint.variants.get(name)
        if variant is None:
            raise _invalid(f"Variant {name} is none of {', '.join(endpoint.variants)}.")
        change = Change(one.get("DesiredWeight"), one.get("DesiredInstanceCount"))
        if change.weight is not None and not _is_weight(change.weight):
            raise _invalid(f"DesiredWeight of {name} must be a number from 0 on.")
        # JSON's true would pass for 1.
        if change.instances is not None and (
            type(change.instances) is not int or change.instances < 1
        ):
            raise _invalid(f"DesiredInstanceCount of {name} must be a whole number from 1 on.")
        if change.instances is not None and change.instances > variant.prepared:
            raise ServiceError(
                400,
                "ResourceLimitExceeded",
                f"{name} can have {variant.prepared} instances: the larger of its instances and "
                "of its autoscaling.max in the endpoint file.",
            )
        changes[name] = change
    weights = {name: variant.desired_weight for name, variant in fleet.variants.items()}
    given = {name: one.weight for name, one in changes.items() if one.weight is not None}
    if not any((weights | given).values()):
        raise _invalid("The weight of at least one variant must be above 0.")
    deployment.update(changes)
    return {"EndpointArn": arn}


def _found(name: str, resource: str, account: str, endpoint: config.Endpoint) -> str:
    """Return the ARN of the endpoint, or of its configuration, which has the same name."""
    arn = f"arn:aws:sagemaker:{endpoint.region}:{account}:{resource}/{name.lower()}"
    if name != endpoint.name or account != endpoint.account:
        noun = resource.replace("endpoint-config", "endpoint configuration")
        raise _invalid(f'Could not find {noun} "{arn}".')
    return arn


def _is_weight(value: object) -> bool:
    return type(value) is not bool and isinstance(value, int | float) and 0 <= value < math.inf


def _percentage(capture: config.Capture) -> int:
    return 100 if capture.share is None else round(100 * capture.share)


def _routing(variant: config.Variant) -> dict[str, Any]:
    """Give the strategy that the endpoint file states; which one is AWS's default is not known."""
    if "routing" not in variant.model_fields_set:
        return {}
    return {"RoutingConfig": {"RoutingStrategy": variant.routing}}


def _invalid(message: str) -> ServiceError:
    return ServiceError(400, "ValidationException", message)
