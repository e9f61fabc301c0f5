"""The verdict on a comparison that `limits.abort_error_rate` stopped: was it one arm's doing?

Such a run is too short to be judged by windows. Its requests are taken as independent instead, at a
level so strict that only an arm which fails plainly more often than another is told from it.
"""

from dataclasses import replace

from analysis.error_rates import wilson
from analysis.read import Run
from analysis.render import format as fmt
from analysis.results.report import Report, State
from analysis.verdict import stated, untrusted

_LEVEL = 0.999


def stopped(run: Run, report: Report) -> Report:
    """Give the report of a run that was stopped for its failures a verdict on those.

    An arm that fails more often than the baseline by more than the margin is worse. Where only the
    baseline fails that much more often nothing is decided, and else the run is not trusted.
    """
    if run.manifest["ended_as"] != "failing" or report.verdict.state == "untrusted":
        return report
    baseline = run.plan.comparison.baseline
    failed, margin = _failed_by_arm(run), run.plan.comparison.guarded["error_rate"]
    others = [arm for arm in run.plan.arms if arm != baseline and {arm, baseline} <= failed.keys()]
    more = [arm for arm in others if _apart(failed[baseline], failed[arm]) > margin]
    less = [arm for arm in others if _apart(failed[arm], failed[baseline]) > margin]
    state: State
    if more:
        said, against = _figure(more[0], failed[more[0]]), _figure(baseline, failed[baseline])
        state, sentence = "worse", f"Don't ship {more[0]}: {said}; {against}."
    elif less:
        state, said = "undecided", _figure(baseline, failed[baseline])
        sentence = f"Cannot tell whether {less[0]} is better: of the baseline, {said}."
    else:
        checks = tuple(
            replace(check, state="fail") if check.name == "records" else check
            for check in report.checks
        )
        verdict = untrusted(checks)
        assert verdict is not None
        return replace(report, checks=checks, verdict=verdict)
    context = (
        str(run.manifest["reason"]),
        "Failures that come together may be one outage. Latencies were not judged.",
    )
    return replace(report, verdict=stated(state, sentence, context, report.checks))


def _failed_by_arm(run: Run) -> dict[str, tuple[int, int]]:
    """Count each arm's failures and its requests that were sent, those of the warm-up included.

    Arms that sent nothing are left out.
    """
    sent = run.requests.loc[run.requests["outcome"] != "dropped", ["arm", "outcome"]]
    failed = (sent["outcome"] != "ok").groupby(sent["arm"].astype(object)).agg(["sum", "size"])
    return {str(arm): (int(row["sum"]), int(row["size"])) for arm, row in failed.iterrows()}


def _apart(fewer: tuple[int, int], more: tuple[int, int]) -> float:
    """Give by how much one rate is the higher at least, as a share of 1."""
    return wilson(*more, _LEVEL)[0] - wilson(*fewer, _LEVEL)[1]


def _figure(arm: str, failed: tuple[int, int]) -> str:
    return f"{fmt.count(failed[0])} of {fmt.count(failed[1])} requests to {arm} failed"
