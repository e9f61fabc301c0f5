"""Makes the probes of a capacity search: what each sends, and what must lie between two of them.

Every probe is a run of its own, a load test of one arm, in the folder of the search. A run ends
when all that it sent was awaited, so the next one begins after what is in flight has drained, a
pause, and a warm-up of its own.
"""

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pyarrow.compute as pc
import pyarrow.parquet as pq

from experiments import child, run_folder
from experiments.errors import EndpointError, PlanError
from experiments.locust_process import Rig
from experiments.plan import Plan
from experiments.plan_file import inline, load
from experiments.reach import Reachable, Tell, reach
from experiments.run_folder import RunFolder
from experiments.search import Asked, Call, End, Probe, asked_of, next_probe, thresholds_of
from experiments.series import make, runs, series
from experiments.slo import Threshold, slowest_ms

Judge = Callable[[Sequence[Path]], Mapping[float, Call]]
"""Given the runs made so far: what all at each rate show together."""

_CALIBRATION = {"warmup": "2s", "duration": "5s"}
_FEWEST_SLOTS, _MOST_SLOTS = 64, 20_000
_SLOTS_A_LIMIT = 2
_LONGER_UNDER_LOAD = 4
"""So many times what one user waits for a stream, where only its first byte has a limit."""


def measure(
    plan_path: Path, overrides: Sequence[str], rig: Rig, judge: Judge, firsts: int = 0
) -> RunFolder:
    """Search the highest rate that keeps the SLO, and give the folder of the search.

    Each probe sends `firsts` requests before its clock starts.

    Its manifest's `search_end` says how the search ended. After Ctrl-C the folder is given with the
    probes that were made whole; its manifest's `ended_as` says so.

    Raises:
        AbreastError: the plan or the endpoint is wrong, or a probe cannot be made.
        KeyboardInterrupt: no probe was made whole.
    """
    plan = load(plan_path, overrides)
    with (
        series(plan_path, overrides, rig.out, _is_whole_probe) as folder,
        reach(plan, plan_path, folder.logs, rig.tell) as reachable,
    ):
        own = replace(rig, reachable=reachable)

        def send(label: str, *of_the_probe: str) -> RunFolder:
            return make(folder, plan_path, [*overrides, *of_the_probe], label, own)

        if said := _may_scale(folder, reachable):
            rig.tell({"kind": "note", "text": said})
        end = _search(plan, folder, send, rig.tell, judge, firsts)
        run_folder.update_manifest(folder, search_end=end)
    return folder


def _may_scale(folder: RunFolder, reachable: Reachable) -> str:
    """Ask, in a process with boto3, what may move instances; what it cannot ask it leaves out."""
    command = child.command("experiments.sagemaker.inspect", str(folder.path))
    asked = subprocess.run(
        command, env=reachable.environment, capture_output=True, text=True, check=False
    )
    return asked.stdout


def _search(
    plan: Plan,
    folder: RunFolder,
    send: Callable[..., RunFolder],
    tell: Tell,
    judge: Judge,
    firsts: int,
) -> End | Literal["limits"]:
    capacity, service_s = plan.capacity_asked, None
    has_rate = capacity.start_rate is not None or capacity.ladder is not None
    has_slots = plan.traffic.slots is not None or slowest_ms(thresholds_of(plan)) is not None
    if not has_rate or not has_slots:
        tell({"kind": "note", "text": "One user at a time, to see how long an answer takes."})
        service_s = _service_s(send("one user", *_of_the_arm(plan), *_one_user(plan)))
    asked = asked_of(plan, service_s)
    sent: list[Probe] = []
    calls: Mapping[float, Call] = {}
    began_s = time.monotonic()
    while isinstance(probe := next_probe(sent, calls, asked), Probe):
        if not _is_within_limits(plan, [*sent, probe], firsts, time.monotonic() - began_s):
            if not sent:
                raise PlanError(
                    f"The first probe, {probe.rate_rps:g} req/s for {probe.length_s:.0f} s, would "
                    "go beyond the plan's [limits].",
                    "Raise them; or give another capacity.start_rate, or an [slo] that fewer "
                    "requests can show.",
                )
            text = "The next probe would go beyond [limits]; the search ends here."
            tell({"kind": "note", "text": text})
            return "limits"
        time.sleep(plan.capacity_asked.cooldown)
        why_longer = _longer(asked, probe, thresholds_of(plan))
        tell({"kind": "note", "text": f"Probe {len(sent) + 1}, {probe.why}: "
              f"{probe.rate_rps:g} req/s for {probe.length_s:.0f} s{why_longer}"})  # fmt: skip
        of_how_many = f" of {len(asked.ladder)}" if asked.ladder else ""
        label = f"probe {len(sent) + 1}{of_how_many}, {probe.rate_rps:g} req/s"
        send(label, *overrides_of(plan, probe, len(sent), service_s))
        sent.append(probe)
        calls = judge([made.path for made in runs(folder)])
        told = _TOLD[calls[probe.rate_rps]]
        tell({"kind": "note", "text": f"{probe.rate_rps:g} req/s: {told}"})
    return probe


