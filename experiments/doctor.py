"""What may spoil a run before it begins: facts in, a finding with its figures and next step out.

Facts of the account, the endpoint and this machine are read elsewhere; what is here is pure.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from experiments.payloads import Payload
    from experiments.plan import Plan
    from experiments.sagemaker.endpoint import EndpointFacts, Variant

State = Literal["ok", "warn", "fail", "skip"]

MOST_BYTES = 6_291_456
"""What the API reference gives as the largest body."""
FILES_BESIDE_SLOTS = 200
"""Open files of a Locust process that are no request's: libraries, records, logs."""
RAISED_TO_FILES = 10_000
"""What Locust raises its soft limit to, where the hard limit lets it."""
_ON_ITS_WAY = ("Creating", "Updating", "SystemUpdating", "RollingBack")
_SERVERLESS = "serverless"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found: in which state, with which figures, why, and what to do next."""

    title: str
    state: State
    finding: str
    cause: str | None = None
    next_step: str | None = None


def judged(title: str, state: State, finding: str, cause: str | None, step: str) -> Finding:
    """Give a finding that says why and what next only where something is wrong."""
    if state in ("ok", "skip"):
        return Finding(title, state, finding)
    return Finding(title, state, finding, cause, step)


def endpoint(found: "EndpointFacts") -> Finding:
    """Is the endpoint in service, and is nothing being deployed to it?"""
    title, said = "Endpoint", f"{found.status}, config {found.config}"
    if found.note:
        step = "Allow sagemaker:DescribeEndpoint and DescribeEndpointConfig (--policy)."
        return Finding(title, "warn", found.note, None, step if "Denied" in found.note else None)
    state: State = "ok" if found.status == "InService" and found.pending is None else "fail"
    if found.status not in _ON_ITS_WAY and not found.pending:
        why, step = found.failure, "See what became of it: it does not get better by itself."
        return judged(title, state, said, why, step)
    why = "meanwhile weights and instances are on their way to others"
    if found.pending:
        why = f'a deployment of "{found.pending}" is under way'
    step = "Wait until it is InService: a deployment mixes two models under one name."
    return judged(title, state, said, why, step)


def variants_of(plan: "Plan", found: "EndpointFacts") -> dict[str, list[str]]:
    """Name the described variants that may answer for each arm."""
    named = {}
    for arm in plan.arms:
        other = plan.endpoint_of(arm) if plan.endpoint_of(arm) != plan.endpoint.name else ""
        named[arm] = [
            name
            for name in found.variants
            if name.rpartition("/")[0] == other
            and plan.variant_of(arm) in (None, name.rpartition("/")[2])
        ]
    return named


def own_variants(plan: "Plan", found: "EndpointFacts") -> "dict[str, list[Variant]]":
    """Give the variants of each arm that has them to itself; other arms are left out."""
    named = variants_of(plan, found)
    arms_of = Counter(chain(*named.values()))
    return {
        arm: [found.variants[name] for name in names]
        for arm, names in named.items()
        if names
        and all(arms_of[name] == 1 for name in names)
        and not plan.arms[arm].request.inference_component_name
        and not plan.request.inference_component_name
    }


def instances(plan: "Plan", found: "EndpointFacts") -> dict[str, int]:
    """Count the instances of each arm that has any to itself."""
    own = own_variants(plan, found)
    counts = {arm: sum(each.instances or 0 for each in own[arm]) for arm in own}
    return {arm: count for arm, count in counts.items() if count}


def arms(plan: "Plan", found: "EndpointFacts") -> Finding:
    """Does each arm have its variant, and the same load on each of its instances?"""
    title, own, counts = "Arms", own_variants(plan, found), instances(plan, found)
    if not found.variants:
        return Finding(title, "skip", "the endpoint's variants are not known")
    said, kinds = [], {}
    for arm in plan.arms:
        if arm not in own:
            said.append(f"{arm}: not known, since no variant is its own")
            continue
        kinds[arm] = " and ".join(sorted({_kind(each) for each in own[arm]}))
        count = "" if kinds[arm] == _SERVERLESS else f"{counts.get(arm, 0)} "
        weight = sum(each.weight or 0.0 for each in own[arm])
        said.append(f"{arm}: {count}{kinds[arm]}, weight {weight:g}")
    finding = "; ".join(said)
    if without := [arm for arm in own if arm not in counts and kinds[arm] != _SERVERLESS]:
        why = f"nothing answers for {' and '.join(without)} before there is an instance"
        step = "Wait until it has scaled out, or raise its lowest number of instances."
        return Finding(title, "fail", finding, why, step)
    load = {arm: plan.arms[arm].share / count for arm, count in counts.items()}
    if max(load.values(), default=1.0) > (1 + 1e-9) * min(load.values(), default=1.0):
        parts = ", ".join(f"{arm} {part / sum(load.values()):.0%}" for arm, part in load.items())
        why = f"an instance of each arm carries another share of the load: {parts}"
        step = "Give the arms instances in proportion to their share."
        return Finding(title, "warn", finding, why, step)
    if len(set(kinds.values())) > 1:
        why = "a difference between the arms may be that of their instance types"
        return Finding(title, "warn", finding, why, "Say so beside the verdict, or use one type.")
    return Finding(title, "ok" if len(own) == len(plan.arms) else "skip", finding)


def _kind(variant: "Variant") -> str:
    return variant.instance_type or ("of no known type" if variant.instances else _SERVERLESS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scalable:
    """A scalable target that may move an arm's instances, and what it is doing."""

    resource: str
    dimension: str
    least: int
    most: int
    is_suspended: bool
    moving: str | None = None
    """An activity that is not over."""


