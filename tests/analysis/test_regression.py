"""The regression gate: what passes, what fails, and what it does not say."""

import math
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import t, ttest_ind, ttest_rel

from analysis import compare_runs, judge, regression
from analysis.regression import spreads
from analysis.results.comparison import Difference
from analysis.results.report import Report
from experiments.errors import PlanError, RunFolderError
from tests.analysis.several import blocks, of_one_arm, written

ALIKE = [(20.0, 20.1), (21.0, 20.9), (22.0, 22.1), (20.5, 20.5)]
SLOWER = [(20.0, 24.1), (21.0, 25.0), (22.0, 26.3), (20.5, 24.5)]


LOAD = ('question="load"', 'slo={ p99 = "1s" }')


def p50(report: Report) -> Difference:
    return next(item for item in report.differences if item.metric == "p50")


def test_a_candidate_that_is_better_is_called_so(tmp_path: Path) -> None:
    sentence = regression(blocks(tmp_path, [(b, a) for a, b in SLOWER])).verdict.sentence
    assert sentence.startswith("No regression: candidate is better than current: p50 \u22121")
    assert "; the rest is within the margins of current: error rate " in sentence


def test_blocks_that_are_alike_pass(tmp_path: Path) -> None:
    report = regression(blocks(tmp_path, ALIKE))
    assert report.question == "regression"
    assert (report.verdict.state, report.verdict.exit_code) == ("same", 0), report.verdict
    assert report.verdict.sentence.startswith("No regression: candidate is within the margins of")
    logs = np.log(np.array(ALIKE))
    oracle = ttest_rel(logs[:, 1], logs[:, 0])
    found = p50(report)
    assert found.ratio is not None
    assert found.ratio.interval_90.high == pytest.approx(
        math.exp(oracle.confidence_interval(0.9).high)
    )
    assert found.p_value == pytest.approx(oracle.pvalue)
    assert [(run.run, run.arm) for run in report.runs][3:5] == [
        ("run-03", "current"),
        ("run-00", "candidate"),
    ]
    assert report.runs[4].values == pytest.approx({"p50": 20.1, "error_rate": 0.0})
    assert report.run.counts.planned == 4 * 520


def test_blocks_that_are_slower_by_more_than_the_margin_fail(tmp_path: Path) -> None:
    report = regression(blocks(tmp_path, SLOWER))
    assert (report.verdict.state, report.verdict.exit_code) == ("worse", 1)
    assert report.verdict.sentence.startswith(
        "Regression: candidate is worse than current: p50 +19."
    )
    assert report.verdict.context == ("Pass: error rate.",)


def test_a_change_below_the_margin_never_fails_however_well_it_is_shown(tmp_path: Path) -> None:
    shown = [(20.0, 21.81), (21.0, 22.88), (22.0, 23.97), (20.5, 22.35)]
    found = p50(regression(blocks(tmp_path, shown)))
    assert found.p_value is not None
    assert found.p_value < 1e-4
    assert found.call == "same"


def test_at_the_margin_it_is_undecided_and_says_how_many_more_runs(tmp_path: Path) -> None:
    near = [(20.0, 21.2), (21.0, 23.3), (22.0, 22.4), (20.5, 22.6)]
    report = regression(blocks(tmp_path, near))
    assert (report.verdict.state, report.verdict.exit_code) == ("undecided", 3)
    found = p50(report)
    assert found.ratio is not None
    # By hand: it passes where t(0.95) s / sqrt(R) is less than what is left up to the margin.
    apart = np.diff(np.log(near)).ravel()
    room = math.log(1.1) - apart.mean()
    needed = next(
        n for n in range(5, 100) if t.ppf(0.95, n - 1) * apart.std(ddof=1) / math.sqrt(n) < room
    )
    assert str(found.reason).startswith(f"about {needed - 4} more runs a side would settle it if ")


def test_more_errors_fail_alone(tmp_path: Path) -> None:
    runs = blocks(tmp_path, ALIKE, failed={"candidate": 20})
    report = regression(runs)
    assert report.verdict.state == "worse"
    assert "error rate +8.3" in report.verdict.sentence  # 20 of the 240 measured
    assert report.errors[0].count == 80


def test_separate_runs_are_held_side_against_side(tmp_path: Path) -> None:
    before = of_one_arm(tmp_path, "current", [20.0, 20.4, 20.2])
    after = of_one_arm(tmp_path, "candidate", [25.0, 25.5, 24.8])
    report = regression(before, after)
    assert report.verdict.exit_code == 1
    oracle = ttest_ind(np.log([25.0, 25.5, 24.8]), np.log([20.0, 20.4, 20.2]))
    assert p50(report).p_value == pytest.approx(oracle.pvalue)
    # Of one plan they are told apart by their arm, in whatever order they were made.
    mixed = [before[0], after[0], after[1], before[1], before[2], after[2]]
    assert regression(mixed).differences == report.differences