_TOLD: Mapping[Call, str] = {
    "pass": "pass",
    "fail": "fail",
    "unresolved": "cannot be told yet",
    "client": "the client could not keep up, which says nothing of the endpoint",
    "invalid": "cannot be trusted",
}


def _longer(asked: Asked, probe: Probe, thresholds: Sequence[Threshold]) -> str:
    """Say why a probe lasts longer than the plan says, where it does for its few requests."""
    if probe.why == "extend" or probe.length_s <= asked.probe_s:
        return ""
    metric = min(thresholds, key=lambda each: each.allowed).metric
    takes = f"it takes {asked.fewest_requests:,.0f} requests to show {metric} kept"
    return f", not {asked.probe_s:g} s: {takes}"


def _is_whole_probe(made: RunFolder) -> bool:
    manifest = run_folder.read_manifest(made)
    is_calibration = manifest["plan"]["traffic"]["arrivals"] == "closed"
    return not is_calibration and manifest["ended_as"] not in ("interrupted", "running")


def _is_within_limits(plan: Plan, probes: Sequence[Probe], firsts: int, elapsed_s: float) -> bool:
    """Whether [limits] leave room for the last of the probes, after all before it."""
    if plan.limits is None:
        return True
    lengths_s = [plan.traffic.warmup + probe.length_s for probe in probes]
    sent = (s * each.rate_rps + firsts for s, each in zip(lengths_s, probes, strict=True))
    is_in_time = elapsed_s + lengths_s[-1] <= plan.limits.max_minutes * 60
    return is_in_time and sum(sent) <= plan.limits.max_requests


def overrides_of(
    plan: Plan, probe: Probe, number: int, service_s: float | None = None
) -> tuple[str, ...]:
    """Say what the plan of one probe changes: a load test of one arm at one rate.

    A probe with half of it or more behind it stops once no rest of it could mend a limit. There are
    slots for all requests of twice the longest time that the SLO allows, so that a probe runs out
    of them only where the endpoint is slower than that. Where it limits first bytes only, they are
    reckoned from `service_s`, what one user waits for the whole.
    """
    longest_ms = slowest_ms(thresholds_of(plan))
    if longest_ms is None:
        longest_ms = _LONGER_UNDER_LOAD * (service_s or 0.0) * 1e3
    in_flight = _SLOTS_A_LIMIT * probe.rate_rps * longest_ms / 1e3
    slots = plan.traffic.slots or min(max(_FEWEST_SLOTS, round(in_flight)), _MOST_SLOTS)
    return (
        *_of_the_arm(plan, abort_after_s=probe.length_s / 2),
        "traffic.routing=pinned",
        f"traffic.rate={probe.rate_rps:.10g}",
        f'traffic.duration="{probe.length_s:.3f}s"',
        f"traffic.slots={slots}",
        f"seed={(plan.seed + number) % 2**63}",
    )


def _of_the_arm(plan: Plan, abort_after_s: float | None = None) -> tuple[str, ...]:
    """Leave the measured arm alone with the limits that are its own."""
    arm = plan.capacity_asked.measured_of(plan.arms)
    limits: dict[str, object] = {
        each.metric: f"{each.allowed:.9%}" if each.limit_ms is None else f"{each.limit_ms:.6f}ms"
        for each in thresholds_of(plan)
    }
    if abort_after_s is not None:
        limits |= {"abort_on_fail": True, "abort_after": f"{abort_after_s:.3f}s"}
    own = plan.arms[arm].model_dump(mode="json", exclude_none=True)
    # Each probe would wait minutes for CloudWatch.
    only = (f"arms={inline({arm: own})}", f"slo={inline(limits)}", "cloudwatch.read=false")
    return "question=load", *only


def _one_user(plan: Plan) -> tuple[str, ...]:
    traffic = {
        "routing": "pinned", "arrivals": "closed", "users": 1,
        "transport": plan.traffic.transport, **_CALIBRATION,
    }  # fmt: skip
    return (f"traffic={inline(traffic)}",)


def _service_s(calibration: RunFolder) -> float:
    table = pq.read_table(calibration.requests, columns=["outcome", "started_ns", "ended_ns"])
    good = table.filter(pc.equal(table["outcome"], "ok"))
    if not len(good):
        raise EndpointError(
            "No request was answered while one user sent them one at a time.",
            f"See {calibration.path} and its logs, or begin at a rate: capacity.start_rate.",
        )
    return float(pc.mean(pc.subtract(good["ended_ns"], good["started_ns"])).as_py()) / 1e9
