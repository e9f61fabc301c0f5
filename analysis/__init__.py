"""What the records mean: read a run, judge it, render the verdict.

run = analysis.read_run("reports/20260131-120000-ab-1a2b")
comparison = analysis.compare(run)
comparison.to_frame()
"""

from analysis.compare import Comparison, compare
from analysis.read import Run, read_run

__all__ = ["Comparison", "Run", "compare", "read_run"]
