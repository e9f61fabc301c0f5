"""A whole run judged: known truths in, the right verdict out."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import analysis
from analysis import Comparison
from analysis.render import markdown, tables, text
from analysis.render.format import DASH
from analysis.results.comparison import Difference
from experiments.record import Record
from tests.analysis.runs import in_flight_counted, record, write_run


def written(folder: Path, slow_down: float, overrides: tuple[str, ...] = ()) -> analysis.Run:
    """130 s of pairs, 25 a second, lognormal; the candidate takes `slow_down` times 20 ms."""
    rng = np.random.default_rng(1)
    rows: list[Record] = []
    for group, at_s in enumerate(np.sort(rng.uniform(0, 130, 3250))):
        for arm, factor in (("current", 1.0), ("candidate", slow_down)):
            latency_ms = 20.0 * factor * float(np.exp(0.3 * rng.standard_normal()))
            rows.append(record(len(rows), arm, float(at_s), latency_ms, group=group))
    rows = in_flight_counted(rows)
    return analysis.read_run(write_run(folder, rows, overrides))


Compared = Callable[..., Comparison]


@pytest.fixture(scope="module")
def run_of(tmp_path_factory: pytest.TempPathFactory) -> Compared:
    """Compare the arms of a run of this slow-down under a plan so changed; each is made once."""

    @cache
    def compared(slow_down: float, *overrides: str) -> Comparison:
        return analysis.compare(written(tmp_path_factory.mktemp("run"), slow_down, overrides))

    return compared


def item(comparison: Comparison, metric: str, measure: str = "response") -> Difference:
    return next(
        d for d in comparison.report.differences if (d.metric, d.measure) == (metric, measure)
    )


def test_a_slower_candidate_is_not_to_be_shipped(run_of: Compared) -> None:
    comparison = run_of(1.3)
    assert comparison.report.verdict.exit_code == 1
    found = item(comparison, "p50").ratio
    assert found is not None
    assert found.interval.low is not None
    assert found.interval.high is not None
    assert found.interval.low < 1.3 < found.interval.high
    assert str(comparison).startswith("Don't ship candidate")


def test_a_faster_candidate_is_better(run_of: Compared) -> None:
    comparison = run_of(0.7)
    assert comparison.report.verdict.state == "better"
    assert item(comparison, "error_rate", "outcome").call == "same"


def test_equal_arms_show_no_difference_that_matters(run_of: Compared) -> None:
    verdict = run_of(1.0).report.verdict
    assert (verdict.state, verdict.validity, verdict.exit_code) == ("same", "VALID", 0)


def test_quantiles_are_those_of_the_records(tmp_path: Path, run_of: Compared) -> None:
    run = written(tmp_path / "run", 1.3)
    comparison = run_of(1.3)
    own = run.measured[run.measured["arm"] == "candidate"]["response_ms"].to_numpy()
    wanted = np.quantile(own, 0.9, method="inverted_cdf")
    assert item(comparison, "p90").arm_value == pytest.approx(wanted, rel=1e-12)
    summary = comparison.report.arms[1]
    assert summary.requests == len(own)
    at_90 = next(p for p in summary.percentiles if p.quantile == 0.9)
    assert at_90.response_ms == pytest.approx(wanted, rel=1e-12)


def test_a_table_gives_ratios_with_intervals_and_milliseconds_without(run_of: Compared) -> None:
    frame = run_of(1.3).to_frame().set_index(["metric", "measure"])
    p50 = frame.loc[("p50", "response")]
    assert p50["difference"] == pytest.approx(p50["value"] - p50["baseline"])
    assert p50["ratio"] == pytest.approx(p50["value"] / p50["baseline"])
    assert p50["ratio_low"] < p50["ratio"] < p50["ratio_high"]
    assert np.isnan(p50["difference_low"])
    errors = frame.loc[("error_rate", "outcome")]
    assert errors["difference_low"] < 0 < errors["difference_high"]


def test_waiting_on_this_side_counts_in_response_time_only(tmp_path: Path) -> None:
    rows = [
        record(i, ("current", "candidate")[i % 2], i * 0.04, 20.0,
               started_ns=round(i * 0.04 * 1e9) + 15_000_000, slots_busy=64)
        for i in range(3250)
    ]  # fmt: skip
    comparison = analysis.compare(analysis.read_run(write_run(tmp_path / "run", rows)))
    assert item(comparison, "p50", "response").arm_value == pytest.approx(20.0)
    assert item(comparison, "p50", "service").arm_value == pytest.approx(5.0)


def test_a_closed_loop_is_judged_by_service_time_and_says_so(run_of: Compared) -> None:
    closed = (
        'traffic={routing="paired", arrivals="closed", users=8, warmup="10s", duration="120s"}',
    )
    comparison = run_of(1.3, *closed)
    report = comparison.report
    assert report.verdict.exit_code == 1
    assert {d.measure for d in report.differences} == {"service", "outcome"}
    assert item(comparison, "p50", "service").margin == 0.05
    assert report.run.rate_rps is None
    assert report.arms[0].mean_response_ms is None
    assert {p.response_ms for p in report.arms[0].percentiles} == {None}
    assert any("closed loop" in text for text in report.cannot_tell)
    for shown in (text.render(report), markdown.render(report), comparison._repr_html_()):
        assert "ervice time, from when each request left" in shown
        assert "esponse time" not in shown


def test_failures_never_mix_into_latency_and_are_listed_by_kind(tmp_path: Path) -> None:
    rows = []
    for i in range(3250):
        arm, at_s = ("current", "candidate")[i % 2], i * 0.04
        failed = {"outcome": "timeout", "error": "no answer", "variant_invoked": None}
        slow = i % 50 == 1
        rows.append(
            record(i, arm, at_s, 70_000.0 if slow else 20.0 + i % 7, **(failed if slow else {}))
        )
    report = analysis.compare(analysis.read_run(write_run(tmp_path / "run", rows))).report
    candidate = report.arms[1]
    assert candidate.percentiles[-1].response_ms < 30
    # Of the measured 3,000, every 50th is one of the candidate's, from number 251 on.
    assert [(e.arm, e.outcome, e.count) for e in report.errors] == [("candidate", "timeout", 60)]
    assert report.errors[0].example == "no answer"
    # The slowest 4 % of its requests timed out: p95 is where they are, and p90 is not.
    found = {d.metric: d for d in report.differences if d.measure == "response"}
    assert found["p90"].arm_value == pytest.approx(26)
    for metric in ("p99", "mean"):
        assert found[metric].call == "refused"
        assert found[metric].arm_value is None
        assert "60 requests of candidate timed out" in str(found[metric].reason)
    assert max(point.quantile for point in report.shifts) == 0.95
    by_kind = next(d for d in report.differences if d.metric == "error_rate.timeout")
    assert (by_kind.margin, by_kind.arm_value) == (None, pytest.approx(60 / 1500))
    rate = next(d for d in report.differences if d.metric == "error_rate")
    assert rate.arm_value == pytest.approx(60 / 1500)
    assert rate.call == "worse"
    assert report.verdict.exit_code == 1


def test_a_run_without_a_single_answer_gives_no_number(tmp_path: Path) -> None:
    rows = [
        record(i, ("current", "candidate")[i % 2], i * 0.04, 1.0, outcome="connection",
               variant_invoked=None, prediction=None)
        for i in range(3250)
    ]  # fmt: skip
    report = analysis.compare(analysis.read_run(write_run(tmp_path / "run", rows))).report
    assert report.verdict.exit_code in (3, 4)
    latencies = [d for d in report.differences if d.measure == "response"]
    assert all(d.arm_value is None and d.call == "refused" and d.reason for d in latencies)
    assert report.answers is None


def test_an_empty_run_gives_no_number_and_no_fault(tmp_path: Path) -> None:
    report = analysis.compare(analysis.read_run(write_run(tmp_path / "run", []))).report
    assert report.verdict.exit_code in (3, 4)


def test_three_arms_are_each_compared_with_the_baseline(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    arms = ("current", "candidate", "third")
    rows = [
        record(i, arms[i % 3], i * 0.02, 20.0 * (1 + 0.2 * (i % 3)) * float(rng.uniform(0.9, 1.1)),
               group=i // 3)
        for i in range(6500)
    ]  # fmt: skip
    path = write_run(tmp_path / "run", rows, ["arms.third={}"])
    report = analysis.compare(analysis.read_run(path)).report
    p50 = {d.arm: d for d in report.differences if (d.metric, d.measure) == ("p50", "response")}
    assert set(p50) == {"candidate", "third"}
    assert p50["third"].p_value_holm is not None
    assert {d.call for d in p50.values()} == {"worse"}


def test_the_same_records_give_the_same_report_twice(tmp_path: Path, run_of: Compared) -> None:
    again = analysis.compare(written(tmp_path / "again", 1.3)).to_frame()
    assert again.equals(run_of(1.3).to_frame())


def test_an_arm_that_fails_is_never_the_better_one(tmp_path: Path) -> None:
    rows = []
    for i in range(3250):
        failed = i % 2 == 1 and i % 10 == 1
        changes = {"outcome": "model_error"} if failed else {}
        rows.append(
            record(
                i, ("current", "candidate")[i % 2], i * 0.04, 20.0 - i % 2 * 10 + i % 3, **changes
            )
        )
    path = write_run(tmp_path / "run", rows, ["compare.margins={p50='5%'}"])
    report = analysis.compare(analysis.read_run(path)).report
    assert item(Comparison(report=report), "p50").call == "better"
    assert (report.verdict.state, report.verdict.exit_code) == ("worse", 1)
    assert "fails more often" in report.verdict.sentence


def test_failures_that_name_no_variant_leave_error_rates_open(tmp_path: Path) -> None:
    rows = []
    for i in range(3250):
        own: dict[str, Any] = {"group": None, "variant_asked": None}
        if i % 40 == 7:
            rows.append(
                record(i, None, i * 0.04, 20.0, outcome="internal", **own)._replace(
                    variant_invoked=None, arm=None
                )
            )
        else:
            rows.append(record(i, ("current", "candidate")[i % 2], i * 0.04, 20.0 + i % 3, **own))
    path = write_run(tmp_path / "run", rows, ["traffic.routing=weighted"])
    report = analysis.compare(analysis.read_run(path)).report
    rate = item(Comparison(report=report), "error_rate", "outcome")
    assert rate.call == "refused"
    assert rate.reason == "75 failed requests did not name the variant met."
    assert report.verdict.exit_code == 3


def test_each_kind_of_failure_has_its_rates_beside_the_verdict(tmp_path: Path) -> None:
    rows = []
    for i in range(3250):
        kind = {5: "throttled", 7: "throttled", 8: "model_error"}.get(i % 40)
        changes = {"outcome": kind} if kind else {}
        rows.append(record(i, ("current", "candidate")[i % 2], i * 0.04, 20.0 + i % 3, **changes))
    path = write_run(tmp_path / "run", rows, ["compare.margins={error_rate='10pp'}"])
    report = analysis.compare(analysis.read_run(path)).report
    rates = {d.metric: d for d in report.differences if d.measure == "outcome"}
    assert list(rates) == ["error_rate", "error_rate.throttled", "error_rate.model_error"]
    throttled, broken = rates["error_rate.throttled"], rates["error_rate.model_error"]
    assert (throttled.baseline_value, throttled.arm_value) == (0, pytest.approx(0.1))
    assert (broken.baseline_value, broken.arm_value) == (pytest.approx(0.05), 0)
    # Each rate's own interval leaves out 0; only the rate of all failures is called.
    assert throttled.difference.interval.low > 0 > broken.difference.interval.high
    assert (throttled.call, broken.call) == ("undecided", "undecided")
    assert rates["error_rate"].call == "same"
    kinds = tables.rows(report, "candidate", "outcome")[1:]
    assert [row.word for row in kinds] == [DASH, DASH]
    assert tables.notes(report, kinds) == ()
    assert throttled.p_value_holm is None
    assert report.verdict.state == "same"
    assert "throttled" in text.render(report)


def test_an_arm_without_requests_is_named(tmp_path: Path) -> None:
    rows = [record(i, "current", i * 0.04, 20.0 + i % 3) for i in range(3250)]
    report = analysis.compare(analysis.read_run(write_run(tmp_path / "run", rows))).report
    reasons = {d.reason for d in report.differences}
    assert reasons == {"No request of candidate can be judged."}


def test_the_plan_says_how_long_noise_lasts(run_of: Compared) -> None:
    plain = run_of(1.0)
    assert "Noise is taken to last 10 s, as no earlier run says otherwise." in plain.report.method
    longer = run_of(1.0, "compare.memory='15s'")
    assert "Noise is taken to last 15 s, as the plan says." in longer.report.method
    check = next(c for c in longer.report.checks if c.name == "memory")
    assert (check.state, check.finding) == (
        "warn",
        "short run; noise is taken to last 15 s, as the plan says",
    )
    p50 = (item(plain, "p50").ratio, item(longer, "p50").ratio)
    assert p50[0] is not None
    assert p50[1] is not None
    assert p50[0].interval != p50[1].interval
    refused = run_of(1.0, "compare.memory='30s'")
    assert item(refused, "p50").call == "refused"


def test_pairs_have_smoothed_percentiles_beside_the_ones_that_decide(run_of: Compared) -> None:
    comparison = run_of(1.3)
    smoothed = item(comparison, "p90").smoothed
    assert smoothed is not None
    assert (smoothed.band, smoothed.incomplete_pairs) == ((0.6, 0.975), 0)
    assert smoothed.pairs == comparison.report.arms[0].requests
    assert smoothed.ratio.value == pytest.approx(1.3, rel=0.05)
    assert item(comparison, "p90", "service").smoothed is None
    assert item(comparison, "mean").smoothed is None
    row = comparison.to_frame().set_index(["metric", "measure"]).loc[("p90", "response")]
    assert row["smoothed"] == smoothed.ratio.value
    assert row["smoothed_low"] < 1.3 < row["smoothed_high"]
    pinned = run_of(1.3, "traffic.routing=pinned")
    assert {d.smoothed for d in pinned.report.differences} == {None}
