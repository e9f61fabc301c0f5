"""Did this release get slower: the regression gate, a verdict of three kinds on several runs.

A guarded metric passes when the upper 95 % bound of its change lies below the margin. It fails when
the change is shown (its 95 % interval lies above none, after Holm) and is as large as the margin.
Else it is undecided: a change below the margin does not fail, however well it is shown.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np
from scipy.special import ndtri, stdtrit

from analysis.blocks import called, compared, report_of, side
from analysis.compare import compare
from analysis.conditions import alike
from analysis.noise import precision
from analysis.read import Run
from analysis.render import format as fmt
from analysis.results import Check, Difference, Report, State, Verdict
from analysis.runs import ERROR_RATE, Design, arm_run, check_runs, completed
from analysis.samples import measures_of
from analysis.validity import validity_of
from analysis.verdict import EXIT_CODES, holm, untrusted
from experiments.errors import PlanError
from experiments.plan import Plan, quantile_of

FEWEST_RUNS = 3
ASSUMED_SPREAD = 0.03
"""Of log latency between runs, where no baseline shows it: it is of this order on such machines."""
_REQUEST_SPREAD = 0.5
_MOST_RUNS = 200
RULE = (
    "A metric passes where the upper end of its 90 % interval, which is a one-sided bound at 95 %, "
    "lies below the margin. It fails where its 95 % interval lies above no change, after Holm, and "
    "the change is the margin or more."
)
_THESE_DEPLOYMENTS = (
    "Whether another deployment of the same would pass: one run is of one deployment of each."
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
    of both arms each, or of one arm each. `arm` names the candidate's arm, where its runs have
    several. `allowed` names conditions in which the runs may differ. One run of both arms is
    judged as a comparison is, and speaks of these deployments only.

    Raises:
        AbreastError: it cannot be told which runs are whose, or they cannot be compared.
    """
    kept, complete = completed([*runs, *against])
    if shared := {run.id for run in runs} & {run.id for run in against}:
        raise PlanError(
            f"{min(shared)} is on both sides.",
            "To compare the two arms of a run, give it without --against.",
        )
    if against:
        ids = {run.id for run in against}
        before = [(run, _baseline_arm(run)) for run in kept if run.id not in ids]
        after = [(run, _candidate_arm(run, arm)) for run in kept if run.id in ids]
        design: Design = "separate"
    else:
        before, after, design = _by_arm(kept)
    if not before or not after:
        only = (before or after)[0]
        raise PlanError(
            f"All complete runs are of {only[1]}, so there is nothing to hold it against.",
            "Give the candidate's with --against, or a baseline with --baseline-store.",
        )
    if design == "blocks" and len(before) == 1:
        return _one_block(kept[0], complete)
    names = _names({name for _, name in before}, {name for _, name in after})
    baseline, candidate = side(names[0], before), side(names[1], after)
    separate = [alike([*before, *after], allowed)]
    same = separate if design == "separate" else [alike(s, allowed) for s in (before, after)]
    guarded = after[-1][0].plan.gate.guarded
    refusal = too_few(len(before), len(after), design)
    measure = measures_of(after[-1][0])[0]
    differences = [
        compared(
            baseline, candidate, metric, measure, design=design, margin=margin, refusal=refusal
        )
        for metric, margin in guarded.items()
    ]
    differences = gate(differences, max(len(before), len(after)))
    checks = (complete, max(same, key=lambda c: c.state == "warn"), *check_runs(kept))
    verdict = _verdict(differences, checks)
    report = report_of("regression", baseline, [candidate], differences, checks, verdict, design)
    return replace(report, method=(*report.method, RULE))


def too_few(baseline: int, candidate: int, design: Design) -> str | None:
    """Say why so many runs a side get no verdict, if they get none."""
    if baseline >= FEWEST_RUNS:
        return None
    said = fmt.counted(baseline, "run") + ("" if design == "blocks" else " of the baseline")
    if design == "separate":
        said += f" and {candidate} of the candidate"
    return (
        f"{said}: too few to show how much runs differ by themselves, so that any difference may "
        f"be luck. It takes {FEWEST_RUNS} or more; 5 are better."
    )


def gate(differences: Sequence[Difference], runs: int) -> list[Difference]:
    """Call every guarded metric: "worse" fails, "better" and "same" pass."""
    return [_passed(called(item, runs)) for item in holm(differences)]