def scaling(
    found: Sequence[Scalable] | str, managed: Mapping[str, tuple[int, int]] | None = None
) -> Finding:
    """May instances move during the run? A text says why that is not known.

    `managed` has the least and the most instances of variants that scale by their configuration.
    """
    title = "Scaling"
    if isinstance(found, str):
        step = "Allow application-autoscaling:DescribeScalableTargets (--policy)."
        return Finding(title, "warn", f"not known: {found}", None, step)
    for target in found:
        if target.moving:
            said = f"{target.resource} is being scaled: {target.moving}"
            return Finding(title, "fail", said, None, f"Wait for it. {_suspend(target)}")
    free = [each for each in found if not each.is_suspended and each.least != each.most]
    moves = [f"{each.resource} may have {each.least} to {each.most}" for each in free]
    steps = [*map(_suspend, free)]
    for variant, (least, most) in (managed or {}).items():
        if least != most:
            moves.append(f"ManagedInstanceScaling may give {variant} {least} to {most}")
            steps.append(f"Deploy {variant} with one number as its least and most instances.")
    if moves:
        why = "a run during which instances move is not trusted"
        return Finding(title, "warn", "; ".join(moves), why, " ".join(steps))
    held = f"{len(found)} suspended or held at one size" if found else "none is registered"
    return Finding(title, "ok", f"scalable targets that may move: none ({held})")


def _suspend(target: Scalable) -> str:
    kinds = ("DynamicScalingInSuspended", "DynamicScalingOutSuspended", "ScheduledScalingSuspended")
    command = (
        "aws application-autoscaling register-scalable-target --service-namespace sagemaker "
        f"--resource-id {target.resource} --scalable-dimension {target.dimension} "
        "--suspended-state "
    )
    suspend, resume = (",".join(f"{k}={value}" for k in kinds) for value in ("true", "false"))
    return f"Suspend scaling: {command}{suspend} and resume it after the run: {command}{resume}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocations:
    """What CloudWatch counts of an endpoint's invocations over the last minutes."""

    total: float
    minutes: int
    latest: datetime | None
    """The start of the latest minute that has any."""


def traffic(found: Invocations | str, *, is_allowed: bool) -> Finding:
    """Does anybody else use the endpoint? A text says why that is not known."""
    title = "Other traffic"
    if isinstance(found, str):
        step = "Allow cloudwatch:GetMetricData (--policy), or look at the metric Invocations."
        return Finding(title, "warn", f"not known: {found}", None, step)
    said = (
        f"invocations in the last {found.minutes} minutes, of which CloudWatch may lack the last "
        f"few: {found.total:,.0f}"
    )
    said += f", latest at {found.latest:%H:%M} UTC" if found.latest else ""
    said += "; limits.allow_foreign_traffic lets them be" if is_allowed else ""
    why = "others' requests and the run's slow each other; or these were a run of your own"
    step = "Use an endpoint of its own, or a quiet hour; the plan's [limits] bound what is added."
    return judged(title, "ok" if is_allowed or not found.total else "warn", said, why, step)


