"""Did this release get slower: the regression gate, a verdict of three kinds on several runs.

A guarded metric passes when the upper 95 % bound of its change lies below the margin. It fails when
the change is shown (its 95 % interval lies above none, after Holm) and is as large as the margin.
Else it is undecided: a change below the margin does not fail, however well it is shown.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from analysis.blocks import called, report_of
from analysis.conditions import alike
from analysis.read import Run
from analysis.render import format as fmt
from analysis.results.comparison import Difference
from analysis.results.report import Report, State, Verdict
from analysis.results.run import Check
from analysis.runs import ERROR_RATE, Design, arm_run, check_runs, completed, difference, side
from analysis.runs_needed import FEWEST_RUNS
from analysis.samples import measure_of
from analysis.verdict import holm, stated, untrusted
from experiments.errors import PlanError

RULE = (
    "A metric passes where the upper end of its 90 % interval, which is a one-sided bound at 95 %, "
    "lies below the margin. It fails where its 95 % interval lies above no change, after Holm, and "
    "the change is the margin or more."
)


def regression(
    runs: Sequence[Run],
    against: Sequence[Run] = (),
    *,
    arm: str | None = None,
    allowed: Collection[str] = (),
) -> Report:
    """Hold the candidate's runs against the baseline's, by the margins of the candidate's plan.

    With `against`, `runs` are the baseline's and those the candidate's. Else `runs` are of both:
    of both arms each, or of one arm each. `arm` names the candidate's arm, where it has several.
    `allowed` names conditions in which the runs may differ.

    Raises:
        AbreastError: it cannot be told which runs are whose, or they cannot be compared.
    """
    if shared := {run.id for run in runs} & {run.id for run in against}:
        raise PlanError(
            f"{min(shared)} is on both sides.",
            "To compare the two arms of a run, give it without --against.",
        )
    kept, complete = completed([*runs, *against])
    candidates = {run.id for run in against or runs}
    of_baseline = [run for run in kept if not against or run.id not in candidates]
    of_candidate = [run for run in kept if run.id in candidates]
    if not of_baseline or not of_candidate:
        raise PlanError(
            f"The {'candidate' if of_baseline else 'baseline'} has no runs: {complete.finding}.",
            "Make them again.",
        )
    are_single = {len(run.plan.arms) == 1 for run in kept}
    if not against and len(are_single) > 1:
        raise PlanError("Some of these runs are of one arm, others of several.", "Give one kind.")
    design: Design = "separate" if against or are_single == {True} else "blocks"
    before = of_side(of_baseline, "baseline")
    after = of_side(of_candidate, "candidate", arm)
    names = before[0][1], after[0][1]
    if names[0] == names[1]:
        if not against:
            raise PlanError(
                f"Both sides would be {names[0]}, so there is nothing to hold it against: "
                f"{complete.finding}.",
                "Give the candidate's with --against, or a baseline with --baseline-store.",
            )
        names = "baseline", "candidate"
    baseline, candidate = side(names[0], before), side(names[1], after)
    is_blocks = design == "blocks"
    same = alike([before, after] if is_blocks else [[*before, *after]], allowed, beside=is_blocks)
    refusal = too_few(len(before), len(after), design)
    plan = after[-1][0].plan
    differences = [
        difference(baseline, candidate, metric, measure_of(plan, metric), design, margin, refusal)
        for metric, margin in plan.gate.guarded.items()
    ]
    differences = gate(differences, (len(before), len(after)), design)
    checks = (complete, same, *check_runs(kept))
    verdict = _verdict(differences, checks)
    report = report_of("regression", baseline, [candidate], differences, checks, verdict, design)
    return replace(report, method=(*report.method, RULE))


def of_side(
    runs: Sequence[Run], role: Literal["baseline", "candidate"], arm: str | None = None
) -> list[tuple[Run, str]]:
    """Give a side's runs, each with the arm that counts; of runs of one arm, those of that arm.

    Of several arms that is the one that the plan calls the baseline, or the other; or `arm`.

    Raises:
        PlanError: it cannot be told which, or a run lacks it.
    """
    arms = list(dict.fromkeys(name for run in runs for name in run.plan.arms))
    baselines = {run.plan.baseline for run in runs}
    wanted = [name for name in arms if (name in baselines) == (role == "baseline")]
    if arm is not None:
        wanted = [name for name in arms if name == arm]
    elif len(arms) == 1:
        wanted = arms
    if len(wanted) != 1:
        raise PlanError(
            f"The runs hold the arms {', '.join(arms)}; which is the {role}?",
            "Name one of them with --arm."
            if role == "candidate"
            else "No plan of theirs names one of them: give regression.baseline in the plan.",
        )
    for run in runs:
        if len(run.plan.arms) > 1 and wanted[0] not in run.plan.arms:
            raise PlanError(f"{run.path}: has no arm {wanted[0]}.", "Give runs that have it.")
    return [(run, wanted[0]) for run in runs if wanted[0] in run.plan.arms]


def too_few(baseline: int, candidate: int, design: Design) -> str | None:
    """Say why so many runs a side get no verdict, if they get none."""
    if baseline >= FEWEST_RUNS:
        return None
    said = fmt.counted(baseline, "run") + ("" if design == "blocks" else " of the baseline")
    if design == "separate":
        said += f" and {candidate} of the candidate"
    said += ": too few to show how much runs differ by themselves, so that any difference may be "
    said += f"luck. It takes {FEWEST_RUNS} or more; 5 are better."
    if (baseline, design) == (1, "blocks"):
        said += " Under a plan that has [compare], abreast compare judges one run by its time "
        said += "windows, and speaks of these deployments only."
    return said


def gate(
    differences: Sequence[Difference], runs: tuple[int, int], design: Design
) -> list[Difference]:
    """Call every guarded metric: "worse" fails, "better" and "same" pass.

    `runs` are those of the baseline and of the candidate.
    """
    return [_passed(called(item, runs, design, one_sided=True)) for item in holm(differences)]


def _passed(item: Difference) -> Difference:
    estimate, none = (item.difference, 0.0) if item.unit == "share" else (item.ratio, 1.0)
    upper = estimate.interval_90.high if estimate else None
    if item.call != "undecided" or item.precision != "enough" or upper is None:
        return item
    return replace(item, call="same", reason=None) if upper < none + (item.margin or 0) else item


def _verdict(differences: Sequence[Difference], checks: Sequence[Check]) -> Verdict:
    if refusal := untrusted(checks):
        return refusal
    failed = [item for item in differences if item.call == "worse"]
    open_ones = [item for item in differences if item.call in ("undecided", "refused")]
    passed = [item for item in differences if item.call in ("better", "same")]
    candidate, baseline = differences[0].arm, differences[0].baseline
    if failed:
        sentence = f"Regression: {candidate} is worse than {baseline}: {fmt.changes(failed)}."
    elif open_ones:
        sentence = f"Cannot tell yet whether {candidate} got worse than {baseline}: "
        sentence += f"{fmt.changes(open_ones)}."
    else:
        better = [item for item in passed if item.call == "better"]
        within = [item for item in passed if item.call == "same"]
        said = [f"{candidate} is better than {baseline}: {fmt.changes(better)}"] if better else []
        beyond = "the rest is" if better else f"{candidate} is"
        beyond += f" within the margins of {baseline}"
        said += [f"{beyond}: {fmt.changes(within)}"] if within else []
        sentence = f"No regression: {'; '.join(said)}."
    state: State = "worse" if failed else "undecided" if open_ones else "same"
    beside = [] if not passed or len(passed) == len(differences) else [_listed(passed, "pass")]
    beside += [_listed(open_ones, "undecided")] if failed and open_ones else []
    reasons = [
        f"{fmt.metric_word(item.metric)}: {item.reason}" for item in open_ones if item.reason
    ]
    context = (*(f"{said[:1].upper()}{said[1:].rstrip('.')}." for said in reasons), *beside)
    return stated(state, sentence, context, checks)


def _listed(items: Sequence[Difference], word: str) -> str:
    names = fmt.joined([fmt.metric_word(item.metric) for item in items])
    return f"{word.capitalize()}: {names}."


def untrusted_runs(runs: Sequence[Run]) -> Verdict | None:
    """Say why runs that are to be a baseline cannot be trusted, if they cannot."""
    kept, complete = completed(runs)
    return untrusted((complete, *check_runs(kept)))


def spreads(runs: Sequence[Run], design: Design = "separate") -> dict[str, float]:
    """Give the standard deviation of each guarded latency's logarithm over runs of a baseline.

    In blocks it is that of the difference between the arms, where the runs have both.
    """
    is_blocks = design == "blocks"
    if not runs or (is_blocks and any(len(run.plan.arms) == 1 for run in runs)):
        return {}
    sides = [of_side(runs, "baseline"), *([of_side(runs, "candidate")] if is_blocks else [])]
    numbers = [[(arm_run(run, arm), run.plan) for run, arm in of] for of in sides]
    found = {}
    for metric in runs[-1].plan.gate.margins if len(sides[0]) >= FEWEST_RUNS else ():
        values = [
            [of.number(metric, measure_of(plan, metric)) for of, plan in side] for side in numbers
        ]
        if metric != ERROR_RATE and all(value for side in values for value in side):
            logs = np.log(np.array(values, dtype=np.float64))
            found[metric] = float((logs[-1] - logs[0] if is_blocks else logs[0]).std(ddof=1))
    return found