def _passed(item: Difference) -> Difference:
    estimate, none = (item.difference, 0.0) if item.unit == "share" else (item.ratio, 1.0)
    upper = estimate.interval_90.high if estimate else None
    if item.call != "undecided" or item.precision != "enough" or upper is None:
        return item
    return replace(item, call="same", reason=None) if upper < none + (item.margin or 0) else item


def _by_arm(kept: Sequence[Run]) -> tuple[list[tuple[Run, str]], list[tuple[Run, str]], Design]:
    if all(len(run.plan.arms) > 1 for run in kept):
        before = [(run, _baseline_arm(run)) for run in kept]
        return before, [(run, _candidate_arm(run, None)) for run in kept], "blocks"
    if any(len(run.plan.arms) > 1 for run in kept):
        raise PlanError("Some of these runs are of one arm, others of several.", "Give one kind.")
    own = [(run, next(iter(run.plan.arms))) for run in kept]
    baseline = kept[0].plan.baseline
    return [o for o in own if o[1] == baseline], [o for o in own if o[1] != baseline], "separate"


def _baseline_arm(run: Run) -> str:
    arms = list(run.plan.arms)
    if len(arms) == 1:
        return arms[0]
    if run.plan.baseline is None:
        raise PlanError(
            f"{run.path}: holds the arms {', '.join(arms)}, and its plan names no baseline.",
            "Give regression.baseline, or runs of one arm.",
        )
    return run.plan.baseline


def _candidate_arm(run: Run, wanted: str | None) -> str:
    arms = list(run.plan.arms)
    if len(arms) == 1:
        return arms[0]
    others = [name for name in arms if name == wanted or (not wanted and name != run.plan.baseline)]
    if len(others) != 1:
        raise PlanError(
            f"{run.path}: holds the arms {', '.join(arms)}; which is the candidate?",
            "Name it with --arm.",
        )
    return others[0]


def _names(before: set[str], after: set[str]) -> tuple[str, str]:
    if len(before) == len(after) == 1 and before != after:
        return min(before), min(after)
    return "baseline", "candidate"


def _one_block(run: Run, complete: Check) -> Report:
    """Judge one run of both arms: what SWAP-2S finds of its windows, by the gate's rule."""
    table = run.plan.model_dump(mode="json", exclude_none=True)
    asked = {"baseline": _baseline_arm(run), "margins": run.plan.gate.guarded}
    plan = Plan.model_validate({**table, "question": "compare", "compare": asked})
    report = compare(replace(run, plan=plan)).report
    differences = [_passed(item) for item in report.differences if item.margin is not None]
    checks = (complete, *report.checks)
    return replace(
        report,
        question="regression",
        verdict=_verdict(differences, checks),
        checks=checks,
        differences=tuple(differences),
        method=(*report.method, RULE),
        cannot_tell=(_THESE_DEPLOYMENTS, *report.cannot_tell[1:]),
    )


def _verdict(differences: Sequence[Difference], checks: Sequence[Check]) -> Verdict:
    if refusal := untrusted(checks):
        return refusal
    failed = [item for item in differences if item.call == "worse"]
    open_ones = [item for item in differences if item.call in ("undecided", "refused")]
    passed = [item for item in differences if item.call in ("better", "same")]
    candidate, baseline = differences[0].arm, differences[0].baseline
    if failed:
        sentence = f"Regression: {candidate} is worse than {baseline}: {_found(failed)}."
    elif open_ones:
        sentence = f"Cannot tell yet whether {candidate} got worse than {baseline}: "
        sentence += f"{_found(open_ones)}."
    else:
        sentence = f"No regression: {candidate} is within the margins of {baseline}: "
        sentence += f"{_found(passed)}."
    state: State = "worse" if failed else "undecided" if open_ones else "same"
    beside = [] if not passed or len(passed) == len(differences) else [_listed(passed, "pass")]
    beside += [_listed(open_ones, "undecided")] if failed and open_ones else []
    reasons = dict.fromkeys(item.reason for item in open_ones if item.reason)
    return Verdict(
        state=state,
        validity=validity_of(checks),
        sentence=sentence,
        context=(
            *(f"{said[:1].upper()}{said[1:].rstrip('.')}." for said in reasons),
            *beside,
        ),
        exit_code=EXIT_CODES[state],
    )


