"""Which arm is faster, by how much, and how sure: the comparison of the arms of one run."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from analysis.answers import compare_answers
from analysis.error_rates import ErrorRates, error_rate_difference
from analysis.noise import Refusal, Signs, draw_signs, precision
from analysis.read import Run
from analysis.results import (
    SCHEMA_VERSION,
    Answers,
    Difference,
    Measure,
    Report,
    ShiftPoint,
)
from analysis.slo import judge_slo
from analysis.summary import arm_summary, cannot_tell, error_kinds, run_info
from analysis.swap import Swap, mean_ratio, quantile_ratio, shift
from analysis.validity import check_run, memory_check
from analysis.verdict import classify, holm, judge
from analysis.windows import Sample, windowed
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
    "the p-values at 60 and at 20 windows counts, and on runs under 600 s that of an "
    "equal-weighted-cosine test too.",
    "An interval holds every ratio that this test does not reject at its level; a side on which "
    "it rejects none is unbounded.",
    "Error rates take the larger p-value of an exact conditional test and the same swap test; "
    "their interval is Newcombe's, widened for bursts. Guarded metrics are corrected by Holm.",
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
    signs = draw_signs(np.random.default_rng(_SEED))
    baseline = run.plan.comparison.baseline
    others = [arm for arm in run.plan.arms if arm != baseline]
    is_closed = run.plan.traffic.is_closed
    measures: tuple[Measure, ...] = ("service",) if is_closed else ("response", "service")
    differences: list[Difference] = []
    shifts: list[ShiftPoint] = []
    warnings: list[str] = []
    for arm in others:
        for measure in measures:
            sample = _sample(run, rows, baseline, arm, measure)
            guarded = run.plan.comparison.guarded if measure == measures[0] else {}
            for metric in dict.fromkeys((*LATENCY_METRICS, *_latency_metrics(guarded))):
                found = _latency(sample, metric, signs)
                if isinstance(found, Swap) and metric in guarded:
                    warnings += [w for w in (found.noise.label, found.noise.warning) if w]
                differences.append(
                    _latency_difference(run, arm, metric, measure, found, guarded.get(metric))
                )
            if measure == measures[0]:
                shifts += shift(sample, SHIFT_QUANTILES, arm=arm, signs=signs)
        differences.append(_error_difference(run, rows, arm, signs))
    differences = [_classified(item, run.end_s - run.start_s) for item in holm(differences)]
    answers = _answers(run, rows)
    checks = (*check_run(run), memory_check(run, warnings))
    report = Report(
        schema_version=SCHEMA_VERSION,
        question="compare",
        run=run_info(run, rows),
        verdict=judge(differences, checks, answers),
        checks=checks,
        arms=tuple(arm_summary(run, rows, arm) for arm in run.plan.arms),
        differences=tuple(differences),
        shifts=tuple(shifts),
        slo=judge_slo(run, rows),
        answers=answers,
        errors=error_kinds(rows),
        method=METHOD,
        cannot_tell=(ANOTHER_DEPLOYMENT, *cannot_tell(run)),
    )
    return Comparison(report=report)


def _latency_metrics(margins: Mapping[str, float]) -> list[str]:
    return [metric for metric in margins if metric != "error_rate"]


def _sample(run: Run, rows: pd.DataFrame, baseline: str, arm: str, measure: str) -> Sample:
    ok = rows[rows["outcome"] == "ok"]
    # Both requests of a pair belong to one window, that of the pair's first.
    at_s = _decisive_time_s(ok)
    of_baseline, of_arm = ok["arm"] == baseline, ok["arm"] == arm
    values = ok[f"{measure}_ms"]
    return windowed(
        values[of_baseline].to_numpy(),
        at_s[of_baseline].to_numpy(),
        values[of_arm].to_numpy(),
        at_s[of_arm].to_numpy(),
        start_s=run.start_s,
        end_s=run.end_s,
    )


def _decisive_time_s(rows: pd.DataFrame) -> "pd.Series[float]":
    own: pd.Series[float] = rows["scheduled_ms"] / 1e3
    if rows["group"].isna().all():
        return own
    first = rows.groupby("group")["scheduled_ms"].transform("min") / 1e3
    return first.fillna(own)


def _latency(sample: Sample, metric: str, signs: Signs) -> Swap | Refusal:
    quantile = quantile_of(metric)
    if quantile is None:
        return mean_ratio(sample, signs=signs)
    return quantile_ratio(sample, quantile, signs=signs)


def _latency_difference(
    run: Run,
    arm: str,
    metric: str,
    measure: Measure,
    found: Swap | Refusal,
    margin: float | None,
) -> Difference:
    swap = found if isinstance(found, Swap) else None
    return Difference(
        arm=arm,
        baseline=run.plan.comparison.baseline,
        metric=metric,
        measure=measure,
        unit="ms",
        baseline_value=found.baseline_value,
        arm_value=found.arm_value,
        ratio=swap.ratio if swap else None,
        difference=None,
        margin=margin,
        tail_requests=found.tail_requests,
        precision=swap.precision if swap else precision(found.tail_requests),
        call="undecided" if swap else "refused",
        p_value=swap.p_value if swap else None,
        p_value_holm=None,
        autocorrelation=swap.noise.autocorrelation if swap else None,
        reason=None if isinstance(found, Swap) else found.reason,
    )


def _classified(item: Difference, measured_s: float) -> Difference:
    call, reason = classify(item, measured_s)
    return replace(item, call=call, reason=reason)


def _error_difference(run: Run, rows: pd.DataFrame, arm: str, signs: Signs) -> Difference:
    baseline = run.plan.comparison.baseline
    sent = rows[rows["outcome"] != "dropped"]
    at_s = _decisive_time_s(sent)
    failed = (sent["outcome"] != "ok").astype(float)
    of_baseline, of_arm = sent["arm"] == baseline, sent["arm"] == arm
    sample = windowed(
        failed[of_baseline].to_numpy(),
        at_s[of_baseline].to_numpy(),
        failed[of_arm].to_numpy(),
        at_s[of_arm].to_numpy(),
        start_s=run.start_s,
        end_s=run.end_s,
    )
    found = error_rate_difference(sample, signs=signs)
    if unknown := int((failed.astype(bool) & sent["arm"].isna()).sum()):
        # They may be either arm's; rates that leave them out would be too low.
        found = ErrorRates(
            failed=unknown,
            reason=f"{unknown} failed requests do not name the variant that they met.",
        )
    return Difference(
        arm=arm,
        baseline=baseline,
        metric="error_rate",
        measure="outcome",
        unit="share",
        baseline_value=found.baseline_rate,
        arm_value=found.arm_rate,
        ratio=None,
        difference=found.difference,
        margin=run.plan.comparison.guarded["error_rate"],
        tail_requests=found.failed,
        precision="enough" if found.difference else "refused",
        call="undecided" if found.difference else "refused",
        p_value=found.p_value,
        p_value_holm=None,
        autocorrelation=None,
        reason=found.reason,
    )


def _answers(run: Run, rows: pd.DataFrame) -> Answers | None:
    wanted = run.plan.answers
    # A locustfile's own body that is none of the payloads has no number, and so no vote.
    ok = rows[(rows["outcome"] == "ok") & (rows["payload"] >= 0)]
    if wanted is None or ok.empty:
        return None
    return compare_answers(
        ok[["payload", "arm", "prediction"]],
        run.labels,
        baseline=run.plan.comparison.baseline,
        arms=tuple(run.plan.arms),
        tolerance=wanted.tolerance,
    )
