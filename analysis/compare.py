"""Which arm is faster, by how much, and how sure: the comparison of the arms of one run."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from analysis.answers import compare_answers
from analysis.differences import unknown, with_rates, with_ratio
from analysis.error_rates import ErrorRates, error_rate_difference
from analysis.looks import settled
from analysis.noise import MEMORY_S, Refusal, Signs, assumption, draw_signs
from analysis.paired import band_of, conflict, smoothed_ratio
from analysis.read import Run
from analysis.results import (
    SCHEMA_VERSION,
    Answers,
    Difference,
    Estimate,
    Measure,
    Report,
    ShiftPoint,
    Smoothed,
)
from analysis.samples import (
    Pairs,
    failures,
    latencies,
    latency_rows,
    measures_of,
    outcome_rows,
    pairs,
)
from analysis.slo import judge_slo
from analysis.summary import arm_summary, cannot_tell, error_kinds, run_info
from analysis.swap import Swap, shift
from analysis.validity import check_run, memory_check
from analysis.verdict import classify, holm, judge
from experiments.errors import PlanError
from experiments.plan import quantile_of

LATENCY_METRICS = ("p50", "p90", "p95", "p99", "p99.9", "mean")
SHIFT_QUANTILES = (
    *(round(0.05 * step, 2) for step in range(1, 20)),
    0.98,
    0.99,
    0.995,
    0.999,
)
_SEED = 20_260_101
"""Of the sign flips: fixed, so that the same records always give the same verdict."""

METHOD = (
    "Requests close in time share their luck, so the unit is the time window: the measured phase "
    "is cut into 60 windows by scheduled time, and each window scores how far the arms differ.",
    "A p-value is the share of 10,000 random swaps of the arms' names, window by window, that give "
    "a sum of scores as large as the one seen, after inflating for autocorrelation; the larger of "
    "the p-values at 60 and at 20 windows counts, and on runs shorter than 60 times what noise "
    "lasts that of an equal-weighted-cosine test too. Where noise leaves fewer than five "
    "independent windows, Student's t with so few degrees of freedom stands in for the swaps.",
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
                "arm": item.arm,
                "metric": item.metric,
                "measure": item.measure,
                "unit": item.unit,
                "baseline": item.baseline_value,
                "value": item.arm_value,
            }
            if item.baseline_value is not None and item.arm_value is not None:
                row["difference"] = item.arm_value - item.baseline_value
            row["ratio"] = item.ratio.value if item.ratio else None
            for name, estimate in (("difference", item.difference), ("ratio", item.ratio)):
                row[f"{name}_low"] = estimate.interval.low if estimate else None
                row[f"{name}_high"] = estimate.interval.high if estimate else None
            smoothed = item.smoothed.ratio if item.smoothed else None
            row["smoothed"] = smoothed.value if smoothed else None
            row["smoothed_low"] = smoothed.interval.low if smoothed else None
            row["smoothed_high"] = smoothed.interval.high if smoothed else None
            rows.append({**row, "p_value": item.p_value, "call": item.call, "reason": item.reason})
        return pd.DataFrame(rows)

    def _repr_html_(self) -> str:
        # Drawing loads matplotlib, which a verdict does without.
        from analysis.render import html

        return html.render(self.report)


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
    memory_s = run.plan.comparison.memory or MEMORY_S
    found = _of_arms(run, rows)
    differences = [_classified(item, run.end_s - run.start_s) for item in holm(found.differences)]
    answers = _answers(run, rows)
    checks = (*check_run(run), memory_check(run, found.warnings, memory_s))
    report = Report(
        schema_version=SCHEMA_VERSION,
        question="compare",
        run=run_info(run, rows),
        verdict=judge(differences, checks, answers),
        checks=checks,
        arms=tuple(arm_summary(run, rows, arm) for arm in run.plan.arms),
        differences=tuple(differences),
        shifts=found.shifts,
        slo=judge_slo(run, rows),
        answers=answers,
        errors=error_kinds(rows),
        method=(
            *METHOD,
            *([OF_PAIRS] if any(item.smoothed for item in differences) else []),
            f"{assumption(memory_s).capitalize()}.",
        ),
        cannot_tell=(ANOTHER_DEPLOYMENT, *cannot_tell(run)),
    )
    return Comparison(report=settled(run, report))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    differences: tuple[Difference, ...]
    shifts: tuple[ShiftPoint, ...] = ()
    warnings: tuple[str, ...] = ()


def _of_arms(run: Run, rows: pd.DataFrame) -> _Found:
    signs = draw_signs(np.random.default_rng(_SEED))
    known, sent = latency_rows(rows), outcome_rows(rows)
    found = []
    for arm in run.plan.arms:
        if arm != run.plan.comparison.baseline:
            found += [_of_latency(run, known, arm, measure, signs) for measure in measures_of(run)]
            found.append(_Found(differences=tuple(_of_errors(run, sent, arm, signs))))
    return _Found(
        differences=tuple(item for each in found for item in each.differences),
        shifts=tuple(point for each in found for point in each.shifts),
        warnings=tuple(said for each in found for said in each.warnings),
    )


def _of_latency(run: Run, known: pd.DataFrame, arm: str, measure: Measure, signs: Signs) -> _Found:
    """Compare one measure of latency; only the first of a run's measures is guarded."""
    asked = run.plan.comparison
    memory_s = asked.memory or MEMORY_S
    is_judged = measure == measures_of(run)[0]
    is_paired = is_judged and run.plan.traffic.routing == "paired"
    timed = latencies(run, known, asked.baseline, arm, measure)
    paired = pairs(run, known, asked.baseline, arm, measure) if is_paired else None
    guarded = asked.margins if is_judged else {}
    differences: list[Difference] = []
    warnings: list[str] = []
    for metric in dict.fromkeys((*LATENCY_METRICS, *guarded)):
        if metric == "error_rate":
            continue
        found = timed.ratio(metric, signs, memory_s)
        item = with_ratio(unknown(run.plan, arm, metric, measure, guarded.get(metric)), found)
        if isinstance(found, Swap):
            if metric in guarded:
                warnings += [said for said in (found.noise.label, found.noise.warning) if said]
            if paired:
                smoothed = _smoothed(paired, metric, found.ratio, signs, memory_s)
                item = replace(item, smoothed=smoothed)
        differences.append(item)
    seen = [q for q in SHIFT_QUANTILES if is_judged and timed.hidden(q) is None]
    return _Found(
        differences=tuple(differences),
        shifts=shift(timed.sample, seen, arm=arm, signs=signs, memory_s=memory_s),
        warnings=tuple(warnings),
    )


