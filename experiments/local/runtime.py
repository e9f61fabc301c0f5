"""InvokeEndpoint: what the SageMaker runtime checks, whom it asks, and what it answers."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import unquote

from experiments.local import config
from experiments.local.attempts import Attempts
from experiments.local.backend import Backend, Reply
from experiments.local.clock import Clock
from experiments.local.delivery import Spoilt
from experiments.local.faults import SERVICE_ERRORS, Fault
from experiments.local.http import Request, Response
from experiments.local.routing import Route, Router
from experiments.local.served_log import Line, ServedLog
from experiments.local.service_error import ServiceError, ThrottlingError, validation_error


class _Rule(NamedTuple):
    member: str
    max_length: int
    pattern: re.Pattern[str]


_PREFIX = "x-amzn-sagemaker-"
_TARGET_VARIANT = f"{_PREFIX}target-variant"
_INFERENCE_ID = f"{_PREFIX}inference-id"
_NAME = re.compile("[a-zA-Z0-9](-*[a-zA-Z0-9])*")
_ASCII = re.compile(r"[\x00-\x7f]*")
_PRINTABLE = re.compile(r"\S[ -~]*", re.ASCII)
_ENDPOINT_NAME = _Rule("endpointName", 63, _NAME)
_RULES = {
    "content-type": _Rule("contentType", 1024, _ASCII),
    "accept": _Rule("accept", 1024, _ASCII),
    f"{_PREFIX}custom-attributes": _Rule("customAttributes", 1024, _ASCII),
    f"{_PREFIX}target-model": _Rule("targetModel", 1024, _PRINTABLE),
    _TARGET_VARIANT: _Rule("targetVariant", 63, _NAME),
    _INFERENCE_ID: _Rule("inferenceId", 64, _PRINTABLE),
    f"{_PREFIX}session-id": _Rule("sessionId", 256, re.compile(f"NEW_SESSION|{_NAME.pattern}")),
}
_NOT_OFFERED = {
    f"{_PREFIX}target-container-hostname": "TargetContainerHostname",
    f"{_PREFIX}inference-component": "InferenceComponentName",
    f"{_PREFIX}enable-explanations": "EnableExplanations",
    f"{_PREFIX}prefix-aware-id": "PrefixAwareId",
}
_TO_CONTAINER = [
    "content-type",
    "accept",
    f"{_PREFIX}custom-attributes",
    f"{_PREFIX}target-model",
    f"{_PREFIX}session-id",
]
_FROM_CONTAINER = [
    "content-type",
    f"{_PREFIX}custom-attributes",
    f"{_PREFIX}new-session-id",
    f"{_PREFIX}closed-session-id",
]
_QUOTE_LIMIT = 1024
"""Characters of a container's answer that an error quotes; its messages hold 2,048."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """An endpoint as it runs: `backends` hold the instances of each variant."""

    endpoint: config.Endpoint
    backends: Mapping[str, Sequence[Backend]]
    router: Router
    clock: Clock
    served_log: ServedLog
    attempts: Attempts = field(default_factory=Attempts)


async def invoke_endpoint(escaped_name: str, request: Request, deployment: Deployment) -> Response:
    """Answer one InvokeEndpoint call by an instance of the variant that it goes to.

    Raises:
        ServiceError: ValidationError when the call breaks a rule, ModelError when the container
            answers anything but 2xx, cannot be reached, or takes longer than the model's limit;
            and what a fault of the endpoint file asks for.
    """
    at_s = deployment.clock.now_s()
    headers = request.headers
    attempt = deployment.attempts.attempt(headers.get("amz-sdk-invocation-id"))
    route: Route | None = None
    reply: Reply | None = None
    status: int | None = None
    try:
        _check_call(unquote(escaped_name), request, deployment.endpoint)
        route = deployment.router.route(at_s, headers.get(_TARGET_VARIANT))
        reply = await _ask(route, request, at_s, deployment)
        response = _answer(route, reply.response, deployment.endpoint)
        status = 200
    except ServiceError as error:
        status = error.status
        raise
    finally:
        if deployment.served_log.is_kept:
            clock = deployment.clock
            deployment.served_log.write(
                Line(
                    inference_id=headers.get(_INFERENCE_ID, ""),
                    attempt=attempt,
                    variant=route.variant if route else "",
                    instance=route.instance + 1 if route else None,
                    arrived_ns=clock.ns(at_s),
                    wait_ns=round(reply.wait_s * 1e9) if reply else None,
                    service_ns=round(reply.service_s * 1e9) if reply else None,
                    ended_ns=clock.ns(clock.now_s()),
                    status=status,
                    fault=route.fault.kind if route and route.fault else "",
                )
            )
    return response


