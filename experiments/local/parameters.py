"""The request parameters of SageMaker Runtime: their headers, and the rules that each must keep."""

import re
from typing import NamedTuple

from experiments.local.http import Request
from experiments.local.service_error import ServiceError, validation_error

PREFIX = "x-amzn-sagemaker-"
TARGET_VARIANT = f"{PREFIX}target-variant"
INFERENCE_ID = f"{PREFIX}inference-id"
INFERENCE_COMPONENT = f"{PREFIX}inference-component"
PREFIX_AWARE_ID = f"{PREFIX}prefix-aware-id"
CUSTOM_ATTRIBUTES = f"{PREFIX}custom-attributes"
_STREAM_ACCEPT = f"{PREFIX}accept"


class _Rule(NamedTuple):
    member: str
    max_length: int
    pattern: re.Pattern[str]


_NAME = re.compile("[a-zA-Z0-9](-*[a-zA-Z0-9])*")
_VISIBLE = re.compile("[ -~]*")
_PRINTABLE = re.compile(r"\S[ -~]*", re.ASCII)
_ENDPOINT_NAME = _Rule("endpointName", 63, _NAME)
_OF_BOTH = {
    "content-type": _Rule("contentType", 1024, _VISIBLE),
    CUSTOM_ATTRIBUTES: _Rule("customAttributes", 1024, _VISIBLE),
    TARGET_VARIANT: _Rule("targetVariant", 63, _NAME),
    f"{PREFIX}target-container-hostname": _Rule("targetContainerHostname", 63, _NAME),
    INFERENCE_ID: _Rule("inferenceId", 64, _PRINTABLE),
    INFERENCE_COMPONENT: _Rule(
        "inferenceComponentName", 63, re.compile(r"[a-zA-Z0-9]([\-a-zA-Z0-9]*[a-zA-Z0-9])?")
    ),
    PREFIX_AWARE_ID: _Rule("prefixAwareId", 64, _PRINTABLE),
}
_INVOKE = {
    **_OF_BOTH,
    "accept": _Rule("accept", 1024, _VISIBLE),
    f"{PREFIX}target-model": _Rule("targetModel", 1024, _PRINTABLE),
    f"{PREFIX}enable-explanations": _Rule("enableExplanations", 64, re.compile(".+")),
    f"{PREFIX}session-id": _Rule("sessionId", 256, re.compile(f"NEW_SESSION|{_NAME.pattern}")),
}
"""The headers of InvokeEndpoint, which are the only ones that count."""

_STREAM = {
    **_OF_BOTH,
    _STREAM_ACCEPT: _Rule("accept", 1024, _VISIBLE),
    f"{PREFIX}session-id": _Rule("sessionId", 256, re.compile(f"(?!NEW_SESSION$){_NAME.pattern}")),
}
"""The headers of InvokeEndpointWithResponseStream."""

_NOT_THE_CONTAINERS = {TARGET_VARIANT, INFERENCE_ID, PREFIX_AWARE_ID}


def check(name: str, request: Request, *, streamed: bool) -> dict[str, str]:
    """Check the endpoint's `name` and the headers; return those that a container gets.

    Raises:
        ServiceError: ValidationError, of a member that breaks its rule.
    """
    if len(name) > _ENDPOINT_NAME.max_length or _ENDPOINT_NAME.pattern.fullmatch(name) is None:
        raise _broken(_ENDPOINT_NAME, name)
    forwarded = {}
    headers = request.headers
    for header, rule in (_STREAM if streamed else _INVOKE).items():
        if (value := headers.get(header)) is not None:
            if len(value) > rule.max_length or rule.pattern.fullmatch(value) is None:
                raise _broken(rule, value)
            if header not in _NOT_THE_CONTAINERS:
                forwarded["accept" if header == _STREAM_ACCEPT else header] = value
    return forwarded


def _broken(rule: _Rule, value: str) -> ServiceError:
    broken = f"satisfy regular expression pattern: {rule.pattern.pattern}"
    if len(value) > rule.max_length:
        broken = f"have length less than or equal to {rule.max_length}"
    return validation_error(
        f"1 validation error detected: Value '{value}' at '{rule.member}' failed to satisfy "
        f"constraint: Member must {broken}"
    )
