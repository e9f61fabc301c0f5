"""The AWS APIs that are answered beside SageMaker Runtime's own, by the protocols JSON 1.0 and 1.1.

CloudWatch has others, too; the current AWS SDKs and the AWS CLI speak JSON with it.
"""

import json
from collections.abc import Callable
from itertools import compress
from typing import Any

from experiments.local import autoscaling, cloudwatch, control_plane, identity
from experiments.local.deployment import Deployment, Json
from experiments.local.http import Request, Response
from experiments.local.service_error import ServiceError, invalid

_SIGNED_FOR = {
    "SageMaker": "sagemaker",
    "AnyScaleFrontendService": "application-autoscaling",
    "GraniteServiceVersion20100801": "monitoring",
    "STS": "sts",
}
_METRIC_DATA = "GraniteServiceVersion20100801.GetMetricData"
_OPERATIONS: dict[str, Callable[[Json, str, Deployment], Json]] = {
    "SageMaker.DescribeEndpoint": control_plane.describe_endpoint,
    "SageMaker.DescribeEndpointConfig": control_plane.describe_endpoint_config,
    "SageMaker.UpdateEndpointWeightsAndCapacities": control_plane.update_weights_and_capacities,
    "AnyScaleFrontendService.DescribeScalableTargets": autoscaling.describe_scalable_targets,
    "AnyScaleFrontendService.DescribeScalingPolicies": autoscaling.describe_scaling_policies,
    "AnyScaleFrontendService.DescribeScalingActivities": autoscaling.describe_scaling_activities,
    _METRIC_DATA: cloudwatch.metric_data,
    "GraniteServiceVersion20100801.GetMetricStatistics": cloudwatch.get_metric_statistics,
}
Find = Callable[[str | None], Deployment]
"""Gives the deployment of an endpoint by its name."""

_NOT_READ = (ValueError, TypeError, LookupError, AttributeError, RecursionError, OverflowError)


def named(request: Request) -> str | None:
    """Return the service and operation that a request names; `None`: it is of no such protocol."""
    path = request.target.partition("?")[0]
    is_form = "x-www-form-urlencoded" in request.headers.get("content-type", "")
    if path == "/" and is_form and identity.is_asked(request):
        return identity.CALLED
    if path.startswith("/service/") or is_form:
        raise ServiceError(
            400, "UnknownOperationException", "Of CloudWatch's protocols, JSON is offered here."
        )
    return request.headers.get("x-amz-target", "none") if path == "/" else None


def signed_for(called: str | None) -> str:
    """Return the service that the signature of a request must be for."""
    return _SIGNED_FOR.get((called or "").partition(".")[0], "sagemaker")


def _endpoint_named(asked: Any) -> str | None:
    """Name the endpoint that is asked about, wherever the service has its name."""
    try:
        resources = [asked.get("ResourceId"), *asked.get("ResourceIds", [])]
        resource = next((str(one).split("/") for one in resources if one), [])
        metric = asked.get("MetricStat", {}).get("Metric", asked)
        by_dimension = {one["Name"]: one["Value"] for one in metric.get("Dimensions", [])}
    except _NOT_READ:
        return None  # who answers says what is wrong with it
    name = asked.get("EndpointName") or asked.get("EndpointConfigName")
    return name or by_dimension.get("EndpointName") or (resource[1] if resource[1:] else None)


def answer(called: str, request: Request, account: str, find: Find) -> Response:
    """Answer one call of an `account` about endpoints by name; an error is an answer, too."""
    if called == identity.CALLED:
        return identity.answer(account)
    headers = {"Content-Type": request.headers.get("content-type", "application/x-amz-json-1.1")}
    try:
        body, status = _answered(called, request, account, find), 200
    except ServiceError as error:
        body, status = {"__type": error.code, "message": error.message}, error.status
        if signed_for(called) == "monitoring":
            headers["x-amzn-query-error"] = f"{error.code};Sender"
    return Response(status, headers, json.dumps(body).encode())


def _answered(called: str, request: Request, account: str, find: Find) -> Json:
    operation = _OPERATIONS.get(called)
    if operation is None:
        known = ", ".join(name.partition(".")[2] for name in _OPERATIONS)
        raise ServiceError(
            400,
            "UnknownOperationException",
            f"{called} is not offered by this local endpoint, which answers {known}.",
        )
    try:
        asked = json.loads(request.body)
        if called != _METRIC_DATA:
            return operation(asked, account, find(_endpoint_named(asked)))
        each = [{**asked, **query} for query in asked["MetricDataQueries"]]
        found = [operation(one, account, find(_endpoint_named(one))) for one in each]
        shown = (one.get("ReturnData", True) for one in each)
        return {"MetricDataResults": list(compress(found, shown))}
    except _NOT_READ as error:
        operated = called.partition(".")[2]
        raise invalid(f"{operated} cannot be read: {type(error).__name__}: {error}") from None
