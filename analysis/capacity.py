"""How much does an arm carry: the probes of a search judged, and what follows from them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from analysis.boundary import Boundary, boundary
from analysis.rates import Observed, judge_rate
from analysis.read import Run, read_run
from analysis.render import format as fmt
from analysis.results import (
    SCHEMA_VERSION,
    Capacity,
    Check,
    Counts,
    Interval,
    ProbeMade,
    RateCall,
    RateFound,
    Report,
    RunInfo,
    State,
    Verdict,
)
from analysis.scaling import instances_of
from analysis.sizing import size
from analysis.summary import cannot_tell, error_kinds, run_info
from analysis.validity import check_run, validity_of
from analysis.verdict import EXIT_CODES
from experiments import run_folder
from experiments.errors import RunFolderError
from experiments.plan import Plan

LEVEL = 0.90
METHOD = (
    "Each probe sends one rate of an open model, and a request misses a latency limit unless a "
    "good answer came within it, from when it was due. All probes at a rate are judged as one: "
    "it passes where each limit is met and fails where one is broken, by intervals at 95 % that "
    "allow for requests that share their luck, and it cannot be told in between.",
    "The interval goes from the last rate but one that passed, since of many the highest may have "
    "been lucky, to the lowest that failed; how often it holds the true rate, on simulated "
    "endpoints of known truth, is measured and published.",
    "A probe whose requests in flight and latency both rise throughout, and which leaves more than "
    "2 % of its requests behind, is saturated, and fails whatever its limits say.",
)
OTHER_LOAD = (
    "What other payloads, another instance type, or more instances than were measured carry: what "
    "is marked as extrapolated takes every instance to carry as much.",
    "Whether a noisy hour, a slow episode too rare for a probe to meet, or a burst allowance that "
    "outlasts a probe changes the rate.",
)
_GENERATORS_OWN = ("generator", "in_flight")
_AT_A_FAILING_RATE = ("records", "split", "pinning", "generator", "in_flight", "scaling")
"""What must hold where the SLO breaks; drift, failures and full slots are the breaking itself."""


class _Probe(NamedTuple):
    run: Run
    rate_rps: float
    observed: Observed
    checks: tuple[Check, ...]
    left_out: str | None
    """Why the generator was in the way, where it was."""

    @property
    def is_invalid(self) -> bool:
        return any(c.state == "fail" and c.name not in _GENERATORS_OWN for c in self.checks)


def judge_probes(paths: Iterable[Path]) -> dict[float, RateCall]:
    """Say of each rate what all probes at it show together."""
    runs = map(read_run, paths)
    probes = [_probe(run) for run in runs if not run.plan.traffic.is_closed]
    return {found.rate_rps: found.call for found in _rates(probes)}


def capacity(path: Path) -> Report:
    """Judge a search again, from the folder that holds its probes.

    Raises:
        RunFolderError: it is no folder of a search, is damaged, or holds no probe.
    """
    folder = run_folder.open_folder(path)
    manifest = run_folder.read_manifest(folder)
    plan = Plan.model_validate(manifest["plan"])
    runs = [read_run(each) for each in sorted((path / "runs").glob("*/"))]
    probes = [_probe(run) for run in runs if not run.plan.traffic.is_closed]
    if not probes:
        raise RunFolderError(f"{path}: holds no probe.", "Give the folder of a capacity search.")
    rates = _rates(probes)
    asked = plan.capacity_asked
    found = boundary(rates, None if asked.ladder else asked.resolution)
    checks = _checks(probes, found)
    arm = asked.measured_of(plan.arms)
    answer = _answer(plan, arm, found, rates, probes)
    at_high = [p.run.measured for p in probes if found.high and p.rate_rps == found.high.rate_rps]
    return Report(
        schema_version=SCHEMA_VERSION,
        question="capacity",
        run=_info(manifest, probes),
        verdict=_verdict(answer, found, checks, manifest),
        checks=checks,
        arms=(),
        differences=(),
        shifts=(),
        slo=(),
        answers=None,
        errors=error_kinds(pd.concat(at_high)) if at_high else (),
        method=METHOD,
        cannot_tell=(*OTHER_LOAD, *cannot_tell(probes[0].run)[1:]),
        capacity=answer,
    )


def _info(manifest: Mapping[str, Any], probes: Sequence[_Probe]) -> RunInfo:
    """Describe the search by its last probe, with the counts of all."""
    last = probes[-1].run
    each = [probe.run.counts for probe in probes]
    return replace(
        run_info(last, last.measured),
        id=manifest["run_id"],
        plan=manifest["plan_name"],
        started_at=run_info(probes[0].run, probes[0].run.measured).started_at,
        measured_s=sum(probe.observed.length_s for probe in probes),
        rate_rps=None,
        achieved_rps=None,
        seed=manifest["seed"],
        counts=Counts(**{key: sum(counts[key] for counts in each) for key in each[0]}),
        plan_toml=(last.path.parents[1] / "plan.toml").read_text(encoding="utf-8"),
        ended_as=manifest["ended_as"],
    )


def _probe(run: Run) -> _Probe:
    rows = run.measured
    checks = check_run(run)
    in_the_way = [c.finding for c in checks if c.name in _GENERATORS_OWN and c.state != "ok"]
    return _Probe(
        run=run,
        rate_rps=run.plan.traffic.rate or 0.0,
        observed=_observed(run, rows),
        checks=checks,
        left_out=next(iter(in_the_way), None),
    )


def _observed(run: Run, rows: pd.DataFrame) -> Observed:
    at_s = rows["scheduled_ms"].to_numpy() / 1e3 - run.start_s
    ended_s = rows["ended_ms"].to_numpy() / 1e3 - run.start_s
    is_good = (rows["outcome"] == "ok").to_numpy()
    return Observed(
        at_s=at_s,
        latency_ms=np.where(is_good, rows["response_ms"].to_numpy(), np.inf),
        ended_s=np.where(np.isnan(ended_s), at_s, ended_s),
        length_s=run.end_s - run.start_s,
    )


def _rates(probes: Sequence[_Probe]) -> tuple[RateFound, ...]:
    """Judge every rate by those of its probes in which the generator was not in the way.

    It is the generator's limit where that leaves none, or half at most of what breaks the SLO.
    """
    by_rate: dict[float, list[_Probe]] = {}
    for probe in probes:
        by_rate.setdefault(probe.rate_rps, []).append(probe)
    rates = []
    for rate_rps, own in sorted(by_rate.items()):
        kept = [probe.observed for probe in own if probe.left_out is None]
        found = judge_rate(rate_rps, kept, own[0].run.plan.thresholds)
        if any(probe.is_invalid for probe in own):
            found = replace(found, call="invalid")
        elif not kept or (found.call == "fail" and 2 * len(kept) <= len(own)):
            found = replace(found, call="client")
        rates.append(found)
    return tuple(rates)


def _answer(
    plan: Plan,
    arm: str,
    found: Boundary,
    rates: tuple[RateFound, ...],
    probes: Sequence[_Probe],
) -> Capacity:
    run = probes[0].run
    instances = instances_of(run, arm)
    is_answer = found.end not in ("client", "invalid") and (found.low or found.high) is not None
    low_rps = found.low.rate_rps if found.low else None
    reason = _no_sizing(plan, arm, found, instances)
    sizing = None
    if reason is None and instances and low_rps:
        sizing = size(plan, arm, low_rps, instances)
    variant = (
        run.manifest.get("endpoint", {}).get("variants", {}).get(plan.variant_of(arm) or "", {})
    )
    return Capacity(
        arm=arm,
        end=found.end,
        rate_rps=found.rate_rps if is_answer else None,
        interval=Interval(
            low=low_rps, high=found.high.rate_rps if found.high else None, level=LEVEL
        )
        if is_answer
        else None,
        limit=found.limit,
        instances=instances,
        instance_type=variant.get("instance_type"),
        rates=rates,
        probes=tuple(_made(probe) for probe in probes),
        sizing=sizing,
        no_sizing=reason,
    )


def _no_sizing(plan: Plan, arm: str, found: Boundary, instances: int | None) -> str | None:
    if found.end in ("client", "invalid"):
        return "Without an answer there is nothing to size by."
    if found.low is None:
        return "No rate was shown to keep the SLO, so there is nothing to size by."
    if plan.arms[arm].request.inference_component_name or plan.request.inference_component_name:
        return "An inference component scales by copies, not by instances; that is not worked out."
    if instances is None:
        return (
            "How many instances answered is not known (a serverless variant, or DescribeEndpoint "
            "was not allowed), so nothing is said of one instance."
        )
    return None


def _made(probe: _Probe) -> ProbeMade:
    seen = probe.observed
    return ProbeMade(
        run=probe.run.id,
        rate_rps=probe.rate_rps,
        measured_s=seen.length_s,
        achieved_rps=float((seen.ended_s <= seen.length_s).sum()) / seen.length_s,
        requests=seen.at_s.size,
        left_out=probe.left_out,
    )


def _checks(probes: Sequence[_Probe], found: Boundary) -> tuple[Check, ...]:
    """Give the worst of each check over the probes that decide, and whether one setup made all."""
    worst: dict[str, Check] = {}
    order = ("ok", "warn", "fail")
    for probe in probes:
        is_low = found.low is not None and probe.rate_rps == found.low.rate_rps
        is_high = found.high is not None and probe.rate_rps == found.high.rate_rps
        is_put_aside = probe.left_out is not None and found.end != "client"
        if is_put_aside or not (is_low or is_high or probe.is_invalid):
            continue
        for check in probe.checks:
            if not is_low and check.name not in _AT_A_FAILING_RATE:
                continue
            before = worst.get(check.name)
            if before is None or order.index(check.state) > order.index(before.state):
                said = f"at {fmt.rate(probe.rate_rps)}: {check.finding}"
                worst[check.name] = replace(check, finding=said)
    return (*worst.values(), *_same_throughout(probes))


def _same_throughout(probes: Sequence[_Probe]) -> tuple[Check, ...]:
    seen = {instances_of(probe.run, arm) for probe in probes for arm in probe.run.plan.arms}
    if len(seen) < 2:
        return ()
    counts = fmt.joined(sorted(map(str, seen)))
    step = "Suspend scaling (see the command at a probe's own report) and search again."
    finding = f"from probe to probe there were {counts} instances"
    return (Check("scaling_between", "Instances held between probes", "fail", finding, step),)


def _verdict(
    answer: Capacity, found: Boundary, checks: Sequence[Check], manifest: Mapping[str, Any]
) -> Verdict:
    state, sentence = _said(answer, found)
    failed = next((check for check in checks if check.state == "fail"), None)
    context = list(_context(answer, found))
    if state != "untrusted" and failed is not None:
        state, sentence = "untrusted", f'Do not read on: a probe fails the check "{failed.title}".'
    if state == "untrusted":
        context = [f"{c.finding}. {c.next_step or ''}".strip() for c in (failed,) if c]
        client = next((probe.left_out for probe in answer.probes if probe.left_out), None)
        if found.end == "client" and client:
            context = [f"{client[:1].upper()}{client[1:]}.", _MORE_CLIENT]
    if manifest["ended_as"] != "complete":
        context.append(f"The search is not whole: {manifest.get('reason') or 'it has not ended'}")
    return Verdict(
        state=state,
        validity="INVALID" if state == "untrusted" else validity_of(checks),
        sentence=sentence,
        context=tuple(context),
        exit_code=EXIT_CODES[state],
    )


_MORE_CLIENT = (
    "Give the generator a machine of its own, or more slots (traffic.slots), and search again."
)


def _said(answer: Capacity, found: Boundary) -> tuple[State, str]:
    arm = answer.arm
    low, high = (fmt.rate(each.rate_rps) if each else None for each in (found.low, found.high))
    if found.end == "client":
        return "untrusted", f"This number is the client's, not the endpoint's: {high} was too much."
    if found.end == "invalid":
        return "untrusted", "Do not read on: a probe of this search cannot be trusted."
    if found.end == "no_pass":
        return "broken", f"{arm} keeps its SLO at no rate that was tried; at {high} it breaks it."
    if found.end == "no_fail":
        return "met", f"{arm} keeps its SLO at every rate that was tried, up to {low}."
    if found.end == "undecided":
        ends = [f"above {low}"] * bool(low) + [f"below {high}"] * bool(high) or ["not known"]
        said = fmt.joined(ends)
        return "undecided", f"Cannot tell yet how much {arm} carries: the rate is {said}."
    on = f" on {fmt.counted(answer.instances, 'instance')}" if answer.instances else ""
    return "met", (
        f"{arm} carries {fmt.rate(answer.rate_rps)}{on} within its SLO (between {low} and {high})."
    )


def _context(answer: Capacity, found: Boundary) -> Iterable[str]:
    if found.end in ("smooth", "cliff") and found.high is not None:
        limit = fmt.metric_word(answer.limit or "the queue")
        if found.end == "cliff":
            at = fmt.rate(found.high.rate_rps)
            yield f"Beyond it comes a cliff: at {at}, {limit} breaks at once."
        else:
            yield f"Beyond it, {limit} breaks first, by and by."
    if answer.sizing is not None:
        sizing = answer.sizing
        peak = next((each for each in sizing.peaks if each.peak_rps == sizing.peak_rps), None)
        if peak is not None:
            said = fmt.counted(peak.instances, "instance")
            yield (
                f"A peak of {fmt.rate(peak.peak_rps)} takes {said} at "
                f"{fmt.share(sizing.utilisation)} of the lower bound, and "
                f"{fmt.count(peak.with_zone_lost)} to lose one of {sizing.zones} zones."
            )
    elif answer.no_sizing and found.end not in ("undecided", "no_pass"):
        yield answer.no_sizing
