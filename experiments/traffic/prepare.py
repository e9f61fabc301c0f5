"""Everything that is checked before a run may start: plan, payloads, endpoint, a first answer."""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from experiments import payloads as payload_files
from experiments.errors import PlanError, naming
from experiments.estimate import refuse_beyond_limits
from experiments.invocation import Selector, first_requests, prediction_selector
from experiments.local import process as local_endpoint
from experiments.memory import refuse_beyond_memory
from experiments.plan import Plan
from experiments.plan_file import load, text_as_run
from experiments.sagemaker.endpoint import EndpointFacts, check_arms, reader
from experiments.sagemaker.first_answer import First, first_answers, objection
from experiments.sagemaker.invoke import Transport, boto3_transport
from experiments.trace import read_trace
from experiments.traffic.fast import FreshKeys, fast_transport


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
    cold: tuple[First, ...] = ()
    """The first request to each target, which is its cold start."""
    first_requests: tuple[dict[str, str | None], ...] = ()
    """The same by UTC time, arm, and variant."""
    sent_before: int = 0
    """How many they are, which a worker knows without having them."""
    read_endpoint: Callable[[], EndpointFacts] = EndpointFacts
    """Reads `facts` again, through the client that read them."""


def prepare(path: Path, overrides: Sequence[str], copy: Path | None) -> Prepared:
    """Check the plan against what is there.

    A supervised run has a `copy` of its file, and its local endpoint is there; else it is started.
    """
    plan = load(path, overrides, copy)
    refuse_beyond_memory(plan, path)
    # At DEBUG botocore logs what it signs, and a session token with it.
    logging.getLogger("botocore").setLevel(logging.INFO)
    if plan.question == "capacity":
        raise PlanError(
            f'{path}: question = "capacity" needs a judge between its probes.',
            "Use `abreast run`.",
        )
    bodies = payload_files.load(plan, path)
    refuse_beyond_limits(plan, path, sum(1 for _ in first_requests(plan, bodies)))
    trace = plan.traffic.trace
    with naming(path):
        select = prediction_selector(plan.answers)
    running = None
    if plan.endpoint.config is not None and copy is None:
        running = local_endpoint.start(path.parent / plan.endpoint.config)
        wanted = running.client_environment(os.environ)
        os.environ.clear()
        os.environ.update(wanted)
    read_endpoint = reader(plan.endpoint, plan.endpoint.name, plan.other_endpoints)
    facts = read_endpoint()
    with naming(path):
        check_arms(plan, facts)
    transport, transport_name, why_not_fast = transport_of(plan)
    prepared = Prepared(
        plan=plan,
        plan_path=path,
        plan_text=text_as_run(copy or path, overrides),
        payloads=bodies,
        facts=facts,
        transport=transport,
        transport_name=transport_name,
        why_not_fast=why_not_fast,
        select_prediction=select,
        trace_s=None if trace is None else read_trace(path.parent / trace),
        local=running,
        read_endpoint=read_endpoint,
    )
    firsts = tuple(_ask_each_arm_once(prepared))
    cold, told = zip(*firsts, strict=True)
    return replace(prepared, cold=cold, first_requests=told, sent_before=len(cold))


def transport_of(plan: Plan) -> tuple[Transport, str, str | None]:
    """Give what sends the plan's requests here, its name, and why it is not the fast one."""
    fast = fast_transport(plan.endpoint) if plan.traffic.transport == "fast" else None
    if callable(fast):
        return fast, "fast", None
    return boto3_transport(plan.endpoint, plan.traffic.concurrency, FreshKeys), "boto3", fast


def _ask_each_arm_once(prepared: Prepared) -> Iterator[tuple[First, dict[str, str | None]]]:
    plan = prepared.plan
    for first in first_answers(plan, prepared.payloads, prepared.transport):
        who, reply = first.arm, first.reply
        found = objection(plan, prepared.plan_path, prepared.select_prediction, who, reply)
        if found is not None:
            raise found
        yield first, {"at": datetime.now(UTC).isoformat(), "arm": who, "variant": reply.variant}
