"""Is one arm faster than the other in several runs: the report of runs that are judged together."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from analysis.compare import metrics_of
from analysis.conditions import alike
from analysis.read import Run
from analysis.results.comparison import Difference
from analysis.results.report import SCHEMA_VERSION, Report, Verdict
from analysis.results.run import Check, Counts, RunInfo, RunValues
from analysis.results.values import Measure
from analysis.runs import (
    ERROR_RATE,
    ArmRun,
    Design,
    arm_run,
    check_runs,
    completed,
    difference,
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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Side:
    """One side of a comparison: runs, each with the arm that it gives, and what that arm did."""

    name: str
    of: tuple[tuple[Run, str], ...]
    numbers: tuple[ArmRun, ...]

    @property
    def rows(self) -> pd.DataFrame:
        """The measured requests of all runs, under this side's name."""
        parts = [rows[rows["arm"] == arm] for rows, arm in ((r.measured, a) for r, a in self.of)]
        return pd.concat(parts, ignore_index=True).assign(arm=self.name)


def side(name: str, of: Sequence[tuple[Run, str]]) -> Side:
    """Make a side from runs, each with the arm that it gives."""
    return Side(name=name, of=tuple(of), numbers=tuple(arm_run(run, arm) for run, arm in of))


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
        compared(baseline, arm, metric, measure, design="blocks", margin=margin, refusal=refusal)
        for arm in others
        for metric, measure, margin in [*asked, (ERROR_RATE, measures[0], guarded[ERROR_RATE])]
    ]
    differences = [called(item, (len(kept), len(kept)), "blocks") for item in holm(differences)]
    checks = (complete, same, *check_runs(kept))
    return report_of(
        "compare", baseline, others, differences, checks,
        judge(differences, checks, None), "blocks",
    )  # fmt: skip


def compared(
    baseline: Side,
    arm: Side,
    metric: str,
    measure: Measure,
    *,
    design: Design,
    margin: float | None,
    refusal: str | None = None,
) -> Difference:
    """Compare two sides in one metric."""
    return difference(
        baseline.numbers,
        arm.numbers,
        metric,
        measure,
        names=(baseline.name, arm.name),
        design=design,
        margin=margin,
        refusal=refusal,
    )


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
        arms=tuple(
            replace(
                arm_summary(
                    each.of[0][0], rows[each.name].assign(arm=each.of[0][1]), each.of[0][1]
                ),
                name=each.name,
            )
            for each in sides
        ),
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
