"""Several runs of one comparison, judged run by run."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ttest_rel

from analysis import compare_runs
from experiments.errors import PlanError, RunFolderError
from tests.analysis.several import blocks

COMPARE = ("compare.margins={ p50 = '10%' }",)
AB = {"question": COMPARE, "without": ()}


def test_runs_of_a_comparison_are_compared_run_by_run(tmp_path: Path) -> None:
    pairs = [(20.0, 15.1), (24.0, 18.0), (21.0, 15.5), (22.0, 16.7)]
    report = compare_runs(blocks(tmp_path, pairs, **AB))
    assert report.question == "compare"
    assert (report.verdict.state, report.verdict.exit_code) == ("better", 0), report.verdict
    logs = np.log(np.array(pairs))
    oracle = ttest_rel(logs[:, 1], logs[:, 0])
    found = {(d.metric, d.measure): d for d in report.differences}
    assert {metric for metric, _ in found} == {
        "p50", "p90", "p95", "p99", "p99.9", "mean", "error_rate",
    }  # fmt: skip
    assert found["p50", "response"].p_value == pytest.approx(oracle.pvalue)
    assert found["p50", "response"].margin == 0.1
    assert found["p50", "service"].margin is None
    assert found["p99", "response"].call == "refused"  # 9 requests lie beyond it
    assert found["mean", "response"].call == "better"


def test_two_runs_are_enough_to_see_a_spread_and_one_is_not(tmp_path: Path) -> None:
    report = compare_runs(blocks(tmp_path, [(20.0, 21.0), (20.0, 20.5)], **AB))
    assert report.verdict.state == "undecided"
    assert "more run a side would settle it" in report.verdict.context[0]
    report = compare_runs(blocks(tmp_path / "one", [(20.0, 21.0)], **AB))
    assert report.verdict.state == "undecided"
    assert "make at least 2" in report.verdict.context[0]


def test_runs_of_different_plans_are_refused(tmp_path: Path) -> None:
    runs = blocks(tmp_path / "a", [(20.0, 21.0)], **AB)
    other = {**AB, "question": ("compare.margins={ p90 = '10%' }",)}
    with pytest.raises(PlanError, match="not those of"):
        compare_runs([*runs, *blocks(tmp_path / "b", [(20.0, 21.0)], **other, run_id="other")])
    with pytest.raises(PlanError, match="compares nothing"):
        compare_runs(blocks(tmp_path / "c", [(20.0, 21.0)]))


def test_runs_made_otherwise_are_refused_unless_allowed(tmp_path: Path) -> None:
    runs = [
        *blocks(tmp_path / "a", [(20.0, 21.0)], **AB, conditions={"client CPU": "EPYC"}),
        *blocks(
            tmp_path / "b", [(20.0, 20.5)], **AB, conditions={"client CPU": "Xeon"}, run_id="other"
        ),
    ]
    with pytest.raises(RunFolderError, match="client CPU was EPYC in run-00 and Xeon in other"):
        compare_runs(runs)
    report = compare_runs(runs, allowed=["client CPU"])
    assert "this was allowed" in report.checks[1].finding
