"""Which InvokeEndpoint parameters a request carries, and what its answer says; both pure."""

import csv
import io
import json
from collections.abc import Callable, Mapping
from typing import Any

import jmespath

from experiments.errors import PlanError
from experiments.plan import Answers, Arm, Plan

LONGEST_INFERENCE_ID = 64

_BOTO3_NAME = {
    "content_type": "ContentType",
    "accept": "Accept",
    "target_variant": "TargetVariant",
    "endpoint_name": "EndpointName",
    "inference_component_name": "InferenceComponentName",
    "target_model": "TargetModel",
    "target_container_hostname": "TargetContainerHostname",
    "enable_explanations": "EnableExplanations",
    "session_id": "SessionId",
    "prefix_aware_id": "PrefixAwareId",
}


def parameters_of_arm(plan: Plan, arm: str | None) -> dict[str, Any]:
    """Give boto3's keyword arguments that all requests of an arm share.

    `arm` is `None` where the endpoint routes.
    """
    told_by = Arm().request if arm is None else plan.arms[arm].request
    given = {
        "endpoint_name": plan.endpoint.name,
        **plan.request.model_dump(exclude_none=True),
        **told_by.model_dump(exclude_none=True),
    }
    if arm is not None and (variant := plan.variant_of(arm)):
        given["target_variant"] = variant
    return {_BOTO3_NAME[key]: value for key, value in given.items() if key in _BOTO3_NAME}


def inference_id(run_id: str, seq: int) -> str:
    """Give the InferenceId of a run's request, by which data capture is joined to its record."""
    return f"{run_id}-{seq}"[-LONGEST_INFERENCE_ID:]


def parameters_of_request(
    plan: Plan, of_arm: Mapping[str, Any], body: bytes, run_id: str, seq: int
) -> dict[str, Any]:
    """Add what is a request's own: its body, its InferenceId and its custom attributes."""
    parameters = {**of_arm, "Body": body}
    if plan.request.inference_id:
        parameters["InferenceId"] = inference_id(run_id, seq)
    if plan.request.custom_attributes:
        filled = plan.request.custom_attributes.replace("{run_id}", run_id)
        parameters["CustomAttributes"] = filled.replace("{seq}", str(seq))
    return parameters


Selector = Callable[[bytes, str | None], str | None]
"""From an answer's body and content type to its prediction; `None`: it holds none."""


def prediction_selector(answers: Answers | None) -> Selector:
    """Make the function that takes the prediction out of an answer's body.

    `answers.prediction` is a JMESPath expression for JSON, a column number (from 0) for the first
    line of CSV, or "text" for the whole body.

    Raises:
        PlanError: the JMESPath expression is not valid.
    """
    if answers is None:
        return lambda _body, _kind: None
    wanted = answers.prediction
    if isinstance(wanted, int):
        return lambda body, kind: None if "json" in (kind or "") else _column(body, wanted)
    if wanted == "text":
        return lambda body, _kind: body.decode(errors="replace").strip()
    try:
        expression = jmespath.compile(wanted)
    except jmespath.exceptions.JMESPathError as error:
        raise PlanError(
            f'answers.prediction is "{wanted}": not valid JMESPath: {error}',
            'Give an expression such as "predictions[0].label", a column number, or "text".',
        ) from None
    return lambda body, _kind: _select(body, expression)


def _column(body: bytes, column: int) -> str | None:
    try:
        row = next(csv.reader(io.StringIO(body.decode(errors="replace"))), [])
    except csv.Error:
        return None
    return row[column].strip() if 0 <= column < len(row) else None


def _select(body: bytes, expression: Any) -> str | None:
    try:
        value = expression.search(json.loads(body))
    except (ValueError, RecursionError, jmespath.exceptions.JMESPathError):
        return None
    if value is None:
        return None
    return value if isinstance(value, str) else json.dumps(value)
