"""Which arm is faster, by how much, and how sure: the comparison of the arms of one run."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from html import escape
from typing import Literal

import numpy as np
import pandas as pd

from analysis.answers import compare_answers
from analysis.differences import unknown, with_rates, with_ratio
from analysis.error_rates import ErrorRates, error_rate_difference
from analysis.looks import settled
from analysis.noise import Refusal, Signs, assumption, draw_signs, memory_of
from analysis.over_time import over_time, who_answered
from analysis.paired import Ramps, band_of, conflict, ramps_of, smoothed_test
from analysis.read import Run
from analysis.reconcile import cloudwatch_of
from analysis.render.format import counted
from analysis.results.comparison import Answers, Difference, ShiftPoint, Smoothed
from analysis.results.report import SCHEMA_VERSION, Report, Verdict
from analysis.results.run import Check, SloResult
from analysis.results.values import Estimate, Measure
from analysis.samples import Measured, Pairs, measure_of, measured, measures_of, nothing_of
from analysis.slo import judge_slo
from analysis.stopped import stopped
from analysis.summary import arm_summary, cannot_tell, error_kinds, run_info, with_cost
from analysis.swap import Swap, shift, with_intervals
from analysis.validity import check_run, memory_check
from analysis.verdict import classify, holm, judge
from experiments.errors import PlanError
from experiments.plan import Plan
from experiments.units import OF_FIRST_BYTE, quantile_of

LATENCY_METRICS = ("p50", "p90", "p95", "p99", "p99.9", "mean")
SHIFT_QUANTILES = (*(round(0.05 * step, 2) for step in range(1, 20)), 0.98, 0.99, 0.995, 0.999)
_SEED = 20_260_101
"""Of the sign flips: fixed, so that the same records always give the same verdict."""

METHOD = (
    "Requests close in time share their luck, so the unit is the time window. The arms differ "
    "where swapping their names at random, window by window, seldom gives as large a difference. "
    "An interval holds every change that this test does not reject. Where several metrics are "
    "guarded, a p-value counts for less, so that more of them give no more false alarms.",
    "The measured phase is cut into 60 windows by scheduled time, and each window scores how far "
    "the arms differ. A p-value is the share of 10,000 random swaps of the arms' names, window by "
    "window, that give a sum of scores as large as the one seen, after inflating for "
    "autocorrelation; the larger of the p-values at 60 and at 20 windows counts, and on runs "
    "shorter than 60 times what noise lasts that of an equal-weighted-cosine test too. Where noise "
    "leaves fewer than five independent windows, Student's t with so few degrees of freedom stands "
    "in for the swaps.",
    "An interval holds every ratio that this test does not reject at its level; a side on which "
    "it rejects none is unbounded.",
    "A request that timed out lasted at least as long as it was waited for: a percentile that "
    "reaches one, and the mean, are then not given. Other failures count as errors only.",
    "Error rates take the larger p-value of an exact conditional test and the same swap test; "
    "their interval is Newcombe's, widened for bursts. Guarded metrics are corrected by Holm.",
)
OF_PAIRS = (
    "A percentile smoothed over its neighbours uses how far apart the answers to one payload are, "
    "and so its interval is narrower; it estimates nearly, not exactly, the same. The percentile "
    "itself decides."
)
OF_STREAMS = (
    "TTFB, the time to the first byte, ends when the first part of a streamed answer is read, and "
    "begins where the time of the whole does. One that timed out before its first part counts as "
    "longer than any."
)
ANOTHER_DEPLOYMENT = (
    "Whether another deployment of the same models would give the same: this is one deployment of "
    "each."
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Comparison:
    """The judged run. In a notebook it shows itself as its report."""

    report: Report = field(repr=False)

    def __str__(self) -> str:
        return self.report.verdict.sentence

    def to_frame(self) -> pd.DataFrame:
        """Give the differences as a table, a row for each arm, metric and measure."""
        rows = []
        for item in self.report.differences:
            row: dict[str, object] = {
                **{name: getattr(item, name) for name in ("arm", "metric", "measure", "unit")},
                "baseline": item.baseline_value,
                "value": item.arm_value,
                **dict.fromkeys(("difference", "ratio")),
            }
            smoothed = item.smoothed and item.smoothed.ratio
            shown = {"difference": item.difference, "ratio": item.ratio, "smoothed": smoothed}
            for name, estimate in shown.items():
                row[name] = estimate.value if estimate else None
                row[f"{name}_low"] = estimate.interval.low if estimate else None
                row[f"{name}_high"] = estimate.interval.high if estimate else None
            if item.baseline_value is not None and item.arm_value is not None:
                row["difference"] = item.arm_value - item.baseline_value
            rows.append({**row, "p_value": item.p_value, "call": item.call, "reason": item.reason})
        return pd.DataFrame(rows)

    def _repr_html_(self) -> str:
        # Drawing loads matplotlib, which a verdict does without.
        from analysis.render import html

        # In a frame, since the page's styles would change the notebook's.
        page = escape(html.render(self.report))
        return (
            f'<iframe srcdoc="{page}" title="Report of run {escape(self.report.run.id)}" '
            'style="width: 100%; height: 48rem; border: 0"></iframe>'
        )


def compare(run: Run) -> Comparison:
    """Compare every arm of a run with its baseline.

    Raises:
        PlanError: the run's plan compares nothing.
    """
    if run.plan.compare is None:
        raise PlanError(
            f"{run.path}: its plan compares nothing: it has no [compare].",
            f"Judge it by its own question: analysis.judge(run), or abreast report {run.path}",
        )
    rows = run.measured
    found = _of_arms(run, rows)
    differences = [_classified(item, run.end_s - run.start_s) for item in holm(found.differences)]
    answers = _answers(run, rows)
    checks = (*check_run(run), memory_check(run, found.warnings))
    verdict = judge(differences, checks, answers)
    method = (*METHOD, OF_PAIRS) if any(item.smoothed for item in differences) else METHOD
    report = replace(
        report_of_run(run, rows, "compare", verdict, checks, judge_slo(run, rows), method),
        differences=tuple(differences),
        shifts=found.shifts,
        answers=answers,
        cannot_tell=(ANOTHER_DEPLOYMENT, *cannot_tell(run)),
    )
    return Comparison(report=stopped(run, settled(run, report)))


def report_of_run(
    run: Run,
    rows: pd.DataFrame,
    question: Literal["compare", "load"],
    verdict: Verdict,
    checks: tuple[Check, ...],
    slo: tuple[SloResult, ...],
    method: tuple[str, ...],
) -> Report:
    """Put together what the report of one run holds, whatever was asked; the rest is left empty."""
    return Report(
        schema_version=SCHEMA_VERSION,
        question=question,
        run=run_info(run, rows),
        verdict=verdict,
        checks=checks,
        arms=tuple(with_cost(run, arm_summary(run, rows, arm)) for arm in run.plan.arms),
        differences=(),
        shifts=(),
        slo=slo,
        answers=None,
        errors=error_kinds(rows),
        method=(
            *method,
            *([OF_STREAMS] if run.plan.is_streamed else []),
            f"{assumption(memory_of(run.plan)).capitalize()}.",
        ),
        cannot_tell=(),
        over_time=over_time(run),
        who_answered=who_answered(run, rows),
        cloudwatch=cloudwatch_of(run),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    differences: tuple[Difference, ...]
    shifts: tuple[ShiftPoint, ...] = ()
    warnings: tuple[str, ...] = ()


def _of_arms(run: Run, rows: pd.DataFrame) -> _Found:
    signs = draw_signs(np.random.default_rng(_SEED))
    taken = measured(run, rows)
    found = []
    for arm in run.plan.arms:
        if arm != run.plan.comparison.baseline:
            found += [_of_latency(taken, arm, measure, signs) for measure in measures_of(run)]
            found.append(_Found(differences=tuple(_of_errors(taken, arm, signs))))
    return _Found(
        differences=tuple(item for each in found for item in each.differences),
        shifts=tuple(point for each in found for point in each.shifts),
        warnings=tuple(said for each in found for said in each.warnings),
    )


def _of_latency(taken: Measured, arm: str, measure: Measure, signs: Signs) -> _Found:
    """Compare one measure of latency; service time that stands beside others is not guarded."""
    run, asked = taken.run, taken.run.plan.comparison
    memory_s = memory_of(run.plan)
    is_first = measure == measures_of(run)[0]
    is_judged = is_first or measure == "first_byte"
    is_paired = is_judged and run.plan.traffic.routing == "paired"
    timed = taken.latencies(asked.baseline, arm, measure)
    paired = taken.pairs(asked.baseline, arm, measure) if is_paired else None
    ramps = ramps_of(paired.latencies.sample) if paired else None
    differences: list[Difference] = []
    warnings: list[str] = []
    for metric, margin in metrics_of(run.plan, measure, asked.margins).items():
        found = timed.ratio(metric, signs, memory_s)
        item = with_ratio(unknown(run.plan, arm, metric, measure, margin), found)
        if isinstance(found, Swap):
            if margin is not None:
                warnings += [said for said in (found.noise.label, found.noise.warning) if said]
            if paired and ramps:
                smoothed = _smoothed(paired, ramps, metric, found.ratio, signs, memory_s)
                item = replace(item, smoothed=smoothed)
        differences.append(item)
    seen = [q for q in SHIFT_QUANTILES if is_first and timed.hidden(q) is None]
    return _Found(
        differences=tuple(differences),
        shifts=shift(timed.sample, seen, arm=arm, signs=signs, memory_s=memory_s),
        warnings=tuple(warnings),
    )


def metrics_of(
    plan: Plan, measure: Measure, margins: Mapping[str, float]
) -> dict[str, float | None]:
    """List the metrics of one latency that are shown and guarded, with their margins."""
    prefix = OF_FIRST_BYTE if measure == "first_byte" else ""
    shown: dict[str, float | None] = {f"{prefix}{metric}": None for metric in LATENCY_METRICS}
    return shown | {m: margin for m, margin in margins.items() if measure_of(plan, m) == measure}


def _smoothed(
    paired: Pairs, ramps: Ramps, metric: str, raw: Estimate, signs: Signs, memory_s: float
) -> Smoothed | None:
    quantile = quantile_of(metric)
    if quantile is None or quantile < 0.5:
        return None
    band = band_of(quantile)
    sample = paired.latencies.sample
    if paired.latencies.hidden(band[1]):
        return None
    found = with_intervals(smoothed_test(ramps, quantile, signs=signs, memory_s=memory_s))
    if isinstance(found, Refusal):
        return None
    return Smoothed(
        ratio=found.ratio,
        band=band,
        pairs=sample.smaller,
        incomplete_pairs=paired.incomplete,
        conflict=conflict(raw, found.ratio),
    )


def _classified(item: Difference, measured_s: float) -> Difference:
    call, reason = classify(item, measured_s)
    return replace(item, call=call, reason=reason)


def _of_errors(taken: Measured, arm: str, signs: Signs) -> Iterator[Difference]:
    """Compare the rates of all failures, and of each kind that there was."""
    run, rows = taken.run, taken.rows
    baseline = run.plan.comparison.baseline
    memory_s = memory_of(run.plan)
    failed = rows.loc[~rows["outcome"].isin(["ok", "dropped"]), ["arm", "outcome"]]
    either = failed[failed["arm"].isin([baseline, arm]) | failed["arm"].isna()]
    kinds = list(either["outcome"].astype(str).value_counts().index)
    for kind in (None, *kinds):
        if kind is None or len(kinds) > 1:  # where there is one kind, its rate is that of all
            sample = taken.failures(baseline, arm, kind)
            found = error_rate_difference(sample, signs=signs, memory_s=memory_s)
            found = replace(found, reason=nothing_of(sample, (baseline, arm)) or found.reason)
        of_kind = either if kind is None else either[either["outcome"] == kind]
        if unnamed := int(of_kind["arm"].isna().sum()):
            # They may be either arm's; rates that leave them out would be too low.
            found = ErrorRates(
                failed=unnamed,
                reason=f"{counted(unnamed, 'failed request')} did not name the variant met.",
            )
        metric = "error_rate" if kind is None else f"error_rate.{kind}"
        margin = run.plan.comparison.guarded["error_rate"] if kind is None else None
        yield with_rates(unknown(run.plan, arm, metric, "outcome", margin), found)


def _answers(run: Run, rows: pd.DataFrame) -> Answers | None:
    wanted = run.plan.answers
    # A locustfile's own body that is none of the payloads has no number, and so no vote.
    given = (rows["outcome"] == "ok") & (rows["payload"] >= 0)
    if wanted is None or not given.any():
        return None
    return compare_answers(
        rows.loc[given, ["payload", "arm", "prediction"]],
        run.labels,
        baseline=run.plan.comparison.baseline,
        arms=tuple(run.plan.arms),
        tolerance=wanted.tolerance,
    )