def payloads(found: "Sequence[Payload]") -> Finding:
    """Is any body larger than an endpoint may take?"""
    largest = max(found, key=lambda payload: len(payload.body))
    size = len(largest.body)
    bodies = "1 body" if len(found) == 1 else f"{len(found):,} bodies"
    said = f"{bodies}, the largest {size:,} bytes ({largest.name})"
    why = (
        f"AWS's API reference gives {MOST_BYTES:,} bytes as the most; some endpoints take 25 MB, "
        "and serverless ones 4 MB"
    )
    step = f"See whether {largest.name} is answered before you send more of them."
    return judged("Payloads", "ok" if size <= MOST_BYTES else "warn", said, why, step)


def permissions(findings: Sequence[Finding], untried: Sequence[str]) -> Finding:
    """Was the identity refused anything just now? A run takes `untried` actions as well."""
    title = "Permissions"
    rest = f"; not tried: {', '.join(untried)}" if untried else ""
    refused = [f.title for f in findings if "AccessDenied" in f"{f.finding} {f.cause or ''}"]
    if refused:
        said = f"access was denied to what these checks ask for: {', '.join(refused)}{rest}"
        step = "Attach what --policy prints to the identity that runs the plan."
        return Finding(title, "warn", said, None, step)
    if any(each.state == "fail" for each in findings):
        return Finding(title, "skip", "not judged, since another check failed")
    return Finding(title, "ok", f"nothing was denied{rest}; --policy prints what a run needs")


def transport(sends: str, slots: int, obstacle: str | None) -> Finding:
    """What sends the requests, and what stands in the way of the faster one?"""
    said = f"{sends}, with a connection for each of {slots:,} slots"
    why = f"{(obstacle or '').rstrip('.')}, and boto3 takes some ten times the CPU"
    step = "Have fewer requests in flight, or take a proxy out of the way (NO_PROXY)."
    return judged("Transport", "warn" if obstacle else "ok", said, why, step)


def attempts(seen: int, botocore: str) -> Finding:
    """Does one call send one request, also where that fails?"""
    times = "once" if seen == 1 else f"{seen} times"
    said = f"a call that failed was sent {times}, by botocore {botocore}"
    why = "something in this Python retries beside botocore, or changes its settings"
    step = "Look for a package that patches boto3."
    return judged("Retries", "ok" if seen == 1 else "fail", said, why, step)


def files(slots: int, soft: int, hard: int) -> Finding:
    """May a process open a connection for each slot?"""
    raised = RAISED_TO_FILES if soft < RAISED_TO_FILES <= hard else soft
    said = f"{raised:,} open files may be had for {slots:,} slots and {FILES_BESIDE_SLOTS} others"
    wanted = slots + FILES_BESIDE_SLOTS
    step = f"Raise the limit (ulimit -n {wanted}), or lower traffic.slots."
    return judged("Open files", "ok" if raised >= wanted else "fail", said, None, step)


def machine(cores: float, load: float) -> Finding:
    """Is there a core for the generator, which uses one, and another for the rest?"""
    said = f"{cores:g} cores for this process, load average {load:.2g}"
    step = "Give the generator a machine of two cores or more, with nothing else on it."
    is_small = cores < 2
    why = "its one core also judges and writes" if is_small else "other programs are busy here"
    return judged("Machine", "warn" if is_small or load > cores / 2 else "ok", said, why, step)


def did_not_start(said: str) -> Finding:
    """Why does the process that sends not start?"""
    *_, last = ["", *said.splitlines()]
    finding, why = f"the Locust process does not start: {last}", None
    step = "Run `abreast run` with --debug, which shows all that it said."
    if "RecursionError" in said:
        why = "boto3 was imported before locust, which patches what boto3 then holds already"
        step = "Look for a sitecustomize.py or a .pth file of this Python that imports boto3."
    return Finding("Generator", "fail", finding, why, step)