def test_a_long_history_lets_one_run_of_the_candidate_be_judged(tmp_path: Path) -> None:
    history = of_one_arm(tmp_path, "current", [20.0, 20.2, 20.4, 20.1, 20.3, 20.2])
    (slower,) = of_one_arm(tmp_path, "candidate", [26.0])
    assert regression(history, [slower]).verdict.state == "worse"


def test_one_run_against_one_is_neither_passed_nor_failed(tmp_path: Path) -> None:
    (before,) = of_one_arm(tmp_path, "current", [20.0])
    (after,) = of_one_arm(tmp_path, "candidate", [40.0])
    report = regression([before], [after])
    assert (report.verdict.state, report.verdict.exit_code) == ("undecided", 3)
    assert {item.call for item in report.differences} == {"refused"}
    assert "1 run of the baseline and 1 of the candidate: too few" in report.verdict.context[0]
    assert p50(report).baseline_value == pytest.approx(20)
    assert p50(report).arm_value == pytest.approx(40)


@pytest.mark.parametrize("candidate_ms", [20.0, 40.0])
def test_one_block_is_neither_passed_nor_failed(tmp_path: Path, candidate_ms: float) -> None:
    (run,) = blocks(tmp_path, [(20.0, candidate_ms)])
    report = judge(run)
    assert report.question == "regression"
    assert (report.verdict.state, report.verdict.exit_code) == ("undecided", 3)
    assert {item.call for item in report.differences} == {"refused"}
    assert "1 run: too few" in report.verdict.context[0]
    assert "abreast compare judges one run by its time windows" in report.verdict.context[0]


def test_two_blocks_are_too_few(tmp_path: Path) -> None:
    report = regression(blocks(tmp_path, SLOWER[:2]))
    assert report.verdict.state == "undecided"
    assert "2 runs: too few" in report.verdict.context[0]


def test_arms_of_one_name_are_called_by_their_side(tmp_path: Path) -> None:
    before = of_one_arm(tmp_path / "a", "current", [20.0, 20.4, 20.2])
    after = of_one_arm(tmp_path / "b", "current", [20.1, 20.3, 20.2])
    for n, run in enumerate(after):
        run.manifest["run_id"] = f"later-{n}"
    report = regression(before, after)
    assert (p50(report).baseline, p50(report).arm) == ("baseline", "candidate")
    assert [arm.name for arm in report.arms] == ["baseline", "candidate"]
    assert report.verdict.state == "same"


def test_an_interrupted_run_is_left_out_and_that_is_said(tmp_path: Path) -> None:
    runs = blocks(tmp_path, ALIKE)
    runs[3].manifest["ended_as"] = "interrupted"
    report = regression(runs)
    assert len(report.runs) == 6
    assert report.checks[0].finding == "1 of 4 are left out: run-03 (interrupted)"
    assert report.verdict.validity == "SUSPECT"


@pytest.mark.parametrize("ending", ["stopped", "aborted", "crashed", "fault", "running"])
def test_a_run_that_ended_by_itself_is_not_missed(tmp_path: Path, ending: str) -> None:
    runs = blocks(tmp_path, [*ALIKE, (20.2, 20.2)], failed={"candidate": 0})
    for run in runs[3:]:
        run.manifest["ended_as"] = ending
    report = regression(runs)
    assert (report.verdict.state, report.verdict.exit_code) == ("untrusted", 4)
    assert f"2 of 5 are left out: run-03 ({ending}), run-04 ({ending})" in report.verdict.context[0]


def test_a_run_that_is_given_again_is_refused(tmp_path: Path) -> None:
    before = of_one_arm(tmp_path, "current", [20.0, 20.4, 20.2])
    (after,) = of_one_arm(tmp_path, "candidate", [25.0])
    with pytest.raises(RunFolderError, match="candidate-00 is given 3 times"):
        regression(before, [after] * 3)
    with pytest.raises(RunFolderError, match="run-00 is given 2 times"):
        compare_runs(blocks(tmp_path, ALIKE[:1]) * 2)


