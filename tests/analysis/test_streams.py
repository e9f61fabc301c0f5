"""The time to a stream's first byte is judged as the time of the whole answer is, and beside it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import analysis
from analysis.power import power_of_plan_like
from analysis.probes import read_probe
from analysis.rates import Observed, judge_rate
from analysis.regression import regression
from analysis.rehearse import rehearse_plan, streams_of
from analysis.render import html, markdown, text
from analysis.results.comparison import Difference
from analysis.results.report import Report
from experiments.errors import PlanError
from experiments.plan_file import find, load
from experiments.record import Record
from experiments.slo import Slo, thresholds
from experiments.traffic.guard import Guard
from tests.analysis.runs import MS, in_flight_counted, record, write_run

STREAM = 'request.operation="stream"'
MARGINS = 'compare.margins={ p50 = "5%", ttfb_p50 = "5%", ttfb_p90 = "7.5%" }'


def streamed(seq: int, arm: str, at_s: float, first_ms: float, whole_ms: float) -> Record:
    """Give a request whose first part came after `first_ms`, and the longest gap is 7 ms."""
    plain = record(seq, arm, at_s, whole_ms, chunks=10, longest_gap_ns=7 * MS)
    return plain._replace(first_byte_ns=plain.scheduled_ns + round(first_ms * MS))


def pairs_of(slower: float) -> list[Record]:
    """130 s of pairs; answers take 100 ms, and first parts of the candidate `slower` times 20."""
    rng = np.random.default_rng(2)
    rows: list[Record] = []
    for group, at_s in enumerate(np.sort(rng.uniform(0, 130, 3250))):
        for arm, factor in (("current", 1.0), ("candidate", slower)):
            first_ms = 20 * factor * float(np.exp(0.3 * rng.standard_normal()))
            whole_ms = first_ms + 100 * float(np.exp(0.1 * rng.standard_normal()))
            row = streamed(len(rows), arm, float(at_s), first_ms, whole_ms)
            rows.append(row._replace(group=group))
    return in_flight_counted(rows)


def judged(folder: Path, rows: list[Record], *overrides: str, **options: Any) -> Report:
    path = write_run(folder / "run", rows, [STREAM, *overrides], **options)
    return analysis.judge(analysis.read_run(path))


def found(report: Report, metric: str) -> Difference:
    (item,) = [each for each in report.differences if each.metric == metric]
    return item


def test_a_later_first_byte_is_slower_though_the_whole_is_not(tmp_path: Path) -> None:
    report = judged(tmp_path, pairs_of(1.18), MARGINS)
    assert report.verdict.exit_code == 1
    assert report.verdict.sentence.startswith("Don't ship candidate: at TTFB p")
    first, whole = found(report, "ttfb_p50"), report.differences[0]
    assert (first.measure, first.call) == ("first_byte", "worse")
    assert first.ratio is not None
    assert (first.ratio.interval.low or 9) < 1.18 < (first.ratio.interval.high or 0)
    assert (whole.metric, whole.measure, whole.call) == ("p50", "response", "same")
    own = analysis.read_run(tmp_path / "run").measured.query("arm == 'candidate'")
    wanted = np.quantile(own["first_byte_ms"] - own["scheduled_ms"], 0.5, method="inverted_cdf")
    assert first.arm_value == pytest.approx(wanted, rel=1e-9)
    for shown in (text.render(report), markdown.render(report), html.render(report)):
        assert "TTFB p50" in shown
    assert "streamed 10.0 parts an answer; the longest gap" in text.render(report)
    assert {point.baseline_ms > 60 for point in report.shifts} == {True}  # of the whole


def test_equal_streams_show_no_difference(tmp_path: Path) -> None:
    report = judged(tmp_path, pairs_of(1.0), MARGINS)
    assert report.verdict.state == "same"
    streaming = report.arms[0].streaming
    assert streaming is not None
    assert (streaming.mean_chunks, streaming.longest_gap_p99_ms) == (10.0, 7.0)


def test_who_timed_out_after_its_first_part_has_a_first_byte(tmp_path: Path) -> None:
    rows = pairs_of(1.0)
    spoilt = [
        row._replace(outcome="timeout", ended_ns=row.scheduled_ns + 70_000 * MS)
        if row.seq % 2
        else row
        for row in rows
    ]
    report = judged(tmp_path, spoilt, MARGINS)
    assert found(report, "ttfb_p50").arm_value is not None
    assert "timed out" in (report.differences[0].reason or "")
    silent = [row._replace(first_byte_ns=None) if row.outcome != "ok" else row for row in spoilt]
    report = judged(tmp_path / "silent", silent, MARGINS)
    assert "timed out" in (found(report, "ttfb_p50").reason or "")


def without_parts(rows: list[Record], each: int) -> list[Record]:
    """Let every so many of the candidate's streams end at once, and well, without a part."""
    empty = {"first_byte_ns": None, "chunks": 0, "longest_gap_ns": None}
    return [
        row._replace(**empty, ended_ns=row.scheduled_ns + 4 * MS)
        if row.arm == "candidate" and (row.group or 0) % each == 0
        else row
        for row in rows
    ]


