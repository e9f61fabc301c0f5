"""A comparison that is looked at while it runs: when it is decided, and what its report then says.

What is judged at a look are the requests scheduled before it, once all of them have a record, so
that the finished records give the same verdict again.
"""

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from analysis.differences import unknown
from analysis.error_rates import error_rate_difference
from analysis.noise import Refusal, measure_noise, memory_of, precision
from analysis.read import Run, read_run
from analysis.render import format as fmt
from analysis.results.comparison import Difference
from analysis.results.report import Report
from analysis.results.values import Estimate, Interval
from analysis.samples import Latencies, measure_of, measured
from analysis.sequential import (
    ALPHA,
    BOUNDS,
    LOOKS,
    Moment,
    e_interval,
    last_look,
    level_of,
    log_e_value,
    moments,
    t_interval,
    t_p_value,
    t_p_value_of,
    window_s,
)
from analysis.swap import SwapTest, score_of, swap_test
from analysis.verdict import classify, judge
from analysis.windows import WINDOWS, Rates, differences
from experiments.plan import Plan
from experiments.run_folder import RunFolder
from experiments.units import quantile_of

METHOD = (
    "Requests close in time share their luck, so the unit is the time window: what was measured is "
    "cut into 60 windows by scheduled time, and each window scores how far the arms differ.",
    "The run was looked at while it went on, to be stopped when decided. The sum of the scores is "
    "held against how much it varies over 60 and over 20 windows, inflated for autocorrelation, "
    "and over slow cosines where that is shorter than 60 times as long as noise lasts: a t-test "
    "each, of which the least sure counts.",
    "The bounds of five looks at equal parts of the planned time are z = 4.877, 3.357, 2.680, "
    "2.290 and 2.031 (O'Brien-Fleming), so that looking adds no false alarms.",
    "Intervals are repeated confidence intervals: at the bound of the last look taken, they hold "
    "for all five looks together. Those of guarded metrics hold for all of these too (Bonferroni).",
    "Error rates have Newcombe's interval, widened for bursts and for the looks, and differ where "
    "such a t-test finds that too.",
    "Beside the looks a guardrail stops the run where an always-valid test, asked after each full "
    "window, finds an arm worse at 5 %; such a metric's interval is that of this test.",
    "The band of the shift function is that of a single look at 95 %, and too narrow after more.",
)

_COLUMNS = (
    "seq", "group", "phase", "arm", "scheduled_ns", "started_ns", "ended_ns", "outcome",
)  # fmt: skip
_NO_SIGNS = np.ones((1, WINDOWS))
"""A look does without sign flips: 10,000 cannot be as rare as an early one asks for, and their
matrix product would take every core from the generator."""


class Watch:
    """Judges a run while it goes on; to be called each second, with the seconds since its start."""

    def __init__(self, plan: Plan) -> None:
        self._due = deque(moments(plan))

    def __call__(self, folder: RunFolder, elapsed_s: float) -> Mapping[str, Any] | None:
        """Take the look that is due, if any, and give what the timeline is to keep of it.

        `said` is for the user, and `decided` whether the run is to stop.

        Raises:
            RunFolderError: the records cannot be read.
        """
        if not self._due or elapsed_s < self._due[0].at_s:
            return None
        run = read_run(folder.path, _COLUMNS)
        if not _has_all_before(run, self._due[0].at_s):
            return None
        moment = self._due.popleft()
        return _said(run, moment, look(run, moment))


def planned_looks(plan: Plan) -> str:
    """Say when a plan's looks are, and before which moment none decides."""
    at_s = [plan.traffic.measured_s * (number + 1) / LOOKS for number in range(LOOKS)]
    first_s = 6 * memory_of(plan)
    return (
        f"after {fmt.joined([f'{each:g} s' for each in at_s])} measured; none decides before "
        f"{first_s:g} s, six times as long as noise is taken to last"
    )


def look(run: Run, moment: Moment) -> list[Difference]:
    """Judge the guarded metrics by what was scheduled before a moment, with its test."""
    judged = _Judged(_up_to(run, moment.at_s))
    asked = _guarded(run.plan)
    if moment.look is not None:
        return [judged.at_look(item, moment.look) for item in asked]
    return [judged.by_guardrail(item, moment.windows) for item in asked if item.unit == "ms"]


