import math
from dataclasses import asdict

import numpy as np
import pytest
from scipy.stats import beta

import analysis
from analysis.error_rates import error_rate_difference
from analysis.looks import Watch, look, settled
from analysis.noise import draw_signs
from analysis.samples import measured
from analysis.sequential import Moment, level_of, moments
from experiments.run_folder import open_folder
from tests.analysis.runs import record, write_run

PLAN = ["compare.memory=2s", "traffic.routing=pinned", 'compare.margins={p50="15%"}']
LOOK_3 = Moment(at_s=82.0, look=3)
"""Of the 120 s that are measured after 10 s of warm-up."""


def records(*, effect=1.0, until_s=130.0, seed=1, rate_rps=40, slower_after_s=math.inf):
    """Give requests to each arm in turn, of lognormal latency."""
    rng = np.random.default_rng(seed)
    for seq in range(round(until_s * rate_rps)):
        at_s = seq / rate_rps
        arm = ("current", "candidate")[(seq + seq // 2) % 2]
        slow = effect if arm == "candidate" else 1.0
        slow *= 3.0 if at_s >= slower_after_s and arm == "candidate" else 1.0
        yield record(seq, arm, at_s, 10 * slow * math.exp(rng.normal(0, 0.3)))


def decided_at(moment: Moment) -> dict:
    said = {"kind": "look", "decided": True, "said": "Decided at look 3 of 5, at 1 min 12 s."}
    return {
        "until_decided": True, "ended_as": "stopped", "reason": said["said"],
        "decided": {**said, **asdict(moment)},
    }  # fmt: skip


def report_of(folder):
    run = analysis.read_run(folder)
    return settled(run, analysis.compare(run).report)


def calls(differences):
    return {item.metric: item.call for item in differences if item.margin is not None}


@pytest.mark.parametrize(
    ("effect", "call", "code"), [(1.3, "worse", 1), (0.7, "better", 0), (1.0, "same", 0)]
)
def test_a_report_says_what_the_look_that_stopped_the_run_found(tmp_path, effect, call, code):
    looked_at = analysis.read_run(write_run(tmp_path / "a", records(effect=effect), PLAN))
    found = look(looked_at, LOOK_3)
    assert calls(found) == {"p50": call, "error_rate": "same"}
    # What came after the look, while the run was drained, does not change its verdict.
    rows = list(records(effect=effect, until_s=85.0, slower_after_s=82.0))
    report = report_of(write_run(tmp_path / "b", rows, PLAN, **decided_at(LOOK_3)))
    assert calls(report.differences) == calls(found)
    assert report.verdict.exit_code == code
    assert report.verdict.context[-2] == "Decided at look 3 of 5, at 1 min 12 s."
    assert "look 3 of 5, z = 2.680" in report.verdict.context[-1]
    assert report.run.measured_s == pytest.approx(72.0)
    (records_check,) = [check for check in report.checks if check.name == "records"]
    assert records_check.state == "ok"
    p50 = next(item for item in report.differences if item.metric == "p50")
    assert p50.ratio == next(item for item in found if item.metric == "p50").ratio


def test_intervals_of_a_run_that_was_looked_at_are_wider(tmp_path):
    plain = write_run(tmp_path / "plain", records(effect=1.1), PLAN)
    watched = write_run(tmp_path / "watched", records(effect=1.1), PLAN, until_decided=True)
    run = analysis.read_run(plain)
    usual = analysis.compare(run).report
    assert settled(run, usual) is usual
    for ours, theirs in zip(report_of(watched).differences, usual.differences, strict=True):
        if theirs.ratio is not None:
            assert ours.ratio.value == pytest.approx(theirs.ratio.value)
            assert ours.smoothed is None
        mine, other = ours.ratio or ours.difference, theirs.ratio or theirs.difference
        if other is not None and None not in (other.interval.low, other.interval.high):
            assert mine.interval.high - mine.interval.low > other.interval_90.high - (
                other.interval_90.low
            )


def test_a_run_interrupted_before_the_first_look_has_its_bound(tmp_path):
    rows = list(records(effect=1.3, until_s=25.0))
    stopped = {"until_decided": True, "ended_as": "interrupted"}
    report = report_of(write_run(tmp_path / "run", rows, PLAN, **stopped))
    assert "look 1 of 5, z = 4.877" in report.verdict.context[-1]
    assert calls(report.differences)["p50"] == "undecided"


def test_a_look_before_six_memories_never_decides(tmp_path):
    run = analysis.read_run(write_run(tmp_path / "run", records(effect=9.0), PLAN[1:]))
    assert calls(look(run, Moment(at_s=58.0, look=2))) == {
        "p50": "refused", "error_rate": "refused"
    }  # fmt: skip


def test_few_requests_beyond_a_percentile_never_decide(tmp_path):
    guarded = [PLAN[0], 'compare.margins={p99="5%"}']
    run = analysis.read_run(write_run(tmp_path / "run", records(effect=9.0), guarded))
    # 20 requests a second and arm for 96 s are 1,920, of which 19 lie beyond p99.
    assert calls(look(run, Moment(at_s=106.0, look=4)))["p99"] == "refused"


def test_the_guardrail_finds_an_arm_that_is_worse_and_says_how_it_knows(tmp_path):
    moment = Moment(at_s=10 + 6 * 8, windows=8)
    run = analysis.read_run(write_run(tmp_path / "a", records(effect=1.3), PLAN))
    assert calls(look(run, moment)) == {"p50": "worse"}
    better = analysis.read_run(write_run(tmp_path / "b", records(effect=0.7), PLAN))
    assert calls(look(better, moment)) == {"p50": "better"}
    rows = list(records(effect=1.3, until_s=60.0))
    report = report_of(write_run(tmp_path / "c", rows, PLAN, **decided_at(moment)))
    assert report.verdict.state == "worse"
    assert "All else is judged at the bound of look 2" in report.verdict.context[-1]
    p50 = next(item for item in report.differences if item.metric == "p50")
    assert 1.0 < p50.ratio.interval.low < 1.3 < p50.ratio.interval.high


def test_a_watch_takes_the_looks_in_turn_once_every_request_has_a_record(tmp_path):
    plan = analysis.read_run(write_run(tmp_path / "plan", [], PLAN)).plan
    watch = Watch(plan)
    rows = list(records(effect=1.3, until_s=36.0))
    whole = open_folder(write_run(tmp_path / "whole", rows, PLAN))
    in_flight = open_folder(write_run(tmp_path / "in-flight", [*rows[:900], *rows[901:]], PLAN))
    assert moments(plan)[0] == Moment(at_s=34.0, look=1)
    assert watch(whole, 33.9) is None
    assert watch(in_flight, 35.0) is None
    event = watch(whole, 35.0)
    assert event["said"] == "Look 1 of 5 at 24 s: not decided yet."
    assert event["calls"] == [
        ["candidate", "p50", "undecided"], ["candidate", "error_rate", "undecided"]
    ]  # fmt: skip
    assert not event["decided"]
    assert watch(whole, 36.0) is None  # the next is not due


def test_a_watch_says_when_the_guardrail_stops_the_run(tmp_path):
    rows = list(records(effect=1.3, until_s=60.0))
    folder = open_folder(write_run(tmp_path / "run", rows, PLAN))
    watch = Watch(analysis.read_run(folder.path).plan)
    events = [watch(folder, 58.5) for _ in range(8)]
    said = [event["said"] for event in events if event is not None]
    assert any("by the guardrail" in line and "candidate is worse" in line for line in said)


def test_an_error_rate_without_errors_is_bounded_as_the_look_asks(tmp_path):
    run = analysis.read_run(write_run(tmp_path / "run", records(), PLAN))
    found = look(run, LOOK_3)[1].difference
    n = 72 * 20
    level = level_of(3)
    assert found.interval_90.high == pytest.approx(beta.isf(level / 2, 1, n), rel=2e-3)
    assert found.interval.high == pytest.approx(beta.isf(level / 4, 1, n), rel=2e-3)


def test_an_arm_that_fails_more_often_decides_a_look(tmp_path):
    rows = [
        row._replace(outcome="model_error" if row.seq % 7 == 0 else "ok")
        if row.arm == "candidate"
        else row
        for row in records()
    ]
    run = analysis.read_run(write_run(tmp_path / "run", rows, PLAN))
    (error_rate,) = [item for item in look(run, LOOK_3) if item.metric == "error_rate"]
    assert error_rate.call == "worse"
    assert error_rate.p_value < error_rate.p_value_holm < 0.05


def test_an_error_rate_with_many_errors_is_widened_by_more_than_the_bound(tmp_path):
    rows = [row._replace(outcome="ok" if row.seq % 11 else "model_error") for row in records()]
    run = analysis.read_run(write_run(tmp_path / "run", rows, PLAN))
    last = look(run, Moment(at_s=130.0, look=5))[1].difference
    early = look(run, Moment(at_s=106.0, look=2))[1].difference
    sample = measured(run, run.measured).failures("current", "candidate", None)
    usual = error_rate_difference(sample, signs=draw_signs(np.random.default_rng(1))).difference
    width, once = (each.interval_90.high - each.interval_90.low for each in (last, usual))
    assert width / (usual.interval.high - usual.interval.low) >= 2.031 / 1.960
    assert width > once
    assert early.interval_90.high - early.interval_90.low > width * 3.357 / 2.031