@pytest.mark.parametrize(("each", "state"), [(60, "fail"), (200, "warn")])
def test_streams_without_a_part_are_no_good_answers(tmp_path: Path, each: int, state: str) -> None:
    report = judged(tmp_path, without_parts(pairs_of(1.0), each), MARGINS)
    (check,) = [check for check in report.checks if check.name == "parts"]
    assert check.state == state
    assert check.finding.endswith("of candidate, 0% of current")
    assert (report.verdict.state == "untrusted") == (state == "fail")
    if each == 200:  # of 0.5 %, which p99.9 reaches and p50 does not
        assert found(report, "ttfb_p50").call == "same"
        assert found(report, "ttfb_p99").arm_value is not None


def test_a_stream_without_a_part_misses_every_limit_of_the_first_byte(tmp_path: Path) -> None:
    rows = [
        streamed(i, "candidate", float(at), 50.0, 400.0)._replace(group=i)
        for i, at in enumerate(np.arange(0, 130, 0.02))
    ]
    limits = ('question="load"', 'slo={ ttfb_p99 = "100ms", abort_on_fail = true }')
    one_arm = ("arms={ candidate = {} }", 'traffic.routing="pinned"')
    empty = without_parts(rows, 20)
    report = judged(tmp_path, empty, *limits, *one_arm, without=["compare"])
    assert (report.slo[0].missed, report.slo[0].call) == (300, "broken")  # of 6,000
    path = write_run(tmp_path / "rate", empty, [STREAM, *limits, *one_arm, "traffic.rate=50"])
    probe = read_probe(path)
    assert probe is not None
    limit = judge_rate(50.0, [probe.observed], probe.run.plan.thresholds).limits[0]
    assert (limit.missed, limit.call) == (300, "broken")
    guard = Guard(load(find("ab"), [*limits[1:], STREAM]), {"warmup": 1000, "measure": 12_000})
    for row in empty:
        guard.note(row)
    assert guard.lost(130.0) is not None


def test_full_slots_are_the_clients_where_only_the_first_byte_has_a_limit(tmp_path: Path) -> None:
    times = np.arange(0, 130, 0.02)
    rows = [streamed(i, "current", float(at), 50.0, 400.0) for i, at in enumerate(times)]
    full = [row._replace(group=None, slots_busy=64) for row in rows]
    one_arm = ("question=load", "arms={ current = {} }", "traffic.routing=pinned")
    for slo, is_left_out in (("ttfb_p99", True), ("p99", False), ("error_rate", False)):
        limit = f'slo={{ {slo} = "{"1%" if slo == "error_rate" else "1s"}" }}'
        overrides = [STREAM, limit, *one_arm, "traffic.rate=50"]
        probe = read_probe(write_run(tmp_path / slo, full, overrides, without=["compare"]))
        assert probe is not None
        assert (probe.left_out is not None) == is_left_out