def test_of_one_arm_runs_of_both_arms_each_side_takes_its_own(tmp_path: Path) -> None:
    """A whole series in ABBA order may be given where the runs of one of its arms are meant."""
    store = of_one_arm(tmp_path / "store", "current", [20.0, 20.4, 20.2, 20.3])
    for run in store:
        run.manifest["run_id"] = f"kept-{run.id}"
    current = of_one_arm(tmp_path, "current", [20.1, 20.4, 20.2])
    candidate = of_one_arm(tmp_path, "candidate", [25.0, 25.5, 24.8])
    found = regression(store, candidate)
    assert p50(regression(store, [*current, *candidate])) == p50(found)
    again = regression([*store, *candidate], current, allowed=())
    assert p50(again).arm_value == pytest.approx(20.233, abs=1e-3)
    assert p50(again).baseline_value == p50(found).baseline_value
    named = regression(store, [*current, *candidate], arm="current")
    assert p50(named) == p50(again)
    with pytest.raises(PlanError, match="hold the arms current, candidate; which is the candid"):
        regression(store, [*current, *candidate], arm="other")


def test_a_run_that_cannot_be_trusted_spoils_the_verdict(tmp_path: Path) -> None:
    runs = blocks(tmp_path, ALIKE)
    runs[1].requests["started_ms"] += 50
    runs[1].requests["lateness_ms"] += 50
    report = regression(runs)
    assert (report.verdict.state, report.verdict.exit_code) == ("untrusted", 4)
    (failed,) = [check for check in report.checks if check.state == "fail"]
    assert failed.finding.startswith("not in 1 of 4 runs; in run-01: ")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: (of_one_arm(path, "current", [20.0, 20.1]), []), "nothing to hold it"),
        (
            lambda path: ((runs := of_one_arm(path, "current", [20.0, 20.1])), runs[:1]),
            "is on both sides",
        ),
        (
            lambda path: (
                [*blocks(path, ALIKE[:1]), *of_one_arm(path, "current", [20.0])], [],
            ),
            "of one arm, others of several",
        ),
        (
            lambda path: (
                [*of_one_arm(path, "a", [20.0], question=LOAD),
                 *of_one_arm(path, "b", [20.0], question=LOAD)], [],
            ),
            "hold the arms a, b; which is the baseline",
        ),
        (
            lambda path: (
                of_one_arm(path, "current", [20.0]),
                [written(path / "three", {"current": 20.0, "x": 20.0, "y": 20.0},
                         question=('compare.baseline="current"',), without=())],
            ),
            "which is the candidate?",
        ),
    ],
)  # fmt: skip
def test_runs_whose_sides_cannot_be_told_are_refused(make, said, tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=said):
        regression(*make(tmp_path))


def test_runs_of_which_none_was_completed_are_refused(tmp_path: Path) -> None:
    runs = blocks(tmp_path, ALIKE[:1], ended_as="crashed")
    with pytest.raises(RunFolderError, match="None of run-00"):
        regression(runs)


def test_the_candidates_arm_can_be_named(tmp_path: Path) -> None:
    before = of_one_arm(tmp_path, "current", [20.0, 20.1, 20.2])
    after = blocks(tmp_path, [(20.0, 30.0)] * 3)
    allowed = ("share of traffic", "traffic.routing")
    found = regression(before, after, allowed=allowed)
    assert p50(found).arm_value == pytest.approx(30)
    again = regression(before, after, arm="current", allowed=allowed)
    assert p50(again).arm_value == pytest.approx(20)


def test_of_three_arms_in_each_run_one_is_named(tmp_path: Path) -> None:
    plan = {"question": ('compare={ baseline="current", margins={ p50="30%" } }',), "without": ()}
    runs = [
        written(tmp_path / f"run-{n}", {"current": 20.0, "x": 20.0 + n / 10, "y": 30.0 + n}, **plan)
        for n in range(3)
    ]
    with pytest.raises(PlanError, match="which is the candidate"):
        regression(runs)
    assert p50(regression(runs, arm="y")).arm_value == pytest.approx((30 * 31 * 32) ** (1 / 3))
    assert p50(regression(runs, arm="x")).margin == 0.30  # of [compare], as there is no other


def test_the_spread_of_a_baseline_is_that_of_its_logarithms(tmp_path: Path) -> None:
    runs = of_one_arm(tmp_path, "current", [20.0, 21.0, 22.0])
    assert spreads(runs) == {"p50": pytest.approx(np.log([20, 21, 22]).std(ddof=1))}
    assert spreads(runs[:2]) == {}


def test_in_blocks_it_is_that_of_the_difference_between_the_arms(tmp_path: Path) -> None:
    runs = blocks(tmp_path, ALIKE)
    logs = np.log(ALIKE)
    apart = (logs[:, 1] - logs[:, 0]).std(ddof=1)
    assert spreads(runs, "blocks") == {"p50": pytest.approx(apart)}
    assert spreads(of_one_arm(tmp_path, "current", [20.0, 21.0, 22.0]), "blocks") == {}