def _check_call(name: str, request: Request, endpoint: config.Endpoint) -> None:
    _check(_ENDPOINT_NAME, name)
    for header, rule in _RULES.items():
        if header in request.headers:
            _check(rule, request.headers[header])
    for header in _NOT_OFFERED.keys() & request.headers.keys():
        raise validation_error(f"{_NOT_OFFERED[header]} is not offered by this local endpoint.")
    if name != endpoint.name:
        raise validation_error(f"Endpoint {name} of account {endpoint.account} not found.")


async def _ask(route: Route, request: Request, at_s: float, deployment: Deployment) -> Reply:
    endpoint, fault = deployment.endpoint, route.fault
    extra_s = 0.0
    if fault is not None:
        if (refusal := _refusal(fault, endpoint)) is not None:
            raise refusal
        if fault.kind == "spike":
            extra_s = fault.delay or 0.0
    headers = {key: request.headers[key] for key in _TO_CONTAINER if key in request.headers}
    try:
        return await deployment.backends[route.variant][route.instance].invoke(
            headers, request.body, at_s, extra_s
        )
    except TimeoutError:
        raise _model_error(
            endpoint,
            0,
            "Your invocation timed out while waiting for a response from container primary. Review "
            "the latency metrics for each container in Amazon CloudWatch, resolve the issue, and "
            "try again.",
        ) from None
    except OSError as error:
        raise _model_error(endpoint, 500, f"The model server did not answer: {error}") from None


def _refusal(fault: Fault, endpoint: config.Endpoint) -> ServiceError | None:
    """Return the error of a fault that keeps a request from its instance."""
    match fault.kind:
        case "throttle":
            return ThrottlingError()
        case "service_error":
            assert fault.status is not None
            return ServiceError(
                fault.status, SERVICE_ERRORS[fault.status], "A fault that the endpoint file states."
            )
        case "dead_instance":
            return _model_error(endpoint, 500, "The model server did not answer: it is dead.")
    return None


def _answer(route: Route, response: Response, endpoint: config.Endpoint) -> Response:
    fault = route.fault
    if fault is not None and fault.kind == "model_error":
        assert fault.status is not None
        raise _model_error(endpoint, fault.status, "A fault that the endpoint file states.")
    if not 200 <= response.status < 300:
        said = response.body.decode(errors="replace")[:_QUOTE_LIMIT]
        raise _model_error(endpoint, response.status, said)
    headers = {key: response.headers[key] for key in _FROM_CONTAINER if key in response.headers}
    spoilt = None
    match fault and fault.kind:
        case "no_variant":
            return Response(status=200, headers=headers, body=response.body)
        case "reset" | "slow_body" | "cut_body" | "closed_keep_alive" | "wrong_bytes" as how:
            assert fault is not None
            spoilt = Spoilt(how, fault.delay or 0.0)
    headers["x-Amzn-Invoked-Production-Variant"] = route.variant
    return Response(status=200, headers=headers, body=response.body, spoilt=spoilt)


def _check(rule: _Rule, value: str) -> None:
    if len(value) > rule.max_length:
        broken = f"Member must have length less than or equal to {rule.max_length}"
    elif not rule.pattern.fullmatch(value):
        broken = f"Member must satisfy regular expression pattern: {rule.pattern.pattern}"
    else:
        return
    raise validation_error(
        f"1 validation error detected: Value '{value}' at '{rule.member}' failed to satisfy "
        f"constraint: {broken}"
    )


def _model_error(endpoint: config.Endpoint, status: int, said: str) -> ServiceError:
    group = f"/aws/sagemaker/Endpoints/{endpoint.name}"
    region, account = endpoint.region, endpoint.account
    blame = "client" if 400 <= status < 500 else "server"
    message = (
        f'Received {blame} error ({status}) from primary with message "{said}". See '
        f"https://{region}.console.aws.amazon.com/cloudwatch/home?region={region}"
        f"#logEventViewer:group={group} in account {account} for more information."
    )
    return ServiceError(
        424,
        "ModelError",
        message,
        OriginalStatusCode=status,
        OriginalMessage=said,
        LogStreamArn=f"arn:aws:logs:{region}:{account}:log-group:{group}",
    )