def _smoothed(
    paired: Pairs, metric: str, raw: Estimate, signs: Signs, memory_s: float
) -> Smoothed | None:
    quantile = quantile_of(metric)
    if quantile is None or quantile < 0.5:
        return None
    band = band_of(quantile)
    sample = paired.latencies.sample
    if paired.latencies.hidden(band[1]):
        return None
    found = smoothed_ratio(sample, quantile, signs=signs, memory_s=memory_s)
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


def _of_errors(run: Run, sent: pd.DataFrame, arm: str, signs: Signs) -> Iterator[Difference]:
    """Compare the rates of all failures, and of each kind that there was."""
    baseline = run.plan.comparison.baseline
    memory_s = run.plan.comparison.memory or MEMORY_S
    failed = sent[sent["outcome"] != "ok"]
    either = failed[failed["arm"].isin([baseline, arm]) | failed["arm"].isna()]
    for kind in (None, *either["outcome"].astype(str).value_counts().index):
        sample = failures(run, sent, baseline, arm, kind)
        found = error_rate_difference(sample, signs=signs, memory_s=memory_s)
        of_kind = either if kind is None else either[either["outcome"] == kind]
        if unnamed := int(of_kind["arm"].isna().sum()):
            # They may be either arm's; rates that leave them out would be too low.
            found = ErrorRates(
                failed=unnamed,
                reason=f"{unnamed} failed requests do not name the variant that they met.",
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
