"""DescribeEndpoint and DescribeEndpointConfig, as the SageMaker API's json protocol has them."""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from experiments.local import config
from experiments.local.http import Request, Response
from experiments.local.service_error import ServiceError


class _Operation(NamedTuple):
    parameter: str
    noun: str
    resource: str
    describe: Callable[[config.Endpoint, str, float], dict[str, Any]]


def answer(request: Request, endpoint: config.Endpoint, created_at: float) -> Response:
    """Answer one call; `created_at`, of the endpoint, is in seconds since the epoch.

    Raises:
        ServiceError: an operation that is not offered, or an endpoint that does not exist.
    """
    target = request.headers.get("x-amz-target", "none")
    operation = _OPERATIONS.get(target)
    if operation is None:
        raise ServiceError(
            400,
            "UnknownOperationException",
            f"X-Amz-Target is {target}; this local endpoint answers {', '.join(_OPERATIONS)}.",
        )
    try:
        name = str(json.loads(request.body)[operation.parameter])
    except (ValueError, TypeError, LookupError, RecursionError):
        raise ServiceError(
            400, "ValidationException", f"The body is not JSON with {operation.parameter}."
        ) from None
    owner = f"arn:aws:sagemaker:{endpoint.region}:{endpoint.account}"
    arn = f"{owner}:{operation.resource}/{name.lower()}"
    if name != endpoint.name:
        raise ServiceError(400, "ValidationException", f'Could not find {operation.noun} "{arn}".')
    body = json.dumps(operation.describe(endpoint, arn, created_at)).encode()
    headers = {"Content-Type": "application/x-amz-json-1.1"}
    return Response(status=200, headers=headers, body=body)


def _endpoint(endpoint: config.Endpoint, arn: str, created_at: float) -> dict[str, Any]:
    return {
        "EndpointName": endpoint.name,
        "EndpointArn": arn,
        "EndpointConfigName": endpoint.name,
        "EndpointStatus": "InService",
        "CreationTime": created_at,
        "LastModifiedTime": created_at,
        "ProductionVariants": [
            {
                "VariantName": name,
                "CurrentWeight": variant.weight,
                "DesiredWeight": variant.weight,
                "CurrentInstanceCount": variant.instances,
                "DesiredInstanceCount": variant.instances,
                **_routing(variant),
            }
            for name, variant in endpoint.variants.items()
        ],
    }


def _endpoint_config(endpoint: config.Endpoint, arn: str, created_at: float) -> dict[str, Any]:
    return {
        "EndpointConfigName": endpoint.name,
        "EndpointConfigArn": arn,
        "CreationTime": created_at,
        "ProductionVariants": [
            {
                "VariantName": name,
                "ModelName": variant.model or name,
                "InstanceType": variant.instance_type,
                "InitialInstanceCount": variant.instances,
                "InitialVariantWeight": variant.weight,
                **_routing(variant),
            }
            for name, variant in endpoint.variants.items()
        ],
    }


def _routing(variant: config.Variant) -> dict[str, Any]:
    """Give the strategy that the endpoint file states; which one is AWS's default is not known."""
    if "routing" not in variant.model_fields_set:
        return {}
    return {"RoutingConfig": {"RoutingStrategy": variant.routing}}


_OPERATIONS = {
    "SageMaker.DescribeEndpoint": _Operation("EndpointName", "endpoint", "endpoint", _endpoint),
    "SageMaker.DescribeEndpointConfig": _Operation(
        "EndpointConfigName", "endpoint configuration", "endpoint-config", _endpoint_config
    ),
}
