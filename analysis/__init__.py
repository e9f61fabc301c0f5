"""What the records mean: read a run, judge it, render the verdict.

run = analysis.read_run("reports/20260131-120000-ab-1a2b")
comparison = analysis.compare(run)
comparison.to_frame()
"""

from analysis.compare import Comparison, compare
from analysis.load import load_test
from analysis.read import Run, read_run
from analysis.results import Report

__all__ = ["Comparison", "Run", "compare", "judge", "load_test", "read_run"]


def judge(run: Run) -> Report:
    """Answer the question that the run's plan asks."""
    return load_test(run) if run.plan.question == "load" else compare(run).report
