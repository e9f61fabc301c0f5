"""Is one arm faster than the other in several runs: the report of runs that are judged together."""

from collections.abc import Collection, Sequence
from dataclasses import replace

import pandas as pd

from analysis.compare import metrics_of
from analysis.conditions import alike
from analysis.read import Run
from analysis.results.comparison import Difference
from analysis.results.report import SCHEMA_VERSION, Report, Verdict
from analysis.results.run import ArmSummary, Check, Counts, RunInfo, RunValues
from analysis.runs import (
    ERROR_RATE,
    Design,
    Side,
    check_runs,
    completed,
    difference,
    side,
)
from analysis.runs_needed import more_runs
from analysis.samples import measures_of
from analysis.summary import arm_summary, cannot_tell, error_kinds, run_info
from analysis.verdict import classify, holm, judge
from experiments.errors import PlanError

METHOD = {
    "blocks": "Each run gives one number a metric and arm. Student's paired t-test is on the "
    "differences between the arms, run by run, of log latencies and of error rates.",
    "separate": "Each run gives one number a metric. Student's t-test with pooled variance is on "
    "the log latencies and the error rates of the two sides' runs.",
}
_ERRORS = (
    "The interval of an error rate is never narrower than Newcombe's of all its requests. "
    "Guarded metrics are corrected by Holm."
)
_DEPLOYED_ANEW = (
    "Whether another deployment would give the same, unless the endpoint was deployed anew for "
    "each of these runs."
)


def compare_runs(runs: Sequence[Run], *, allowed: Collection[str] = ()) -> Report:
    """Compare the arms of two or more runs of one plan, run by run.

    `allowed` names conditions in which the runs may differ.

    Raises:
        AbreastError: the plans compare nothing, or not the same; or the runs cannot be compared.
    """
    kept, complete = completed(runs)
    first = kept[0].plan
    for run in kept:
        if run.plan.compare is None:
            raise PlanError(
                f"{run.path}: its plan compares nothing: it has no [compare].",
                "Give runs of a plan that has, or see abreast regression.",
            )
        if run.plan.arms != first.arms or run.plan.compare != first.compare:
            raise PlanError(
                f"{run.path}: its [arms] or [compare] are not those of {kept[0].path}.",
                "Give runs of one plan.",
            )
    sides = [side(arm, [(run, arm) for run in kept]) for arm in first.arms]
    (baseline,) = (each for each in sides if each.name == first.comparison.baseline)
    others = [each for each in sides if each is not baseline]
    same = alike([each.of for each in sides], allowed)
    guarded = first.comparison.guarded
    refusal = None
    if len(kept) < 2:
        refusal = "One complete run does not show how much runs differ; make at least 2."
    measures = measures_of(kept[0])
    asked = [
        (metric, measure, margin)
        for measure in measures
        for metric, margin in metrics_of(first, measure, guarded).items()
    ]
    differences = [
        difference(baseline, arm, metric, measure, "blocks", margin, refusal)
        for arm in others
        for metric, measure, margin in [*asked, (ERROR_RATE, measures[0], guarded[ERROR_RATE])]
    ]
    differences = [called(item, (len(kept), len(kept)), "blocks") for item in holm(differences)]
    checks = (complete, same, *check_runs(kept))
    return report_of(
        "compare", baseline, others, differences, checks,
        judge(differences, checks, None), "blocks",
    )  # fmt: skip


def called(
    item: Difference, runs: tuple[int, int], design: Design, *, one_sided: bool = False
) -> Difference:
    """Call one metric of so many runs of the baseline and of the arm, as that of one run is."""
    if item.call == "refused":
        return item
    more = more_runs(item, runs, design, one_sided=one_sided)
    call, reason = classify(replace(item, reason=more), 0.0)
    if item.precision == "imprecise":
        reason = f"{reason}; {more}"
    return replace(item, call=call, reason=reason)


def report_of(
    question: str,
    baseline: Side,
    others: Sequence[Side],
    differences: Sequence[Difference],
    checks: tuple[Check, ...],
    verdict: Verdict,
    design: Design,
) -> Report:
    """Put together the report of several runs; it is named after the last of them."""
    sides = (baseline, *others)
    last = max((run for each in sides for run, _ in each.of), key=lambda run: run.id)
    rows = {each.name: each.rows for each in sides}
    return Report(
        schema_version=SCHEMA_VERSION,
        question="regression" if question == "regression" else "compare",
        run=_run_info(last, sides),
        verdict=verdict,
        checks=checks,
        arms=tuple(_summary(each, rows[each.name]) for each in sides),
        differences=tuple(differences),
        shifts=(),
        slo=(),
        answers=None,
        errors=error_kinds(pd.concat(rows.values(), ignore_index=True)),
        method=(METHOD[design], _ERRORS),
        cannot_tell=(
            *([] if last.plan.endpoint.config else [_DEPLOYED_ANEW]),
            *cannot_tell(last),
        ),
        runs=tuple(value for each in sides for value in _values(each, differences)),
    )


def _summary(each: Side, rows: pd.DataFrame) -> ArmSummary:
    run, arm = each.of[0]
    return replace(arm_summary(run, rows.assign(arm=arm), arm), name=each.name)


def _run_info(last: Run, sides: Sequence[Side]) -> RunInfo:
    runs = {run.id: run for each in sides for run, _ in each.of}
    names = ("planned", "ended", "dropped", "unsent", "missing")
    counts = {name: sum(run.counts[name] for run in runs.values()) for name in names}
    return replace(run_info(last, last.measured), counts=Counts(**counts))


def _values(each: Side, differences: Sequence[Difference]) -> list[RunValues]:
    guarded = {
        item.metric: item.measure
        for item in differences
        if item.margin is not None and each.name in (item.arm, item.baseline)
    }
    return [
        RunValues(
            run=run.id,
            arm=each.name,
            started_at=run.manifest["started_at"],
            requests=numbers.sent,
            failed=numbers.failed,
            values={metric: numbers.number(metric, measure) for metric, measure in guarded.items()},
            subject=run.manifest.get("subject", {}),
        )
        for (run, _), numbers in zip(each.of, each.numbers, strict=True)
    ]