def _listed(items: Sequence[Difference], word: str) -> str:
    names = fmt.joined([fmt.metric_word(item.metric) for item in items])
    return f"{word.capitalize()}: {names}."


def _found(items: Sequence[Difference]) -> str:
    said = []
    for item in items:
        change = (
            fmt.points_change(item.difference)
            if item.unit == "share"
            else fmt.ratio_change(item.ratio)
        )
        found = f"{change.value} ({change.interval_unit})" if change else "without an interval"
        said.append(f"{fmt.metric_word(item.metric)} {found}")
    return ", ".join(said)


def spreads(runs: Sequence[Run]) -> dict[str, float]:
    """Give the standard deviation of each guarded latency's logarithm over runs of a baseline."""
    numbers = [(run, arm_run(run, _baseline_arm(run))) for run in runs]
    found = {}
    for metric in runs[-1].plan.gate.margins if len(runs) >= FEWEST_RUNS else ():
        values = [of.number(metric, measures_of(run)[0]) for run, of in numbers]
        if metric != ERROR_RATE and all(values):
            found[metric] = float(np.log(np.array(values, dtype=np.float64)).std(ddof=1))
    return found


def foreseen_runs(plan: Plan, seen: Mapping[str, float] | None = None) -> tuple[str, ...]:
    """Say which guarded metrics so many runs of this rate and length cannot decide.

    `seen` are the spreads of an earlier baseline. Where there are none, runs are taken to differ
    by 3 % beside what their number of requests adds, for lognormal latencies with a spread of 0.5.
    """
    asked, traffic = plan.gate, plan.traffic
    runs, said = asked.runs_per_side, []
    if runs < FEWEST_RUNS and not (runs == 1 and asked.order == "blocks"):
        said.append(
            f"Note: regression.runs_per_side is {runs}; below {FEWEST_RUNS} it ends in cannot tell."
        )
    arms = len(plan.arms) if asked.order == "blocks" else 1
    requests = (traffic.rate_rps or math.inf) * traffic.measured_s / arms
    for metric, margin in asked.guarded.items():
        name = f"Note: regression.margins guards {fmt.metric_word(metric)}"
        if metric == ERROR_RATE:
            needed = float(ndtri(0.95)) ** 2 * (1 / margin - 1)
            if runs * requests < needed:
                said.append(
                    f"{name} at {margin:.2%}, which takes {needed:,.0f} requests a side; the plan "
                    f"sends about {runs * requests:,.0f}. It ends in cannot tell."
                )
            continue
        quantile = quantile_of(metric)
        if quantile is not None and math.isfinite(requests):
            tail = runs * requests * min(quantile, 1 - quantile)
            if precision(int(tail)) != "enough":
                said.append(
                    f"{name}: about {tail:.0f} requests of a side lie beyond it; it takes 50. It "
                    "ends in cannot tell."
                )
                continue
        if seen and metric in seen:
            spread, source = seen[metric], "as the runs of the baseline do"
        else:
            spread = math.hypot(ASSUMED_SPREAD, _sampling(quantile, requests))
            source = f"assumed: {ASSUMED_SPREAD:.0%}, and what the number of requests adds"
        needed_runs = runs_needed(spread, margin)
        if runs < needed_runs:
            said.append(
                f"{name} at {margin:.1%}. If runs differ by {spread:.1%} ({source}), finding a "
                f"regression of that size four times in five takes {needed_runs} runs a side; "
                f"regression.runs_per_side is {runs}."
            )
    return tuple(said)


def _sampling(quantile: float | None, requests: float) -> float:
    """Give the standard error of a log quantile, or mean, of so many lognormal latencies."""
    if quantile is None:
        return math.sqrt(math.expm1(_REQUEST_SPREAD**2) / requests)
    z = float(ndtri(quantile))
    density = math.exp(-(z**2) / 2) / math.sqrt(2 * math.pi) / _REQUEST_SPREAD
    return math.sqrt(quantile * (1 - quantile) / requests) / density


def runs_needed(spread: float, margin: float) -> int:
    """Give the fewest runs a side that find a change of `margin` with a power of 80 %."""
    for runs in range(2, _MOST_RUNS):
        freedom = 2 * runs - 2
        reach = float(stdtrit(freedom, 0.975) + stdtrit(freedom, 0.8))
        if reach * spread * math.sqrt(2 / runs) <= math.log1p(margin):
            return runs
    return _MOST_RUNS
