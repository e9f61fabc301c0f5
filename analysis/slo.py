"""Does each arm keep its SLO: is the share of requests that miss a limit at most what is allowed?

Asking that of a percentile and asking it of the share beyond the limit is one question (Woodruff,
R. S., 1952, Confidence intervals for medians and other position measures); the share has an
interval that holds where requests come in bursts of luck, and counts failures too.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import bdtrc

from analysis.clustered import ClusteredShare, clustered_share
from analysis.noise import memory_of, too_short
from analysis.rates import quantile_ms
from analysis.read import Run
from analysis.render.format import count, counted, duration, share
from analysis.results.run import SloResult
from analysis.results.values import Interval, SloCall
from analysis.samples import column_of, measure_of, until_good_ms
from analysis.windows import Floats
from experiments.slo import Threshold

ALPHA = 0.05
_FEWEST_MISSES = 3
"""So many may miss, at the least, of as many requests as can show a limit kept: -ln 5 %."""
_STEPS_A_WINDOW = 4
_LONGEST_EXTENSION = 100.0


def judge_slo(run: Run, rows: pd.DataFrame) -> tuple[SloResult, ...]:
    """Judge every limit of the plan's SLO on the measured `rows`; nothing without an SLO.

    A limit is met where the upper bound of the share missed is at most what is allowed, at 95 %;
    broken where the lower bound is above it, at 95 % for all the limits together (Bonferroni). In
    stretches of a given length the question is what happened in each: a limit is broken where one
    holds more misses than chance gives, at 5 % over all stretches and limits, and else met. What
    failed without naming its variant is left out, but no limit is met that it could break.
    """
    asked = run.plan.thresholds
    return tuple(_result(run, rows, threshold, ALPHA / len(asked)) for threshold in asked)


def _result(run: Run, rows: pd.DataFrame, asked: Threshold, alpha: float) -> SloResult:
    in_phase = rows if asked.phase is None else rows[rows["phase"] == asked.phase]
    measure = measure_of(run.plan, asked.metric)
    latency = column_of(measure_of(run.plan, "mean") if asked.limit_ms is None else measure)
    span_s = _span_s(run, asked.phase)
    own = _outcomes(in_phase[in_phase["arm"] == asked.arm], latency, asked)
    unknown = SloResult(
        arm=asked.arm,
        phase=asked.phase,
        metric=asked.metric,
        measure=measure,
        limit_ms=asked.limit_ms,
        allowed=asked.allowed,
        window_s=asked.window_s,
        requests=len(own.missed),
        missed=int(own.missed.sum()),
        interval=None,
        value_ms=None,
        at_s=None,
        call="refused",
        reason=None if own.missed.size else "No request of it was sent.",
    )

    def judged(outcomes: _Outcomes) -> SloResult:
        if not outcomes.missed.size:
            return unknown
        if asked.window_s is not None:
            return _in_windows(unknown, outcomes, span_s, asked.window_s, alpha)
        return _in_all(unknown, outcomes, span_s, alpha, run)

    found = judged(own)
    may_be_own = in_phase[in_phase["arm"].isna() & (in_phase["outcome"] != "ok")]
    if found.call != "met" or may_be_own.empty:
        return found
    strays = _outcomes(may_be_own, latency, asked)
    with_strays = _Outcomes(*(np.concatenate(pair) for pair in zip(own, strays, strict=True)))
    if judged(with_strays).call == "met":
        return found
    reason = (
        f"{counted(len(may_be_own), 'failed or dropped request')} named no variant; it would be "
        "met if none of them was its own."
    )
    return replace(found, call="undecided", reason=reason)


class _Outcomes(NamedTuple):
    """When each request was due, how long it took (for ever where it failed), if it missed."""

    at_s: Floats
    latency_ms: Floats
    missed: NDArray[np.bool_]


def _outcomes(rows: pd.DataFrame, latency: str, asked: Threshold) -> _Outcomes:
    latency_ms = until_good_ms(rows, latency)
    missed = np.isinf(latency_ms) if asked.limit_ms is None else latency_ms > asked.limit_ms
    return _Outcomes(rows["scheduled_ms"].to_numpy() / 1e3, latency_ms, missed)


def _in_all(
    unknown: SloResult, own: _Outcomes, span_s: tuple[float, float], alpha: float, run: Run
) -> SloResult:
    (start_s, end_s), allowed, memory_s = span_s, unknown.allowed, memory_of(run.plan)
    if unknown.limit_ms is not None:
        unknown = replace(unknown, value_ms=quantile_ms(own.latency_ms, 1 - allowed))
    # A run that was stopped for its SLO is short, and its limits may be plainly broken.
    was_stopped = run.manifest.get("slo_lost") is not None
    refusal = too_short(end_s - start_s, memory_s)
    if refusal and (end_s <= start_s or not was_stopped):
        return replace(unknown, reason=refusal.reason)
    share_missed = clustered_share(
        own.at_s, own.missed.astype(float), start_s=start_s, end_s=end_s, memory_s=memory_s
    )
    call, reason = _call(share_missed, allowed, alpha, end_s - start_s)
    if refusal and call == "met":
        return replace(unknown, reason=refusal.reason)
    low, high = share_missed.bounds(1 - ALPHA)
    interval = Interval(low=low, high=high, level=1 - 2 * ALPHA)
    return replace(unknown, call=call, reason=reason, interval=interval)


def _call(
    found: ClusteredShare, allowed: float, alpha: float, span_s: float
) -> tuple[SloCall, str | None]:
    if found.bounds(1 - ALPHA)[1] <= allowed:
        return "met", None
    if found.bounds(1 - alpha)[0] > allowed:
        return "broken", None
    longer = 1.0
    while longer < _LONGEST_EXTENSION:
        longer *= 1.1
        if (
            found.bounds(1 - ALPHA, times_longer=longer)[1] <= allowed
            or found.bounds(1 - alpha, times_longer=longer)[0] > allowed
        ):
            more_s = 60 * round(max((longer - 1) * span_s, 60.0) / 60)
            return "undecided", f"About {duration(more_s)} more at this rate would settle it."
    return "undecided", "It lies at the limit, and no run of a sensible length would settle it."


def _in_windows(
    unknown: SloResult,
    own: _Outcomes,
    span_s: tuple[float, float],
    window_s: float,
    alpha: float,
) -> SloResult:
    """Look at every stretch, a quarter of its length on each time; give what the worst one holds.

    A burst is not noise here but what is looked for, so the requests of a stretch count as
    independent.
    """
    allowed, last_s = unknown.allowed, span_s[1] - window_s
    if last_s < span_s[0]:
        reason = f"Less was measured than one stretch of {duration(window_s)}."
        return replace(unknown, reason=reason)
    starts_s = np.arange(span_s[0], last_s, window_s / _STEPS_A_WINDOW)
    starts_s = np.append(starts_s, last_s)
    order = np.argsort(own.at_s)
    ends = np.searchsorted(own.at_s[order], np.stack([starts_s, starts_s + window_s]))
    requests = ends[1] - ends[0]
    before = np.concatenate([[0], np.cumsum(own.missed[order])])
    misses = before[ends[1]] - before[ends[0]]
    p_values = bdtrc(misses - 1, requests, allowed)
    worst = int(np.lexsort((-misses / np.maximum(requests, 1), p_values))[0])
    found = replace(
        unknown,
        call="met",
        requests=int(requests[worst]),
        missed=int(misses[worst]),
        at_s=float(starts_s[worst]),
    )
    too_many = int((misses > allowed * requests).sum())
    if p_values[worst] < alpha / starts_s.size:
        return replace(found, call="broken")
    if np.median(requests) < _FEWEST_MISSES / allowed:
        reason = (
            f"A stretch of {duration(window_s)} holds about {count(int(np.median(requests)))}"
            f" requests; fewer than {count(round(_FEWEST_MISSES / allowed))} cannot show "
            f"that no more than {share(allowed)} miss."
        )
        return replace(found, call="undecided", reason=reason)
    if too_many:
        reason = (
            f"More than {share(allowed)} missed in {count(too_many)} of "
            f"{counted(starts_s.size, 'stretch', 'stretches')} of {duration(window_s)}, but "
            "by no more than chance gives where the limit is kept."
        )
        return replace(found, reason=reason)
    return found


def _span_s(run: Run, phase: str | None) -> tuple[float, float]:
    for each in run.plan.traffic.phases:
        if each.name == phase:
            return each.start_s, min(each.end_s, run.end_s)
    return run.start_s, run.end_s