def test_whole_answers_say_nothing_of_first_bytes(tmp_path: Path) -> None:
    whole = [row._replace(chunks=None, longest_gap_ns=None) for row in pairs_of(1.0)]
    before = [analysis.read_run(write_run(tmp_path / f"b{i}", whole)) for i in range(3)]
    asked = 'regression={ margins={ p50="5%", ttfb_p50="5%" }, baseline="current" }'
    after = [
        analysis.read_run(write_run(tmp_path / f"a{i}", pairs_of(1.0), [STREAM, asked]))
        for i in range(3)
    ]
    report = regression(before, after, arm="current", allowed=["request.operation"])
    assert "is of first bytes where answers came whole" in (found(report, "ttfb_p50").reason or "")
    plan = load(find("ab"), [STREAM, MARGINS])
    with pytest.raises(PlanError, match="says nothing of a stream's first byte"):
        power_of_plan_like(plan, before[0])
    with pytest.raises(PlanError, match="what is simulated is the time of whole answers"):
        rehearse_plan(plan, streams=streams_of("iid"), effect=None, runs=1, seed=1)


@pytest.mark.parametrize(("first_ms", "state"), [(50.0, "met"), (150.0, "broken")])
def test_a_limit_of_the_first_byte_is_kept_or_broken(
    tmp_path: Path, first_ms: float, state: str
) -> None:
    times = np.arange(0, 130, 0.02)
    rows = [streamed(i, "current", float(at), first_ms, 400.0) for i, at in enumerate(times)]
    slo = ('question="load"', 'slo={ ttfb_p99 = "100ms", p99 = "1s" }')
    one_arm = ("arms={ current = {} }", 'traffic.routing="pinned"')
    plain = [row._replace(group=None) for row in rows]
    report = judged(tmp_path, plain, *slo, *one_arm, without=["compare"])
    assert report.verdict.state == state
    assert [(each.metric, each.measure, each.value_ms) for each in report.slo] == [
        ("ttfb_p99", "first_byte", first_ms),
        ("p99", "response", 400.0),
    ]
    assert "TTFB p99" in text.render(report)
    assert any("TTFB" in each for each in report.method)


def test_a_rate_is_judged_by_first_bytes_too() -> None:
    limit = thresholds(Slo.model_validate({"ttfb_p99": 0.1}), ["a"])
    at_s = (np.arange(3000) + 0.5) / 100
    for first_ms, call in ((50.0, "pass"), (150.0, "fail")):
        seen = Observed(at_s, np.full(3000, 900.0), at_s + 0.9, 30.0, np.full(3000, first_ms))
        assert judge_rate(100.0, [seen, seen], limit).call == call


def test_the_guard_counts_first_bytes() -> None:
    slo = 'slo={ ttfb_p99 = "100ms", abort_on_fail = true }'
    for first_ms in (50.0, 150.0):
        guard = Guard(load(find("ab"), [slo, STREAM]), {"warmup": 1000, "measure": 12_000})
        for i in range(3000):
            guard.note(streamed(i, "current", 10 + i / 100, first_ms, 400.0))
        assert (guard.lost(40.0) is None) == (first_ms == 50.0)


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ('slo={ ttfb_p99 = "1s" }', 'slo.ttfb_p99 needs request.operation = "stream"'),
        (MARGINS, 'margins.ttfb_p50 needs request.operation = "stream"'),
        ('compare.margins={ ttfb = "5%" }', "margins.ttfb is no metric"),
    ],
)
def test_first_bytes_are_asked_of_streams_only(key: str, said: str) -> None:
    with pytest.raises(PlanError, match=said):
        load(find("ab"), [key])


@pytest.mark.parametrize(
    "key",
    [
        'request.target_model="m.tar.gz"',
        'arms.current.request={ target_model="m.tar.gz" }',
        'request.enable_explanations="`true`"',
        'request.session_id="NEW_SESSION"',
    ],
)
def test_what_a_stream_does_not_take_is_refused(key: str) -> None:
    with pytest.raises(PlanError, match='operation = "stream"'):
        load(find("ab"), [key, STREAM])
