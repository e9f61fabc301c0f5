"""InvokeEndpoint: what the SageMaker runtime checks, which variant it asks, and what it answers."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import unquote

import numpy as np

from experiments.local import config, routing
from experiments.local.http import Request, Response
from experiments.local.service_error import ServiceError, validation_error

Instance = Callable[[Mapping[str, str], bytes], Awaitable[Response]]
"""What answers one invocation: headers and body in, the container's response out."""


class _Rule(NamedTuple):
    member: str
    max_length: int
    pattern: re.Pattern[str]


_PREFIX = "x-amzn-sagemaker-"
_TARGET_VARIANT = f"{_PREFIX}target-variant"
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
    f"{_PREFIX}inference-id": _Rule("inferenceId", 64, _PRINTABLE),
    f"{_PREFIX}session-id": _Rule("sessionId", 256, re.compile(f"NEW_SESSION|{_NAME.pattern}")),
}
_NOT_OFFERED = {
    f"{_PREFIX}target-container-hostname": "TargetContainerHostname",
    f"{_PREFIX}inference-component": "InferenceComponentName",
    f"{_PREFIX}enable-explanations": "EnableExplanations",
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


async def invoke_endpoint(
    escaped_name: str,
    request: Request,
    endpoint: config.Endpoint,
    instances: Mapping[str, Sequence[Instance]],
    generator: np.random.Generator,
) -> Response:
    """Answer one InvokeEndpoint call by one of the `instances` of the variant that it goes to.

    Raises:
        ServiceError: ValidationError when the call breaks a rule, ModelError when the container
            answers anything but 2xx, cannot be reached, or takes longer than the model's limit.
    """
    name = unquote(escaped_name)
    _check(_ENDPOINT_NAME, name)
    for header, rule in _RULES.items():
        if header in request.headers:
            _check(rule, request.headers[header])
    for header, member in _NOT_OFFERED.items():
        if header in request.headers:
            raise validation_error(f"{member} is not offered by this local endpoint.")
    if name != endpoint.name:
        raise validation_error(f"Endpoint {name} of account {endpoint.account} not found.")
    weights = {variant: table.weight for variant, table in endpoint.variants.items()}
    variant = routing.choose(weights, request.headers.get(_TARGET_VARIANT), generator)
    # The strategy RANDOM of SageMaker's RoutingConfig.
    instance = instances[variant][int(generator.random() * len(instances[variant]))]
    reply = await _ask(instance, request, endpoint)
    headers = {key: reply.headers[key] for key in _FROM_CONTAINER if key in reply.headers}
    headers["x-Amzn-Invoked-Production-Variant"] = variant
    return Response(status=200, headers=headers, body=reply.body)


async def _ask(instance: Instance, request: Request, endpoint: config.Endpoint) -> Response:
    headers = {key: request.headers[key] for key in _TO_CONTAINER if key in request.headers}
    try:
        async with asyncio.timeout(endpoint.model_timeout):
            reply = await instance(headers, request.body)
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
    if not 200 <= reply.status < 300:
        said = reply.body.decode(errors="replace")[:_QUOTE_LIMIT]
        raise _model_error(endpoint, reply.status, said)
    return reply


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
