"""Several run folders written by hand, whose numbers are known."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import analysis
from analysis.read import Run
from tests.analysis.runs import record, write_run

GATE = (
    'question="regression"',
    'regression={ baseline = "current", margins = { p50 = "10%", error_rate = "2pp" } }',
)


def written(
    folder: Path,
    medians_ms: Mapping[str, float],
    *overrides: str,
    failed: Mapping[str, int] | None = None,
    question: Sequence[str] = GATE,
    without: Sequence[str] = ("compare",),
    **manifest: Any,
) -> Run:
    """Write a run of 260 requests to each arm, of which all but the failed take its median."""
    rows = []
    for second, at_s in enumerate(np.arange(0, 130, 0.5)):
        for place, (arm, latency_ms) in enumerate(medians_ms.items()):
            seq = len(medians_ms) * second + place
            row = record(seq, arm, float(at_s), latency_ms, group=second if place else None)
            if 20 <= second < 20 + (failed or {}).get(arm, 0):
                row = row._replace(outcome="internal", http_status=500, error="no")
            rows.append(row)
    arms = ", ".join(f"{arm} = {{}}" for arm in medians_ms)
    routing = "paired" if len(medians_ms) > 1 else "pinned"
    settings = (*question, f"arms={{ {arms} }}", f'traffic.routing="{routing}"', *overrides)
    return analysis.read_run(write_run(folder, rows, settings, without=without, **manifest))


def blocks(tmp_path: Path, pairs: Sequence[tuple[float, float]], **fields: Any) -> list[Run]:
    """Write runs of both arms, with the median of each."""
    return [
        written(tmp_path / f"run-{n:02}", {"current": a, "candidate": b}, **fields)
        for n, (a, b) in enumerate(pairs)
    ]


def of_one_arm(
    tmp_path: Path, arm: str, medians_ms: Sequence[float], *overrides: str, **fields: Any
) -> list[Run]:
    """Write runs of one arm, with the median of each."""
    return [
        written(tmp_path / f"{arm}-{n:02}", {arm: median_ms}, *overrides, **fields)
        for n, median_ms in enumerate(medians_ms)
    ]
