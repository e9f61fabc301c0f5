"""The request parameters of SageMaker Runtime: their headers and rules, by its service model."""

import re
import sys
from collections.abc import Callable

from botocore.loaders import Loader
from botocore.model import ServiceModel, Shape

from experiments.local.http import Request
from experiments.local.service_error import validation_error

PREFIX = "x-amzn-sagemaker-"
TARGET_VARIANT = f"{PREFIX}target-variant"
INFERENCE_ID = f"{PREFIX}inference-id"
INFERENCE_COMPONENT = f"{PREFIX}inference-component"
PREFIX_AWARE_ID = f"{PREFIX}prefix-aware-id"
CUSTOM_ATTRIBUTES = f"{PREFIX}custom-attributes"
_NOT_THE_CONTAINERS = {TARGET_VARIANT, INFERENCE_ID, PREFIX_AWARE_ID}
_CONTAINERS = {f"{PREFIX}accept": "accept"}
_PYTHONS = {r"\p{ASCII}": "[ -~]", r"\p{Print}": " -~", r"\z": r"\Z"}
"""How Python writes what the model's patterns have of Java's."""


def check(name: str, request: Request, *, streamed: bool) -> dict[str, str]:
    """Check the endpoint's `name` and the headers; return those that a container gets."""
    _NAME(name)
    forwarded = {}
    for header, obey in (_STREAM if streamed else _INVOKE).items():
        if (value := request.headers.get(header)) is not None:
            obey(value)
            if header not in _NOT_THE_CONTAINERS:
                forwarded[_CONTAINERS.get(header, header)] = value
    return forwarded


def _rule(member: str, shape: Shape) -> Callable[[str], None]:
    stated = shape.metadata.get("pattern", "(?s:.*)")
    for javas, ours in _PYTHONS.items():
        stated = stated.replace(javas, ours)
    pattern = re.compile(stated, re.ASCII)
    least, most = shape.metadata.get("min", 0), shape.metadata.get("max", sys.maxsize)

    def obey(value: str) -> None:
        if len(value) > most:
            broken = f"have length less than or equal to {most}"
        elif len(value) < least:
            broken = f"have length greater than or equal to {least}"
        elif pattern.fullmatch(value) is None:
            broken = f"satisfy regular expression pattern: {stated}"
        else:
            return
        raise validation_error(
            f"1 validation error detected: Value '{value}' at '{member[0].lower()}{member[1:]}' "
            f"failed to satisfy constraint: Member must {broken}"
        )

    return obey


def _rules(operation: str) -> dict[str, Callable[[str], None]]:
    """Return the rules of the headers of an operation, which are the only ones that count."""
    asked = _MODEL.operation_model(operation).input_shape
    assert asked is not None
    return {
        shape.serialization["name"].lower(): _rule(member, shape)
        for member, shape in asked.members.items()
        if shape.serialization.get("location") == "header"
    }


_MODEL = ServiceModel(Loader().load_service_model("sagemaker-runtime", "service-2"))
_INVOKE, _STREAM = _rules("InvokeEndpoint"), _rules("InvokeEndpointWithResponseStream")
_NAME = _rule("EndpointName", _MODEL.shape_for("EndpointName"))
