"""The checks of `doctor`, in their order: each reads its facts and has them judged."""

import contextlib
import os
import resource
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

from analysis import read_run
from analysis.generator import check_generator
from experiments import caller, fingerprint, floor, payloads
from experiments import doctor as judge
from experiments.doctor import Finding
from experiments.errors import AbreastError
from experiments.estimate import estimate, takes
from experiments.invocation import first_requests, prediction_selector
from experiments.payloads import Payload
from experiments.plan import Plan
from experiments.policy import minimal_policy
from experiments.sagemaker.endpoint import EndpointFacts, check_arms, describe
from experiments.sagemaker.first_answer import first_answers, objection
from experiments.sagemaker.identity import identify
from experiments.sagemaker.inspect import invocations, scaling
from experiments.sagemaker.invoke import boto3_transport
from experiments.sagemaker.redacted import said, without_secrets
from experiments.sagemaker.wire import Wire
from experiments.tables import Endpoint

_LIMIT_OF_CONTAINER = Path("/sys/fs/cgroup/cpu.max")
_FEWEST_FOR_P99 = 250


@dataclass(slots=True, kw_only=True)
class Known:
    """What the checks so far have found, which later ones go by."""

    plan: Plan
    path: Path
    debug: bool
    identity: caller.Identity | None = None
    facts: EndpointFacts = field(default_factory=EndpointFacts)
    bodies: tuple[Payload, ...] = ()
    findings: list[Finding] = field(default_factory=list)

    @property
    def can_ask(self) -> bool:
        """Whether AWS, or what stands for it, can be asked at all."""
        return self.identity is not None and self.identity.can_ask(datetime.now(UTC))

    @property
    def variants(self) -> list[str]:
        """The variants that answer for the plan's arms, as far as they are known."""
        return list(dict.fromkeys(chain(*judge.variants_of(self.plan, self.facts).values())))


def every(known: Known) -> Iterator[Finding]:
    """Make all the checks, and give the finding of each as it comes."""
    yield made(known, "Payloads", _payloads)
    yield from of_the_account(known)
    if not known.can_ask:
        first, *others = _OF_THE_ENDPOINT
        why = "without credentials and a region nothing can be asked"
        yield Finding(first, "skip", f"not checked, nor are {', '.join(others)}: {why}")
    for title, check in {**(_OF_THE_ENDPOINT if known.can_ask else {}), **_OF_THIS_MACHINE}.items():
        yield made(known, title, check)


def made(known: Known, title: str, check: Callable[[Known], Finding]) -> Finding:
    """Make one check; what it raises is its finding."""
    try:
        found = check(known)
    except AbreastError as error:
        found = Finding(title, "fail", error.message, None, error.hint or None)
    except Exception as error:  # noqa: BLE001 - a check that breaks must not hide the others
        if known.debug:
            sys.stderr.write(without_secrets(traceback.format_exc()))
        finding = f"it could not be checked: {said(error)}"
        found = Finding(title, "fail", finding, None, "With --debug there is a traceback.")
    known.findings.append(found)
    return found


def of_the_account(known: Known) -> Iterator[Finding]:
    """Check who calls."""
    yield made(known, "Credentials", _credentials)
    if (who := known.identity) is not None:
        yield made(known, "Region", lambda _: caller.region(who, known.plan, os.environ))
        if who.method is not None and who.region is not None:
            yield made(known, "Account", lambda _: caller.account(who))
            yield made(known, "Clock", lambda _: caller.clock(who.ahead_s))


def _credentials(known: Known) -> Finding:
    known.identity = identify(known.plan.endpoint)
    return caller.credentials(known.identity, estimate(known.plan), datetime.now(UTC))


def _payloads(known: Known) -> Finding:
    known.bodies = payloads.load(known.plan, known.path)
    return judge.payloads(known.bodies)


def endpoint(known: Known) -> Finding:
    """Read the endpoints of the plan, and check whether they are in service."""
    plan = known.plan
    known.facts = describe(plan.endpoint, plan.endpoint.name, plan.other_endpoints)
    return judge.endpoint(known.facts)


def _arms(known: Known) -> Finding:
    check_arms(known.plan, known.facts)
    return judge.arms(known.plan, known.facts)


def _cost(known: Known) -> Finding:
    plan = known.plan
    firsts = sum(1 for _ in first_requests(plan, known.bodies))
    return Finding("Cost", "ok", takes(plan, judge.instances(plan, known.facts), firsts))


def _traffic(known: Known) -> Finding:
    if not known.variants:
        return Finding("Other traffic", "skip", "the endpoint's variants are not known")
    limits = known.plan.limits
    may_be = limits is not None and limits.allow_foreign_traffic
    return judge.traffic(invocations(known.plan.endpoint, known.variants), is_allowed=may_be)


