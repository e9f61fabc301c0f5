"""Everything that is checked before a run may start: plan, payloads, endpoint, a first answer."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from experiments import payloads as payload_files
from experiments.errors import EndpointError, PlanError, naming
from experiments.invocation import (
    Selector,
    parameters_of_arm,
    parameters_of_request,
    prediction_selector,
)
from experiments.local import process as local_endpoint
from experiments.plan import Plan, find, load, text_as_run
from experiments.sagemaker.endpoint import EndpointFacts, check_arms, describe
from experiments.sagemaker.invoke import Reply, Transport, boto3_transport
from experiments.trace import read_trace
from experiments.traffic.fast import fast_transport

_REFUSED = {"auth", "validation", "connection", "timeout", "model_error", "other"}
"""What no later request would mend; throttling or a model that is loading may pass."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A plan that can be run, with all that its requests need."""

    plan: Plan
    plan_path: Path
    plan_text: str
    payloads: tuple[payload_files.Payload, ...]
    facts: EndpointFacts
    transport: Transport
    transport_name: str
    why_not_fast: str | None
    """Why boto3 stands in for the fast transport that the plan asks for."""
    select_prediction: Selector
    trace_s: NDArray[np.float64] | None
    """Arrival times of the plan's trace, in seconds from its first."""
    local: local_endpoint.LocalEndpoint | None
    """Held here, since the local endpoint ends when its pipe to this process closes."""


def prepare(plan_name: str, overrides: Sequence[str], *, start_local: bool) -> Prepared:
    """Check the plan against what is there; start the local endpoint where `start_local` says so.

    Raises:
        AbreastError: what is wrong, where, and what to do next.
    """
    path = find(plan_name)
    plan = load(path, overrides)
    if plan.question == "capacity":
        raise PlanError(
            f'{path}: question = "capacity" needs a judge between its probes.',
            "Use `abreast run`.",
        )
    bodies = payload_files.load(plan, path)
    trace = plan.traffic.trace
    with naming(path):
        select = prediction_selector(plan.answers)
    running = None
    if plan.endpoint.config is not None and start_local:
        running = local_endpoint.start(path.parent / plan.endpoint.config)
        wanted = running.client_environment(os.environ)
        os.environ.clear()
        os.environ.update(wanted)
    facts = describe(plan.endpoint, plan.endpoint.name)
    with naming(path):
        check_arms(plan, facts)
    fast = fast_transport(plan.endpoint) if plan.traffic.transport == "fast" else None
    prepared = Prepared(
        plan=plan,
        plan_path=path,
        plan_text=text_as_run(path, overrides),
        payloads=bodies,
        facts=facts,
        transport=fast
        if callable(fast)
        else boto3_transport(plan.endpoint, plan.traffic.concurrency),
        transport_name="fast" if callable(fast) else "boto3",
        why_not_fast=fast if isinstance(fast, str) else None,
        select_prediction=select,
        trace_s=None if trace is None else read_trace(path.parent / trace),
        local=running,
    )
    _ask_each_arm_once(prepared)
    return prepared


def _ask_each_arm_once(prepared: Prepared) -> None:
    plan = prepared.plan
    body = prepared.payloads[0].body
    for arm in [None] if plan.traffic.routing == "weighted" else list(plan.arms):
        parameters = parameters_of_request(
            plan, parameters_of_arm(plan, arm), body, "abreast-first-request", 0
        )
        reply = prepared.transport(parameters)
        _refuse(prepared, arm or plan.endpoint.name, reply)


def _refuse(prepared: Prepared, who: str, reply: Reply) -> None:
    if reply.outcome in _REFUSED:
        raise EndpointError(
            f"{who} did not answer the first payload: {reply.outcome}: {reply.error}",
            "Mend that before sending more: the plan's [request], the endpoint, or the "
            "credentials.",
        )
    answers = prepared.plan.answers
    if (
        answers
        and reply.body is not None
        and prepared.select_prediction(reply.body, reply.content_type) is None
    ):
        raise PlanError(
            f'{prepared.plan_path}: answers.prediction is "{answers.prediction}", which selects '
            f"nothing from {who}'s first answer: {reply.body[:200].decode(errors='replace')}",
            "Give an expression that fits the answer, or leave out [answers].",
        )