def settled(run: Run, report: Report) -> Report:
    """Give the report of a run that was looked at by the tests of the looks; others as they are."""
    if not run.manifest.get("until_decided") or report.question != "compare":
        return report
    judged, decided = _Judged(run), run.decided
    number = last_look(run.end_s - run.start_s, run.plan.traffic.measured_s)
    windows = decided["windows"] if decided else 0
    found = []
    for item in report.differences:
        chosen = judged.at_look(item, number)
        if windows and item.unit == "ms" and item.margin is not None:
            guarded = judged.by_guardrail(item, windows)
            chosen = guarded if guarded.call == "worse" else chosen
        found.append(chosen)
    verdict = judge(found, report.checks, report.answers)
    if verdict.state != "untrusted":
        context = (
            decided["said"] if decided else "No look before the end decided.",
            f"{'All else is judged' if windows else 'Judged'} at the bound of look {number} "
            f"of {LOOKS}, z = {BOUNDS[number - 1]:.3f}: the intervals hold for all looks together.",
        )
        verdict = replace(verdict, context=(*verdict.context, *context))
    return replace(report, verdict=verdict, differences=tuple(found), method=METHOD)


class _Judged:
    """The metrics of one run up to its end, each of which can be called by either test."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._taken = measured(run, run.measured)
        self._memory_s = memory_of(run.plan)
        self._comparisons = len(_guarded(run.plan))
        self._samples: dict[tuple[str, str, float], Latencies] = {}

    def at_look(self, item: Difference, number: int) -> Difference:
        """Call a metric at the bound of a look."""
        level = level_of(number)
        # One of several must not differ by chance. That all are alike needs no correction.
        own = level if item.margin is None else level / self._comparisons
        if item.unit == "share":
            return self._errors_at(item, level, own)
        test = self._test(item)
        if isinstance(test, Refusal):
            return _refused(item, test)
        estimate = Estimate(
            value=math.exp(test.log_ratio),
            interval=t_interval(test, own),
            interval_90=t_interval(test, level),
        )
        return self._called(item, t_p_value(test), ALPHA / own, **_found(test, estimate))

    def by_guardrail(self, item: Difference, windows: int) -> Difference:
        """Call a guarded latency metric by the e-process of so many windows."""
        test = self._test(item)
        if isinstance(test, Refusal):
            return _refused(item, test)
        alpha = ALPHA / self._comparisons
        quantile = quantile_of(item.metric)
        # As if the run went on until all windows were full, so that each has its full length.
        end_s = self._run.start_s + WINDOWS * window_s(self._run.plan)
        sample = self._latencies(item, end_s).sample
        interval = e_interval(
            sample, quantile, windows=windows, log_ratio=test.log_ratio, alpha=alpha
        )
        estimate = Estimate(value=math.exp(test.log_ratio), interval=interval, interval_90=interval)
        evidence = log_e_value(score_of(sample, quantile)(0.0)[:windows], alpha)
        p_value = math.exp(-max(evidence, 0))
        return self._called(item, p_value, self._comparisons, **_found(test, estimate))

    def _called(self, item: Difference, p: float | None, times: float, **found: Any) -> Difference:
        corrected = None if p is None or item.margin is None else min(1.0, p * times)
        found = {"call": "undecided", "p_value": p, "p_value_holm": corrected, **found}
        item = replace(item, **found)
        call, reason = classify(item, self._run.end_s - self._run.start_s)
        return replace(item, call=call, reason=reason)

    def _errors_at(self, item: Difference, level: float, own: float) -> Difference:
        kind = item.metric.partition(".")[2] or None
        sample = self._taken.failures(item.baseline, item.arm, kind)
        found = error_rate_difference(sample, signs=_NO_SIGNS, memory_s=self._memory_s)
        rows = self._taken.rows
        is_failed = ~rows["outcome"].isin(["ok", "dropped"])
        if kind is not None:
            is_failed = rows["outcome"] == kind
        if found.difference is None or rows.loc[is_failed, "arm"].isna().any():
            return replace(item, call="refused", difference=None)
        value, usual = found.difference.value, found.difference.interval
        p = None if found.p_value is None else self._p_value_of(sample)
        estimate = Estimate(
            value=value,
            interval=_widened(value, usual, own),
            interval_90=_widened(value, usual, level),
        )
        known = {"difference": estimate, "precision": "enough", "reason": found.reason}
        return self._called(item, p, ALPHA / own, **known)

    def _p_value_of(self, sample: Rates) -> float:
        arms = sample.baseline.counts, sample.baseline.sums, sample.arm.counts, sample.arm.sums
        score = differences(*arms)
        noise = measure_noise(
            score, arms[0], arms[2], span_s=sample.span_s, memory_s=self._memory_s, independent=1.0
        )
        assert not isinstance(noise, Refusal)  # or the error rates had no p-value of their own
        return t_p_value_of(float(score.sum()), noise)

    def _test(self, item: Difference) -> SwapTest | Refusal:
        timed, quantile = self._latencies(item, self._run.end_s), quantile_of(item.metric)
        return timed.hidden(quantile) or swap_test(
            timed.sample, quantile, signs=_NO_SIGNS, memory_s=self._memory_s
        )

    def _latencies(self, item: Difference, end_s: float) -> Latencies:
        key = item.arm, item.measure, end_s
        if key not in self._samples:
            taken = measured(_up_to(self._run, end_s), self._taken.rows)
            self._samples[key] = taken.latencies(item.baseline, item.arm, item.measure)
        return self._samples[key]


def _has_all_before(run: Run, at_s: float) -> bool:
    """Whether every request scheduled before a moment has a record."""
    is_later = (run.requests["scheduled_ms"] >= at_s * 1e3).to_numpy()
    first = int(is_later.argmax())
    return bool(is_later.any()) and int(run.requests["seq"].iloc[first]) == first


def _said(run: Run, moment: Moment, found: list[Difference]) -> Mapping[str, Any] | None:
    worse = [item.arm for item in found if item.call == "worse"]
    after = fmt.duration(moment.at_s - run.start_s)
    event = {"at_s": moment.at_s, "look": moment.look, "windows": moment.windows}
    if moment.look is None:
        said = f"Stopped by the guardrail at {after}: {''.join(worse[:1])} is worse beyond doubt."
        return {"kind": "guardrail", "decided": True, "said": said, **event} if worse else None
    decided = bool(worse) or all(item.call in ("better", "same") for item in found)
    return {
        "kind": "look",
        "decided": decided,
        "said": f"Decided at look {moment.look} of {LOOKS}, at {after}."
        if decided
        else f"Look {moment.look} of {LOOKS} at {after}: not decided yet.",
        "bound": BOUNDS[moment.look - 1],
        "calls": [[item.arm, item.metric, item.call] for item in found],
        **event,
    }


def _up_to(run: Run, end_s: float) -> Run:
    return replace(run, manifest={**run.manifest, "decided": {"at_s": end_s}})


def _guarded(plan: Plan) -> list[Difference]:
    """Give the guarded metrics of every arm, of which nothing is known yet."""
    return [
        unknown(plan, arm, metric, measure_of(plan, metric), margin)
        for arm in plan.arms
        if arm != plan.comparison.baseline
        for metric, margin in plan.comparison.guarded.items()
    ]


def _refused(item: Difference, refusal: Refusal) -> Difference:
    return replace(
        item, ratio=None, call="refused", precision="refused", reason=refusal.reason, p_value=None,
        p_value_holm=None, smoothed=None,
    )  # fmt: skip


def _found(test: SwapTest, estimate: Estimate) -> dict[str, Any]:
    tail = test.tail_requests
    found = {"ratio": estimate, "tail_requests": tail, "precision": precision(tail)}
    return {**found, "reason": None, "smoothed": None}


def _widened(value: float, usual: Interval, level: float) -> Interval:
    """Widen a 95 % interval of a difference of shares to another level.

    By the ratio of the logarithms: right for bounds where nothing failed, which go with the
    logarithm of the level, and more than enough where many did and they go with its root.
    """
    assert usual.low is not None
    assert usual.high is not None
    times = math.log(level / 2) / math.log(ALPHA / 2)
    return Interval(
        low=max(value - times * (value - usual.low), -1.0),
        high=min(value + times * (usual.high - value), 1.0),
        level=usual.level,
    )