def _answers(known: Known) -> Finding:
    if not known.bodies:
        return Finding("Answers", "skip", "there is no payload to send")
    plan, good, slow, against = known.plan, [], [], []
    select = prediction_selector(plan.answers)
    transport = boto3_transport(plan.endpoint, slots=1)
    for who, *_, started_ns, reply in first_answers(plan, known.bodies, transport):
        if (found := objection(plan, known.path, select, who, reply)) is not None:
            against.append(found)
        elif reply.outcome == "ok":
            kind = f"{len(reply.body or b''):,} bytes of {reply.content_type}"
            good.append(f"{who} answered {kind} in {(reply.ended_ns - started_ns) / 1e6:.0f} ms")
        else:
            slow.append(f"{who}: {reply.outcome}: {reply.error}")
    finding = "; ".join([*good, *slow, *(each.message for each in against)])
    if against:
        return Finding("Answers", "fail", finding, None, against[0].hint)
    if slow:
        step = "It may pass: ask again, and give the run a warm-up that outlasts it."
        return Finding("Answers", "warn", finding, None, step)
    return Finding("Answers", "ok", f"{finding} (first calls, which open connections)")


def policy_of(known: Known) -> dict[str, Any]:
    """Give the plan's policy, as exact as what is known of the account allows."""
    who = known.identity or caller.Identity()
    _, partition, _, _, account, _ = (who.arn or known.facts.arn or "arn:aws:::*:").split(":", 5)
    region = who.region or known.plan.endpoint.region
    return minimal_policy(known.plan, partition=partition, region=region, account=account)


def _permissions(known: Known) -> Finding:
    if known.plan.endpoint.target == "local":
        return Finding("Permissions", "skip", "the local endpoint asks for none")
    sets_weights = known.plan.traffic.set_weights
    untried = ["sagemaker:UpdateEndpointWeightsAndCapacities"] if sets_weights else []
    return judge.permissions(known.findings, untried)


def replace_environment(variables: Mapping[str, str]) -> None:
    """Go on as a process that has these variables and no others."""
    os.environ.clear()
    os.environ.update(variables)


def _retries(_: Known) -> Finding:
    before = dict(os.environ)
    with floor.echo() as (server, refused):
        replace_environment(server.client_environment(before))
        try:
            call = boto3_transport(Endpoint(name=floor.REFUSING, target=server.url), slots=1)
            call({"EndpointName": floor.REFUSING, "Body": b"{}"})
        finally:
            replace_environment(before)
    return judge.attempts(len(refused), fingerprint.versions()["botocore"])


def _transport(known: Known) -> Finding:
    plan, obstacle = known.plan, _obstacle(known)
    if plan.traffic.transport == "fast" and not known.can_ask:
        return Finding("Transport", "skip", "fast, if nothing is in its way")
    sends = "boto3" if obstacle else plan.traffic.transport
    return judge.transport(sends, plan.traffic.concurrency, obstacle)


def _obstacle(known: Known) -> str | None:
    """Say why the plan's transport would not be had; without credentials that is not known."""
    if known.plan.traffic.transport == "boto3" or not known.can_ask:
        return None
    try:
        return Wire(known.plan.endpoint).obstacle()
    except Exception as error:  # noqa: BLE001 - whatever it is, boto3 stands in
        return said(error)


def _files(known: Known) -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return judge.files(known.plan.traffic.concurrency, soft, hard)


def _machine(_: Known) -> Finding:
    cores = float(os.cpu_count() or 1)
    if hasattr(os, "sched_getaffinity"):
        cores = float(len(os.sched_getaffinity(0)))
    with contextlib.suppress(OSError, ValueError):  # no container, or "max"
        quota, period = _LIMIT_OF_CONTAINER.read_text(encoding="utf-8").split()
        cores = min(cores, int(quota) / int(period))
    return judge.machine(cores, os.getloadavg()[0])


def _generator(known: Known) -> Finding:
    if not known.bodies:
        return Finding("Generator", "skip", "there is no payload to send")
    sends = "boto3" if _obstacle(known) else known.plan.traffic.transport
    try:
        with floor.measured(known.plan, known.path, known.bodies, sends) as (folder, load):
            run = read_run(folder.path)
    except RuntimeError as error:
        return judge.did_not_start(str(error))
    rows = run.measured
    good = rows.loc[rows["outcome"] == "ok", "service_ms"]
    if good.empty:
        finding = f"{load} a server on loopback gave no good answer: {set(rows['error'].dropna())}"
        return Finding("Generator", "fail", finding)
    p50_ms, p99_ms = good.quantile([0.5, 0.99])
    tail = f" and {p99_ms:.2g} ms at p99" if len(good) >= _FEWEST_FOR_P99 else ""
    kept_up = next(check for check in check_generator(run, rows) if check is not None)
    finding = (
        f"one process, {load}: an answer that takes no time takes {p50_ms:.2g} ms at p50{tail} on "
        f"loopback, from {len(good):,} requests; {kept_up.finding}; event loop at most "
        f"{run.health['loop_lag_max_ms'].max():.2g} ms late"
    )
    several = "Or send from several processes: abreast run --processes N."
    step = kept_up.next_step and f"{kept_up.next_step} {several}"
    return Finding("Generator", kept_up.state, finding, None, step)


_OF_THE_ENDPOINT: Mapping[str, Callable[[Known], Finding]] = {
    "Endpoint": endpoint,
    "Arms": _arms,
    "Cost": _cost,
    "Scaling": lambda known: scaling(known.plan, known.facts),
    "Other traffic": _traffic,
    "Answers": _answers,
    "Permissions": _permissions,
}
_OF_THIS_MACHINE: Mapping[str, Callable[[Known], Finding]] = {
    "Transport": _transport,
    "Retries": _retries,
    "Open files": _files,
    "Machine": _machine,
    "Generator": _generator,
}
