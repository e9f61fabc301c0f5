"""A load test judged: known truths in, the right verdict out."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import analysis
from analysis.render import html, markdown, text
from analysis.results.report import Report
from analysis.results.run import SloResult
from experiments.errors import PlanError
from experiments.record import Record
from tests.analysis.runs import record, write_run

SLO = ('question="load"', 'slo={ p99 = "100ms", error_rate = "1%" }')


def rows_of(missed_share: float, *, duration_s: float = 120.0, **fields: Any) -> list[Record]:
    """50 requests a second, 10 s of warm-up first; this share of them is slow, at random."""
    rng = np.random.default_rng(3)
    rows = []
    for seq, at_s in enumerate(np.arange(0, 10 + duration_s, 0.02)):
        latency_ms = 150.0 if rng.random() < missed_share else 50.0
        rows.append(record(seq, "current", float(at_s), latency_ms, **fields))
    return rows


def judged(
    tmp_path: Path, rows: list[Record], *overrides: str, slo: tuple[str, ...] = SLO, **manifest: Any
) -> Report:
    one_arm = ("arms={ current = {} }", 'traffic.routing="pinned"')
    plain = [row._replace(group=None) for row in rows]
    path = write_run(
        tmp_path / "run", plain, (*slo, *one_arm, *overrides), without=["compare"], **manifest
    )
    return analysis.judge(analysis.read_run(path))


def result(report: Report, metric: str, **where: Any) -> SloResult:
    (found,) = [
        each
        for each in report.slo
        if each.metric == metric
        and all(getattr(each, key) == value for key, value in where.items())
    ]
    return found


def test_an_arm_well_within_its_limits_keeps_the_slo(tmp_path: Path) -> None:
    report = judged(tmp_path, rows_of(0.002))
    assert (report.question, report.verdict.state, report.verdict.exit_code) == ("load", "met", 0)
    found = result(report, "p99")
    assert found.value_ms == 50.0
    assert found.requests == 6000
    assert report.verdict.sentence.startswith("The SLO is kept by current: ")


def test_an_arm_well_beyond_a_limit_breaks_the_slo(tmp_path: Path) -> None:
    report = judged(tmp_path, rows_of(0.03))
    assert (report.verdict.state, report.verdict.exit_code) == ("broken", 1)
    assert result(report, "p99").call == "broken"
    assert result(report, "error_rate").call == "met"
    assert "where 1.0% may" in report.verdict.sentence


def test_at_the_limit_it_cannot_be_told(tmp_path: Path) -> None:
    report = judged(tmp_path, rows_of(0.0085))
    found = result(report, "p99")
    assert (report.verdict.state, report.verdict.exit_code) == ("undecided", 3)
    assert found.interval is not None
    assert found.interval.low is not None
    assert found.interval.high is not None
    assert found.interval.low < 0.01 < found.interval.high
    assert "would settle it" in (found.reason or "")


def test_a_failure_misses_every_latency_limit(tmp_path: Path) -> None:
    rows = [
        row._replace(outcome="internal", http_status=500) if row.seq % 20 == 0 else row
        for row in rows_of(0.0)
    ]
    report = judged(tmp_path, rows)
    found = result(report, "p99")
    assert (found.missed, found.value_ms, found.call) == (300, None, "broken")
    assert result(report, "error_rate").missed == 300


def test_an_endpoint_that_fails_half_the_time_breaks_the_slo_and_not_the_run(
    tmp_path: Path,
) -> None:
    rows = [
        row._replace(outcome="internal", http_status=500) if row.seq % 2 else row
        for row in rows_of(0.0)
    ]
    assert judged(tmp_path, rows).verdict.state == "broken"


def test_a_short_run_gets_no_verdict_and_no_interval(tmp_path: Path) -> None:
    report = judged(tmp_path, rows_of(0.0, duration_s=30.0), 'traffic.duration="30s"')
    assert report.verdict.state == "undecided"
    assert {(each.call, each.interval) for each in report.slo} == {("refused", None)}


def test_a_burst_breaks_a_window_that_the_whole_run_forgives(tmp_path: Path) -> None:
    rows = [
        row._replace(ended_ns=row.scheduled_ns + 150_000_000)
        if 70 <= row.scheduled_ns / 1e9 < 70.4
        else row
        for row in rows_of(0.0)
    ]
    slo = ('question="load"', 'slo={ p99 = "100ms", window = "10s" }')
    report = judged(tmp_path, rows, slo=slo)
    whole, window = result(report, "p99", window_s=None), result(report, "p99", window_s=10.0)
    assert whole.missed == window.missed == 20
    assert window.requests == 500
    assert window.call == "broken"
    assert window.at_s is not None
    assert window.at_s <= 70 < window.at_s + 10
    assert "in the 10 s from" in report.verdict.sentence


def test_windows_without_too_many_misses_keep_the_slo(tmp_path: Path) -> None:
    slo = ('question="load"', 'slo={ p90 = "100ms", window = "30s" }')
    report = judged(tmp_path, rows_of(0.01), slo=slo)
    assert {each.call for each in report.slo} == {"met"}
    worst = result(report, "p90", window_s=30.0)
    whole = result(report, "p90", window_s=None)
    assert worst.missed / worst.requests >= whole.missed / whole.requests


def test_a_phase_has_a_verdict_of_its_own(tmp_path: Path) -> None:
    rows = [
        row._replace(
            phase="warmup" if row.scheduled_ns < 10e9 else
            "base" if row.scheduled_ns < 80e9 else "peak",
            ended_ns=row.scheduled_ns + (150_000_000 if row.scheduled_ns >= 80e9 else 50_000_000),
        )
        for row in rows_of(0.0, duration_s=140.0)
    ]  # fmt: skip
    stages = '{ routing = "pinned", warmup = "10s", stages = [{ rate = 50.0, for = "70s", '
    stages += 'name = "base" }, { rate = 50.0, for = "70s", name = "peak" }] }'
    slo = 'slo={ phases = { base = { p99 = "100ms" }, peak = { p99 = "100ms" } } }'
    report = judged(tmp_path, rows, f"traffic={stages}", slo=('question="load"', slo))
    (warmup,) = [check.finding for check in report.checks if check.name == "warmup"]
    assert "(500 requests)" in warmup
    assert result(report, "p99", phase="base").call == "met"
    assert result(report, "p99", phase="peak").call == "broken"
    assert "in peak" in report.verdict.sentence


def test_a_run_that_its_slo_stopped_is_broken_however_short(tmp_path: Path) -> None:
    report = judged(
        tmp_path,
        rows_of(0.9, duration_s=12.0),
        ended_as="stopped",
        reason="Stopped by slo.abort_on_fail: too many.",
        slo_lost=["current", None, "p99", None],
    )
    assert (report.verdict.state, report.verdict.validity) == ("broken", "SUSPECT")
    assert "Stopped by slo.abort_on_fail: too many." in report.verdict.context
    # What is not plainly broken has no verdict from so short a run.
    assert result(report, "error_rate").call == "refused"


@pytest.mark.parametrize(("strays", "call"), [(1, "met"), (300, "undecided")])
def test_failures_that_name_no_variant_count_against_what_would_be_met(
    tmp_path: Path, strays: int, call: str
) -> None:
    rows = rows_of(0.0)
    for i in range(1000, 1000 + 15 * strays, 15):
        rows[i] = rows[i]._replace(arm=None, variant_invoked=None, outcome="internal")
    found = result(judged(tmp_path, rows), "p99")
    assert (found.call, found.missed) == (call, 0)
    assert (call == "met") == (found.reason is None)


def test_failures_that_name_no_variant_mend_nothing(tmp_path: Path) -> None:
    rows = rows_of(0.05)
    rows[3000] = rows[3000]._replace(arm=None, variant_invoked=None, outcome="internal")
    assert result(judged(tmp_path, rows), "p99").call == "broken"


def test_the_last_stretch_ends_with_the_run(tmp_path: Path) -> None:
    """120 s are no whole number of quarters of 47 s."""
    rows = [
        row._replace(ended_ns=row.scheduled_ns + 150_000_000)
        if row.scheduled_ns / 1e9 >= 128.5
        else row
        for row in rows_of(0.0)
    ]
    slo = ('question="load"', 'slo={ p99 = "100ms", window = "47s" }')
    found = result(judged(tmp_path, rows, slo=slo), "p99", window_s=47.0)
    assert (found.at_s, found.missed, found.call) == (83.0, 75, "broken")


def test_a_window_of_too_few_requests_cannot_show_its_limit_kept(tmp_path: Path) -> None:
    slo = ('question="load"', 'slo={ p99 = "100ms", window = "5s" }')
    found = result(judged(tmp_path, rows_of(0.0), slo=slo), "p99", window_s=5.0)
    assert found.call == "undecided"
    assert "holds about 250 requests; fewer than 300 cannot show" in (found.reason or "")


def test_chance_misses_in_some_windows_break_nothing(tmp_path: Path) -> None:
    slo = ('question="load"', 'slo={ p99 = "100ms", window = "10s" }')
    found = result(judged(tmp_path, rows_of(0.006), slo=slo), "p99", window_s=10.0)
    assert found.call == "met"
    assert "by no more than chance" in (found.reason or "")


def test_a_phase_of_no_length_is_refused(tmp_path: Path) -> None:
    stages = '{ routing = "pinned", warmup = "10s", stages = [{ rate = 50.0, for = "70s", '
    stages += 'name = "base" }, { rate = 50.0, for = "70s", name = "peak" }] }'
    rows = [row._replace(phase="warmup" if row.seq < 500 else "base") for row in rows_of(0.0)]
    rows = [*rows[:4000], rows[4000]._replace(phase="peak")]
    slo = 'slo={ phases = { peak = { p99 = "100ms" } } }'
    report = judged(
        tmp_path, rows, f"traffic={stages}", slo=('question="load"', slo), ended_as="interrupted"
    )
    assert result(report, "p99", phase="peak").call == "refused"


def test_a_comparison_is_not_made_where_none_is_asked_for(tmp_path: Path) -> None:
    judged(tmp_path, rows_of(0.0))
    with pytest.raises(PlanError, match="compares nothing"):
        analysis.compare(analysis.read_run(tmp_path / "run"))


def test_an_slo_beside_a_comparison_is_shown_and_does_not_decide(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    rows = [
        record(seq, arm, at_s, 20 * float(np.exp(0.3 * rng.standard_normal())))
        for seq, (at_s, arm) in enumerate(
            (float(at_s), arm)
            for at_s in np.arange(0, 130, 0.04)
            for arm in ("current", "candidate")
        )
    ]
    path = write_run(tmp_path / "run", rows, ['slo={ p50 = "1ms" }'])
    report = analysis.judge(analysis.read_run(path))
    assert report.question == "compare"
    assert report.verdict.state in ("same", "undecided")
    assert {each.call for each in report.slo} == {"broken"}

    # Six times 30 s are more than the 120 s measured.
    longer = write_run(tmp_path / "longer", rows, ['slo={ p50 = "1ms" }', 'compare.memory="30s"'])
    refused = analysis.judge(analysis.read_run(longer)).slo
    assert {each.call for each in refused} == {"refused"}
    assert "30 s that noise is taken to last" in str(refused[0].reason)


@pytest.mark.parametrize("render", [text.render, markdown.render, html.render])
def test_every_renderer_shows_the_limits(render: Any, tmp_path: Path) -> None:
    shown = render(judged(tmp_path, rows_of(0.03)))
    for word in ("p99 \u2264 100 ms", "✗ broken", "✓ met", "150 ms"):
        assert word in shown


@pytest.mark.parametrize("rows", [[], [record(i, "current", i * 0.1, 50.0) for i in range(90)]])
def test_an_arm_that_was_sent_nothing_is_not_told_of(tmp_path: Path, rows) -> None:
    cut = {"ended_as": "failing", "reason": "Half of all requests failed."}
    found = judged(tmp_path, rows, **cut).verdict
    assert (found.state, found.exit_code) == ("undecided", 3)
    assert found.sentence.endswith("keeps the SLO: no request was sent.")
