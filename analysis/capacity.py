"""How much does an arm carry: the probes of a search judged, and what follows from them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.boundary import Boundary, boundary
from analysis.probes import Probe, judge_rates, read_probe
from analysis.rates import judge_rate
from analysis.render import format as fmt
from analysis.results.capacity import Capacity, ProbeMade, RateFound
from analysis.results.report import SCHEMA_VERSION, Report, State, Verdict
from analysis.results.run import Check, Counts, RunInfo
from analysis.results.values import Interval
from analysis.scaling import described_as, instances_of, scaled_since, suspend
from analysis.sizing import size
from analysis.summary import cannot_tell, error_kinds, plan_text, run_info
from analysis.verdict import stated
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
    "endpoints of known truth, is measured and published. Of a ladder it is no interval, only "
    "the rungs that the answer lies between.",
    "A probe whose requests in flight and latency both rise throughout, and which leaves more than "
    "2 % of its requests behind, is saturated, and fails whatever its limits say.",
)
OTHER_LOAD = (
    "What other payloads, another instance type, or more instances than were measured carry: what "
    "is marked as extrapolated takes every instance to carry as much.",
    "Whether a noisy hour, a slow episode too rare for a probe to meet, or a burst allowance that "
    "outlasts a probe changes the rate.",
)
_ANSWERS = ("smooth", "cliff", "no_fail")
_AT_A_FAILING_RATE = ("records", "split", "pinning", "generator", "in_flight", "scaling")
"""What must hold where the SLO breaks; drift, failures and full slots are the breaking itself."""


def capacity(path: Path) -> Report:
    """Judge a search again, from the folder that holds its probes.

    Raises:
        RunFolderError: it is no folder of a search, is damaged, or holds no whole probe.
    """
    folder = run_folder.open_folder(path)
    manifest = run_folder.read_manifest(folder)
    plan = Plan.model_validate(manifest["plan"])
    paths = sorted((path / "runs").glob("*/"))
    probes = [probe for each in paths if (probe := read_probe(each)) is not None]
    if not probes:
        raise RunFolderError(
            f"{path}: holds no probe that was made whole.", "Give the folder of a capacity search."
        )
    rates = judge_rates(probes)
    asked = plan.capacity_asked
    resolution = None if asked.ladder else asked.resolution
    found = boundary(rates, resolution, manifest.get("search_end"))
    checks = _checks(probes, found)
    answer = _answer(plan, found, checks, rates, probes)
    at_high = [p for p in probes if found.high and p.rate_rps == found.high.rate_rps]
    client = next((p.left_out for p in at_high if p.left_out), None)
    return Report(
        schema_version=SCHEMA_VERSION,
        question="capacity",
        run=_info(manifest, probes),
        verdict=_verdict(plan, answer, found, checks, client, manifest),
        checks=checks,
        arms=(),
        differences=(),
        shifts=(),
        slo=(),
        answers=None,
        errors=error_kinds(pd.concat([p.run.measured for p in at_high])) if at_high else (),
        method=METHOD,
        cannot_tell=(*OTHER_LOAD, *cannot_tell(probes[0].run)[1:]),
        capacity=answer,
    )


def _info(manifest: Mapping[str, Any], probes: Sequence[Probe]) -> RunInfo:
    """Describe the search by its last probe, with the counts of all."""
    first, last = (run_info(probe.run, probe.run.measured) for probe in (probes[0], probes[-1]))
    each = [probe.run.counts for probe in probes]
    return replace(
        last,
        id=manifest["run_id"],
        plan=manifest["plan_name"],
        started_at=first.started_at,
        measured_s=sum(probe.observed.length_s for probe in probes),
        rate_rps=None,
        achieved_rps=None,
        seed=manifest["seed"],
        counts=Counts(**{key: sum(counts[key] for counts in each) for key in each[0]}),
        plan_toml=plan_text(probes[-1].run.path.parents[1]),
        ended_as=manifest["ended_as"],
    )


def _answer(
    plan: Plan,
    found: Boundary,
    checks: Sequence[Check],
    rates: tuple[RateFound, ...],
    probes: Sequence[Probe],
) -> Capacity:
    """Say what follows: nothing of what cannot be trusted, and of what is undecided no number."""
    run = probes[0].run
    arm = plan.capacity_asked.measured_of(plan.arms)
    instances = instances_of(run, arm)
    is_trusted = found.end not in ("client", "invalid") and not _failed(checks)
    low_rps = found.low.rate_rps if found.low and is_trusted else None
    high_rps = found.high.rate_rps if found.high and is_trusted else None
    is_found = is_trusted and found.end in ("smooth", "cliff") and not plan.capacity_asked.ladder
    reason = _no_sizing(plan, arm, found, instances) if is_trusted else _NOTHING_TO_SIZE_BY
    sizing = None
    if reason is None and instances and low_rps:
        sizing = size(plan, arm, low_rps, instances, rates)
    variant = (
        run.manifest.get("endpoint", {}).get("variants", {}).get(described_as(run, arm) or "", {})
    )
    return Capacity(
        arm=arm,
        end=found.end,
        rate_rps=found.rate_rps if is_found else None,
        interval=Interval(low=low_rps, high=high_rps, level=LEVEL) if is_found else None,
        low_rps=low_rps,
        high_rps=high_rps,
        limit=found.limit if is_trusted else None,
        instances=instances,
        instance_type=variant.get("instance_type"),
        rates=rates,
        probes=tuple(_made(probe) for probe in probes),
        sizing=sizing,
        no_sizing=reason,
    )


_NOTHING_TO_SIZE_BY = "Without an answer there is nothing to size by."


def _failed(checks: Sequence[Check]) -> Check | None:
    return next((check for check in checks if check.state == "fail"), None)


def _no_sizing(plan: Plan, arm: str, found: Boundary, instances: int | None) -> str | None:
    if found.low is None:
        return "No rate was shown to keep the SLO, so there is nothing to size by."
    if found.end not in _ANSWERS:
        return _NOTHING_TO_SIZE_BY
    if plan.arms[arm].request.inference_component_name or plan.request.inference_component_name:
        return "An inference component scales by copies, not by instances; that is not worked out."
    if instances is None:
        return (
            "How many instances answered is not known (a serverless variant, or DescribeEndpoint "
            "was not allowed), so nothing is said of one instance."
        )
    return None


def _made(probe: Probe) -> ProbeMade:
    seen, run = probe.observed, probe.run
    found = judge_rate(probe.rate_rps, [seen], run.plan.thresholds).limits
    # Not the ends as observed, where what was dropped ends when it was due.
    ended = int((run.measured["ended_ms"] <= run.end_s * 1e3).sum())
    return ProbeMade(
        run=run.id,
        rate_rps=probe.rate_rps,
        measured_s=seen.length_s,
        achieved_rps=ended / seen.length_s,
        requests=seen.at_s.size,
        value_ms=next((limit.value_ms for limit in found if limit.limit_ms), None),
        left_out=probe.left_out.finding if probe.left_out else None,
    )


def _checks(probes: Sequence[Probe], found: Boundary) -> tuple[Check, ...]:
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


def _same_throughout(probes: Sequence[Probe]) -> tuple[Check, ...]:
    first, last = probes[0].run, probes[-1].run
    (arm,) = first.plan.arms
    seen = {instances_of(probe.run, arm) for probe in probes}
    moved = [finding for _, finding in scaled_since(last, first.manifest["started_at"])]
    if len(seen) > 1:
        counts = fmt.joined(sorted("an unknown number of" if n is None else str(n) for n in seen))
        moved = [f"from probe to probe there were {counts} instances"]
    step = suspend(first.plan.endpoint.name, described_as(first, arm) or arm)
    return tuple(
        Check("scaling_between", "Instance count steady between probes", "fail", finding, step)
        for finding in moved[:1]
    )


def _verdict(
    plan: Plan,
    answer: Capacity,
    found: Boundary,
    checks: Sequence[Check],
    client: Check | None,
    manifest: Mapping[str, Any],
) -> Verdict:
    state, sentence = _said(answer, found)
    failed = _failed(checks)
    context = list(_context(answer, found))
    if state != "untrusted" and failed is not None:
        state, sentence = "untrusted", f'Do not read on: a probe fails the check "{failed.title}".'
    if state == "untrusted":
        context = [f"{c.finding}. {c.next_step or ''}".strip() for c in (failed,) if c]
        if found.end == "client" and client:
            step = _MORE_CLIENT.get(client.name, client.next_step or "")
            context = [f"{client.finding[:1].upper()}{client.finding[1:]}.", step]
    if cut_short := _CUT_SHORT.get(manifest.get("search_end", "")):
        context.append(cut_short.format(probe=fmt.duration(plan.capacity_asked.probe)))
    if manifest["ended_as"] != "complete":
        why = str(manifest.get("reason") or "it has not ended").rstrip(".")
        context.append(f"The search is not whole: {why}.")
    return stated(state, sentence, context, checks)


_LONGER = (
    "Slow times that are rarer than a probe is long make each probe another: lengthen "
    "capacity.probe (now {probe}) to several times their distance, and search again."
)
_CUT_SHORT = {
    "limits": "The search was ended by [limits]: raise them to search on.",
    "unresolved": f"It was ended because nothing narrowed any more. {_LONGER}",
    "too_long": f"It was ended for the number of its probes. {_LONGER}",
}
_MORE_CLIENT = {
    "generator": "Give the generator a machine of its own, or end what else runs on this one, and "
    "search again; where capacity.start_rate was high, from a lower one.",
    "slots": "Give more slots (traffic.slots), and search again.",
}


def _said(answer: Capacity, found: Boundary) -> tuple[State, str]:
    arm = answer.arm
    low, high = (fmt.rate(each.rate_rps) if each else None for each in (found.low, found.high))
    if found.end == "client":
        kept = f"{low} kept the SLO, and" if low else "No number:"
        return "untrusted", f"{kept} at {high} the client was the limit, not the endpoint."
    if found.end == "invalid":
        return "untrusted", "Do not read on: a probe of this search cannot be trusted."
    if found.end == "no_pass":
        return "broken", f"{arm} keeps its SLO at no rate that was tried; at {high} it breaks it."
    if found.end == "no_fail":
        return "met", f"{arm} keeps its SLO at every rate that was tried, up to {low}."
    if found.end == "undecided":
        ends = [f"{low} kept the SLO"] * bool(low) + [f"{high} broke it"] * bool(high)
        said = fmt.joined(ends or ["no rate was shown to keep the SLO or to break it"])
        return "undecided", f"Cannot tell yet how much {arm} carries: {said}."
    on = f" on {fmt.counted(answer.instances, 'instance')}" if answer.instances else ""
    if answer.rate_rps is None or found.low is None or found.high is None:
        return "met", f"{arm} carries {low}{on} within its SLO, and less than {high}."
    more = fmt.share(found.high.rate_rps / found.low.rate_rps - 1)
    return "met", (
        f"{arm} carries {fmt.rate(answer.rate_rps)}{on} within its SLO: {low} kept it, and {high}, "
        f"which is {more} more, broke it."
    )


def _context(answer: Capacity, found: Boundary) -> Iterable[str]:
    if found.end in ("smooth", "cliff") and found.high is not None:
        limit = f"{fmt.metric_word(answer.limit)} breaks" if answer.limit else "a queue builds up"
        if found.end == "cliff":
            yield f"Beyond it comes a cliff: at {fmt.rate(found.high.rate_rps)}, {limit} at once."
        else:
            yield f"Beyond it, {limit} first, little by little."
    if answer.sizing is not None:
        sizing = answer.sizing
        peak = next((each for each in sizing.peaks if each.peak_rps == sizing.peak_rps), None)
        if peak is not None:
            said = fmt.counted(peak.instances, "instance")
            yield (
                f"A peak of {fmt.rate(peak.peak_rps)} takes {said} at "
                f"{fmt.share(sizing.utilisation)} of the lower bound, and "
                f"{fmt.count(peak.with_zone_lost)} if one of {sizing.zones} zones may be lost."
            )
    elif answer.no_sizing and found.end not in ("undecided", "no_pass"):
        yield answer.no_sizing
