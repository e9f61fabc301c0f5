"""Does each arm keep its SLO: is the share of requests that miss a limit at most what is allowed?

Asking that of a percentile and asking it of the share beyond the limit is one question (Woodruff,
R. S., 1952, Confidence intervals for medians and other position measures); the share has an
interval that holds where requests come in bursts of luck, and counts failures too.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import binom

from analysis.clustered import ClusteredShare, clustered_share
from analysis.noise import MEMORY_S, too_short
from analysis.read import Run
from analysis.render.format import count, counted, duration, share
from analysis.results import Interval, Measure, SloCall, SloResult
from analysis.windows import Floats
from experiments.slo import Threshold

ALPHA = 0.05
_STEPS_A_WINDOW = 4
_LONGEST_EXTENSION = 100.0


def judge_slo(run: Run, rows: pd.DataFrame) -> tuple[SloResult, ...]:
    """Judge every limit of the plan's SLO on the measured `rows`; nothing without an SLO.

    A limit is met where the upper bound of the share missed is at most what is allowed, at 95 %;
    broken where the lower bound is above it, at 95 % for all the limits together (Bonferroni). In
    stretches of a given length the question is what happened in each: a limit is broken where one
    holds more misses than chance gives, at 5 % over all stretches and limits.
    """
    asked = run.plan.thresholds
    return tuple(_result(run, rows, threshold, ALPHA / len(asked)) for threshold in asked)


def _result(run: Run, rows: pd.DataFrame, asked: Threshold, alpha: float) -> SloResult:
    in_phase = rows if asked.phase is None else rows[rows["phase"] == asked.phase]
    own = in_phase[in_phase["arm"] == asked.arm]
    measure: Measure = "service" if run.plan.traffic.is_closed else "response"
    is_good = (own["outcome"] == "ok").to_numpy()
    latency_ms = np.where(is_good, own[f"{measure}_ms"].to_numpy(), np.inf)
    missed = ~is_good if asked.limit_ms is None else latency_ms > asked.limit_ms
    at_s = own["scheduled_ms"].to_numpy() / 1e3
    start_s, end_s = _span_s(run, asked.phase)
    unknown = int((in_phase["arm"].isna() & (in_phase["outcome"] != "ok")).sum())
    share_missed, worst_at_s, value_ms = None, None, None
    requests, misses = len(own), int(missed.sum())
    call: SloCall = "refused"
    reason: str | None
    if requests == 0:
        reason = "No request of it was sent."
    elif unknown:
        reason = f"{counted(unknown, 'failed request')} did not name the variant that they met."
    elif asked.window_s is not None:
        worst = _worst_window(at_s, missed, start_s, end_s, asked, alpha)
        call, reason, worst_at_s, requests, misses = worst
    else:
        if asked.limit_ms is not None:
            value_ms = _quantile(latency_ms, 1 - asked.allowed)
        found = clustered_share(at_s, missed.astype(float), start_s=start_s, end_s=end_s)
        share_missed = found.bounds(1 - ALPHA)
        if refusal := too_short(end_s - start_s, MEMORY_S):
            share_missed, reason = None, refusal.reason
        else:
            call, reason = _call(found, asked.allowed, alpha, end_s - start_s)
    if lost := _lost(run, asked):
        call, reason = "broken", lost
    return SloResult(
        arm=asked.arm,
        phase=asked.phase,
        metric=asked.metric,
        measure="outcome" if asked.limit_ms is None else measure,
        limit_ms=asked.limit_ms,
        allowed=asked.allowed,
        window_s=asked.window_s,
        requests=requests,
        missed=misses,
        interval=Interval(low=share_missed[0], high=share_missed[1], level=1 - 2 * ALPHA)
        if share_missed
        else None,
        value_ms=value_ms,
        at_s=worst_at_s,
        call=call,
        reason=reason,
    )


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


def _worst_window(
    at_s: Floats,
    missed: NDArray[np.bool_],
    start_s: float,
    end_s: float,
    asked: Threshold,
    alpha: float,
) -> tuple[SloCall, str | None, float | None, int, int]:
    """Look at every stretch, a quarter of its length on each time; give what the worst one holds.

    A burst is not noise here but what is looked for, so the requests of a stretch count as
    independent.
    """
    assert asked.window_s is not None
    last_s = end_s - asked.window_s
    starts_s = np.arange(start_s, last_s + 1e-9, asked.window_s / _STEPS_A_WINDOW)
    if starts_s.size == 0:
        return "refused", "What was measured is shorter than it.", None, len(at_s), 0
    order = np.argsort(at_s)
    ends = np.searchsorted(at_s[order], np.stack([starts_s, starts_s + asked.window_s]))
    requests = ends[1] - ends[0]
    before = np.concatenate([[0], np.cumsum(missed[order])])
    misses = before[ends[1]] - before[ends[0]]
    p_values = binom.sf(misses - 1, requests, asked.allowed)
    worst = int(np.lexsort((-misses / np.maximum(requests, 1), p_values))[0])
    too_many = int((misses > asked.allowed * requests).sum())
    call: SloCall = "met" if too_many == 0 else "undecided"
    reason = None
    if p_values[worst] < alpha / starts_s.size:
        call = "broken"
    elif too_many:
        reason = (
            f"More than {share(asked.allowed)} missed in {count(too_many)} of "
            f"{counted(starts_s.size, 'stretch', 'stretches')}, but by no more than chance gives "
            "where the limit is kept."
        )
    return call, reason, float(starts_s[worst]), int(requests[worst]), int(misses[worst])


def _lost(run: Run, asked: Threshold) -> str | None:
    """Say why the run was stopped before its end, where it was for this limit."""
    lost = run.manifest.get("slo_lost")
    if lost is None or [asked.arm, asked.phase, asked.metric, asked.window_s] != lost:
        return None
    return str(run.manifest.get("reason"))


def _quantile(latency_ms: Floats, quantile: float) -> float | None:
    value = float(np.quantile(latency_ms, quantile, method="inverted_cdf"))
    return value if np.isfinite(value) else None


def _span_s(run: Run, phase: str | None) -> tuple[float, float]:
    for each in run.plan.traffic.phases:
        if each.name == phase:
            return each.start_s, min(each.end_s, run.end_s)
    return run.start_s, run.end_s
