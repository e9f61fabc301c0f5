"""What the records mean: read a run, judge it, render the verdict.

run = analysis.read_run("reports/20260131-120000-ab-1a2b")
comparison = analysis.compare(run)
comparison.to_frame()
"""

from analysis.blocks import compare_runs
from analysis.capacity import capacity
from analysis.compare import Comparison, compare
from analysis.conditions import accepted
from analysis.load import load_test
from analysis.probes import judge_probes
from analysis.read import Run, read_run
from analysis.regression import regression
from analysis.results.report import Report

__all__ = [
    "Comparison",
    "Run",
    "accepted",
    "capacity",
    "compare",
    "compare_runs",
    "judge",
    "judge_probes",
    "load_test",
    "read_run",
    "regression",
]


def judge(run: Run) -> Report:
    """Answer the question that the run's plan asks."""
    if run.plan.question == "regression":
        return regression([run])
    return load_test(run) if run.plan.question == "load" else compare(run).report
