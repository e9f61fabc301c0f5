"""Timeouts among latencies, and pairs, in records written by hand."""

from pathlib import Path
from typing import Any

import pytest

import analysis
from analysis import samples
from analysis.read import Run
from analysis.summary import arm_summary
from experiments.record import Record
from tests.analysis.runs import record, write_run


def run_of(tmp_path: Path, rows: list[Record], overrides: tuple[str, ...] = ()) -> Run:
    return analysis.read_run(write_run(tmp_path / "run", rows, overrides))


def alternating(changes: dict[int, dict[str, Any]], *, count: int = 200) -> list[Record]:
    """Requests 0.5 s apart from 10 s on, to each arm in turn; request i takes i + 1 ms."""
    arms = "current", "candidate"
    return [
        record(i, arms[i % 2], 10 + i * 0.5, changes.get(i, {}).pop("ms", i + 1.0),
               **changes.get(i, {}))
        for i in range(count)
    ]  # fmt: skip


def test_a_timeout_is_longer_than_any_answer(tmp_path: Path) -> None:
    # The candidate takes 2, 4, ... 200 ms; its first ten requests timed out after 150 ms.
    gone = {i: {"outcome": "timeout", "ms": 150.0} for i in range(1, 21, 2)}
    run = run_of(tmp_path, alternating(gone))
    found = samples.measured(run, run.measured).latencies("current", "candidate", "response")
    # Ninety are left, 22 to 200 ms: the 65th is 150, and what lies there hangs on the ten.
    assert found.hidden(0.64) is None
    assert found.sample.arm.quantile(0.64) == pytest.approx(148)
    refused = found.hidden(0.65)
    assert refused is not None
    assert refused.reason == (
        "10 requests of candidate timed out, and it hangs on how long they would have taken."
    )
    assert (refused.baseline_value, refused.arm_value) == (pytest.approx(129), None)


def test_the_shortest_wait_of_either_arm_counts_for_both(tmp_path: Path) -> None:
    run = run_of(tmp_path, alternating({0: {"outcome": "model_timeout", "ms": 60.0}}))
    found = samples.measured(run, run.measured).latencies("current", "candidate", "response")
    # One is above 60 ms in the baseline already at its 30th, 61 ms; in the arm at its 30th, 60 ms.
    assert found.hidden(0.29) is None
    refused = found.hidden(0.30)
    assert refused is not None
    assert refused.baseline_value is None or refused.arm_value is None


def test_a_mean_is_refused_where_one_request_timed_out(tmp_path: Path) -> None:
    run = run_of(tmp_path, alternating({1: {"outcome": "timeout", "ms": 900.0}}))
    refused = (
        samples.measured(run, run.measured)
        .latencies("current", "candidate", "service")
        .hidden(None)
    )
    assert refused is not None
    # 1, 3, ... 199.
    assert (refused.baseline_value, refused.arm_value) == (pytest.approx(100), None)
    assert refused.reason.startswith("1 request of candidate timed out")
    summary = arm_summary(run, run.measured, "candidate")
    assert (summary.mean_response_ms, summary.mean_service_ms) == (None, None)
    assert arm_summary(run, run.measured, "current").mean_response_ms == pytest.approx(100)


def test_other_failures_say_nothing_of_latency(tmp_path: Path) -> None:
    failed = {i: {"outcome": "throttled", "ms": 1e6} for i in range(1, 100, 2)}
    run = run_of(tmp_path, alternating(failed))
    found = samples.measured(run, run.measured).latencies("current", "candidate", "response")
    assert found.hidden(0.999) is None
    assert found.hidden(None) is None
    assert found.sample.arm.size == 50
    assert arm_summary(run, run.measured, "candidate").percentiles[-1].response_ms is not None


def test_the_percentiles_of_an_arm_end_where_a_timeout_may_lie(tmp_path: Path) -> None:
    gone = {i: {"outcome": "timeout", "ms": 150.0} for i in range(1, 21, 2)}
    run = run_of(tmp_path, alternating(gone))
    summary = arm_summary(run, run.measured, "candidate")
    assert max(p.quantile for p in summary.percentiles) < 0.65
    assert max(p.response_ms or 0 for p in summary.percentiles) < 150
    assert (summary.succeeded, summary.failed) == (90, 10)
    assert arm_summary(run, run.measured, "current").percentiles[-1].quantile == pytest.approx(0.99)


def test_timeouts_of_no_known_arm_may_be_either_arms(tmp_path: Path) -> None:
    unnamed = {"outcome": "timeout", "ms": 5000.0, "variant_asked": None, "variant_invoked": None}
    rows = [
        row._replace(group=None, arm=None if row.outcome == "timeout" else row.arm)
        for row in alternating({i: dict(unnamed) for i in (50, 51)})
    ]
    run = run_of(tmp_path, rows, ("traffic.routing=weighted",))
    found = samples.measured(run, run.measured).latencies("current", "candidate", "response")
    # Two more of 99 would make the 0.98 quantile the 99th of 101, and the 0.981 the 100th.
    assert found.hidden(0.98) is None
    refused = found.hidden(0.981)
    assert refused is not None
    assert "2 requests of no known arm timed out" in refused.reason
    assert found.hidden(None) is not None


def test_only_complete_pairs_are_paired(tmp_path: Path) -> None:
    # Pairs of requests 0 and 1, 2 and 3, ...; the third lacks a latency, the fourth a request.
    rows = alternating({4: {"outcome": "model_error"}, 9: {"outcome": "timeout", "ms": 7000.0}})
    del rows[6]
    run = run_of(tmp_path, rows)
    found = samples.measured(run, run.measured).pairs("current", "candidate", "response")
    sample = found.latencies.sample
    assert (sample.baseline.size, sample.arm.size, found.incomplete) == (98, 98, 2)
    assert sample.baseline.counts.tolist() == sample.arm.counts.tolist()
    assert found.latencies.hidden(0.999) is not None


@pytest.mark.parametrize(("kind", "failed"), [(None, 5.0), ("throttled", 3.0), ("timeout", 2.0)])
def test_failures_are_counted_by_kind(tmp_path: Path, kind: str | None, failed: float) -> None:
    changes: dict[int, dict[str, Any]] = {i: {"outcome": "throttled"} for i in (1, 3, 5)}
    changes |= {i: {"outcome": "timeout"} for i in (7, 9)}
    run = run_of(tmp_path, alternating(changes))
    sample = samples.measured(run, run.measured).failures("current", "candidate", kind)
    assert (sample.baseline.sums.sum(), sample.arm.sums.sum()) == (0, failed)
    assert (sample.baseline.size, sample.arm.size) == (100, 100)
