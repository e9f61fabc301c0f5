"""Does each arm answer the first payload, and with something that can be compared?"""

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments.errors import AbreastError, EndpointError, PlanError
from experiments.invocation import Selector, first_requests, operation_of
from experiments.payloads import Payload
from experiments.plan import Plan
from experiments.sagemaker.invoke import Transport
from experiments.sagemaker.reply import Reply

_REFUSED = {
    "auth", "validation", "connection", "timeout", "model_error", "stream_error", "other"
}  # fmt: skip
"""What no later request would mend; throttling or a model that is loading may pass."""


class First(NamedTuple):
    """The first request to one target, and what came of it."""

    arm: str
    payload: int
    parameters: Mapping[str, Any]
    started_ns: int
    reply: Reply


def first_answers(plan: Plan, payloads: Sequence[Payload], transport: Transport) -> Iterator[First]:
    """Send the first request to each target, one after another."""
    for arm, number, parameters in first_requests(plan, payloads):
        started_ns = time.perf_counter_ns()
        reply = transport(parameters, operation_of(plan))
        yield First(arm, number, parameters, started_ns, reply)


def objection(
    plan: Plan, plan_path: Path, select_prediction: Selector, who: str, reply: Reply
) -> AbreastError | None:
    """Say why more should not be sent after this first reply; `None`: nothing stands against it."""
    if reply.outcome in _REFUSED:
        return EndpointError(
            f"{who} did not answer the first payload: {reply.outcome}: {reply.error}",
            "Mend that before sending more: the plan's [request], the endpoint, or the "
            "credentials.",
        )
    if (
        plan.answers
        and reply.body is not None
        and select_prediction(reply.body, reply.content_type) is None
    ):
        return PlanError(
            f'{plan_path}: answers.prediction is "{plan.answers.prediction}", which selects '
            f"nothing from {who}'s first answer: {reply.body[:200].decode(errors='replace')}",
            "Give an expression that fits the answer, or leave out [answers].",
        )
    return None
