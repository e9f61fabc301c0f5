"""Which InvokeEndpoint parameters a request carries, and what its answer says; both pure."""

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jmespath

from experiments.errors import PlanError
from experiments.payloads import Payload
from experiments.plan import Plan
from experiments.tables import Answers, Arm
from experiments.templates import filled_in

INVOKE = "InvokeEndpoint"
STREAM = "InvokeEndpointWithResponseStream"
LONGEST_INFERENCE_ID = 64

_NO_PARAMETERS = {"payloads", "operation", "inference_id", "custom_attributes"}
"""What of [request] is none, or is the text of one that each request is given its own of."""


def operation_of(plan: Plan) -> str:
    """Name the operation of SageMaker Runtime that the plan's requests call."""
    return STREAM if plan.is_streamed else INVOKE


def parameters_of_arm(plan: Plan, arm: str | None) -> dict[str, Any]:
    """Give boto3's keyword arguments that all requests of an arm share, templates as they are.

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
    return {
        key.title().replace("_", ""): value
        for key, value in given.items()
        if key not in _NO_PARAMETERS
    }


def inference_id(run_id: str, seq: int) -> str:
    """Give the InferenceId of a run's request, by which data capture is joined to its record."""
    return f"{run_id}-{seq}"[-LONGEST_INFERENCE_ID:]


Request = Callable[[Payload, int], dict[str, Any]]
"""From a payload and a request's number in the run to boto3's keyword arguments."""


def request_of_arm(plan: Plan, arm: str | None, run_id: str) -> Request:
    """Make what gives all parameters of an arm's requests; `arm` is `None` where none is asked.

    An InferenceId keeps its end within the length that SageMaker takes.
    """
    asked = plan.request
    named = {**parameters_of_arm(plan, arm), "CustomAttributes": asked.custom_attributes}
    named["InferenceId"] = "{run_id}-{seq}" if asked.inference_id is True else asked.inference_id
    shared, varied = {}, []
    for name, text in named.items():
        value = filled_in(text, run_id) if isinstance(text, str) else text
        if callable(value):
            varied.append((name, value, LONGEST_INFERENCE_ID if name == "InferenceId" else 0))
        elif value:
            shared[name] = value

    def request(payload: Payload, seq: int) -> dict[str, Any]:
        parameters = {**shared, "Body": payload.body}
        for name, fill, longest in varied:
            parameters[name] = fill(payload.fields, seq)[-longest:]
        return parameters

    return request


def first_requests(
    plan: Plan, payloads: Sequence[Payload]
) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Give a request to each target, by its arm and payload.

    A target is an arm, by its name also where the endpoint routes, or one first request would leave
    the other arms cold. Where the payloads say the TargetModel, each model is one of its own: its
    first request loads it.
    """
    for arm in plan.arms:
        request = request_of_arm(plan, arm, "abreast-first-request")
        is_varied = "{payload." in parameters_of_arm(plan, arm).get("TargetModel", "")
        models = set()
        for number, payload in enumerate(payloads if is_varied else payloads[:1]):
            parameters = request(payload, 0)
            if (model := parameters.get("TargetModel")) not in models:
                models.add(model)
                yield arm, number, parameters


Selector = Callable[[bytes, str | None], str | None]
"""From an answer's body and content type to its prediction; `None`: it holds none."""


def prediction_selector(answers: Answers | None) -> Selector:
    """Make the function that takes the prediction out of an answer's body.

    `answers.prediction` is a JMESPath expression for JSON, a column number (from 0) for the first
    line of CSV, or "text" for the whole body.
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
