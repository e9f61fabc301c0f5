"""The AWS APIs that are answered beside SageMaker Runtime's own, by the protocols JSON 1.0 and 1.1.

STS has a protocol of its own, which `identity` speaks.
CloudWatch has others, too; the current AWS SDKs and the AWS CLI speak JSON with it.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from experiments.local import autoscaling, cloudwatch, control_plane, identity
from experiments.local.deployment import Deployment
from experiments.local.http import Request, Response
from experiments.local.service_error import ServiceError

_Answer = Callable[[Mapping[str, Any], str, Deployment], dict[str, Any]]
_Deployments = Callable[[str | None], Deployment]
_OF_CLOUDWATCH = "GraniteServiceVersion20100801"


class _Service(NamedTuple):
    signed_for: str
    operations: Mapping[str, _Answer]


_SERVICES = {
    "SageMaker": _Service(
        "sagemaker",
        {
            "DescribeEndpoint": control_plane.describe_endpoint,
            "DescribeEndpointConfig": control_plane.describe_endpoint_config,
            "UpdateEndpointWeightsAndCapacities": control_plane.update_weights_and_capacities,
        },
    ),
    "AnyScaleFrontendService": _Service(
        "application-autoscaling",
        {
            "DescribeScalableTargets": autoscaling.describe_scalable_targets,
            "DescribeScalingPolicies": autoscaling.describe_scaling_policies,
            "DescribeScalingActivities": autoscaling.describe_scaling_activities,
        },
    ),
    _OF_CLOUDWATCH: _Service(
        "monitoring",
        {
            "GetMetricData": cloudwatch.get_metric_data,
            "GetMetricStatistics": cloudwatch.get_metric_statistics,
        },
    ),
    identity.SERVICE: _Service("sts", {}),
}


class Named(NamedTuple):
    """An operation as a request calls it."""

    service: str
    operation: str

    @property
    def signed_for(self) -> str:
        """The service that the request's signature must be for."""
        service = _SERVICES.get(self.service)
        return "sagemaker" if service is None else service.signed_for


def named(request: Request) -> Named | None:
    """Return which operation a request calls; `None`: it is not of these protocols.

    Raises:
        ServiceError: it is of another protocol of CloudWatch's.
    """
    path = request.target.partition("?")[0]
    if path == "/" and identity.is_asked(request):
        return Named(identity.SERVICE, identity.OPERATION)
    if path.startswith("/service/") or "x-www-form-urlencoded" in request.headers.get(
        "content-type", ""
    ):
        raise ServiceError(
            400, "UnknownOperationException", "Of CloudWatch's protocols, JSON is offered here."
        )
    if path != "/":
        return None
    service, _, operation = request.headers.get("x-amz-target", "none").partition(".")
    return Named(service, operation)


def _endpoint_named(asked: Any) -> str | None:
    """Name the endpoint that is asked about, wherever the service has its name."""
    try:
        resources = [asked.get("ResourceId"), *asked.get("ResourceIds", [])]
        resource = next((str(one).split("/") for one in resources if one), [])
        metric = asked.get("MetricDataQueries", [{}])[0].get("MetricStat", {}).get("Metric", asked)
        by_dimension = {one["Name"]: one["Value"] for one in metric.get("Dimensions", [])}
    except (ValueError, LookupError, AttributeError, TypeError):
        return None  # who answers says what is wrong with it
    named = asked.get("EndpointName") or asked.get("EndpointConfigName")
    return named or by_dimension.get("EndpointName") or (resource[1] if resource[1:] else None)


def answer(called: Named, request: Request, account: str, deployment_of: _Deployments) -> Response:
    """Answer one call of an `account` about endpoints by name; an error is an answer, too."""
    if called.service == identity.SERVICE:
        return identity.answer(account)
    headers = {"Content-Type": request.headers.get("content-type", "application/x-amz-json-1.1")}
    try:
        body, status = _answered(called, request, account, deployment_of), 200
    except ServiceError as error:
        body = {"__type": error.code, "message": error.message}
        status = error.status
        if called.service == _OF_CLOUDWATCH:
            headers["x-amzn-query-error"] = f"{error.code};Sender"
    return Response(status=status, headers=headers, body=json.dumps(body).encode())


def _answered(
    called: Named, request: Request, account: str, deployment_of: _Deployments
) -> dict[str, Any]:
    service = _SERVICES.get(called.service)
    operation = service.operations.get(called.operation) if service is not None else None
    if operation is None:
        known = ", ".join(name for one in _SERVICES.values() for name in one.operations)
        raise ServiceError(
            400,
            "UnknownOperationException",
            f"{called.service}.{called.operation} is not offered by this local endpoint, which "
            f"answers {known}.",
        )
    try:
        asked = json.loads(request.body)
        if operation is not cloudwatch.get_metric_data:
            return operation(asked, account, deployment_of(_endpoint_named(asked)))
        each = ({**asked, "MetricDataQueries": [one]} for one in asked["MetricDataQueries"])
        found = [operation(one, account, deployment_of(_endpoint_named(one))) for one in each]
        return {"MetricDataResults": [one for own in found for one in own["MetricDataResults"]]}
    except (
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        RecursionError,
        OverflowError,
    ) as error:
        raise ServiceError(
            400,
            "ValidationException",
            f"{called.operation} cannot be read: {type(error).__name__}: {error}",
        ) from None
