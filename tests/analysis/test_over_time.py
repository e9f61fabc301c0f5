"""How a run went on: counted by hand, and against pandas."""

import math
from dataclasses import asdict, replace

import numpy as np
import pytest
from scipy.stats import binom

from analysis.over_time import BINS, MOST_STEPS, over_time, who_answered
from analysis.read import JUDGED, read_run
from analysis.summary import arm_summary, run_info, with_cost
from tests.analysis.runs import record, write_run


def rows(n=2600, **fields):
    """One request every 50 ms for 130 s, one arm after the other."""
    return [
        record(i, ("current", "candidate")[i % 2], 0.05 * i, 10 + i % 7 + 40 * (i % 2), **fields)
        for i in range(n)
    ]


def test_every_request_is_counted_once_in_its_step_and_bin(tmp_path):
    records = rows()
    records[100] = records[100]._replace(outcome="throttled")
    records[101] = records[101]._replace(
        outcome="dropped", started_ns=None, sent_ns=None, first_byte_ns=None, ended_ns=None
    )
    run = read_run(write_run(tmp_path / "run", records), JUDGED)
    found = over_time(run)
    assert (found.step_s, found.low_ms, found.high_ms) == (2.0, 10.0, 56.0)
    assert found.phases == {"warmup": 0.0, "measure": 10.0}
    assert found.planned_rps == (40.0,) * 65
    # 40 a step, of which one was dropped in step 2, which begins at request 80.
    assert found.achieved_rps == (20.0, 20.0, 19.5, *[20.0] * 62)
    assert set(found.errors) == {"throttled", "dropped"}
    assert all(np.flatnonzero(counts).tolist() == [2] for counts in found.errors.values())
    ok = run.requests[run.requests["outcome"] == "ok"]
    for each in found.arms:
        counts = np.array(each.counts)
        assert counts.shape == (65, BINS)
        own = ok[ok["arm"] == each.arm]
        step = (own["scheduled_ms"] // 2000).value_counts().sort_index()
        assert counts.sum(axis=1).tolist() == step.tolist()
        edges = np.geomspace(10, 56, BINS + 1)
        expected, _ = np.histogram(own["response_ms"], edges)
        # A latency on an edge may fall to either side of it.
        assert (
            abs(counts.sum(axis=0).cumsum() - expected.cumsum()).max()
            <= own.groupby(own["response_ms"].round(6)).size().max()
        )


def test_all_columns_and_the_judged_ones_give_the_same(tmp_path):
    path = write_run(tmp_path / "run", rows())
    every, judged = read_run(path), read_run(path, JUDGED)
    assert over_time(every) == over_time(judged)
    assert who_answered(every, every.measured) == who_answered(judged, judged.measured)


def test_stages_plan_the_rate_and_name_the_phases(tmp_path):
    run = read_run(write_run(tmp_path / "run", rows()))
    ramp = {"rate": 20, "to": 80, "for": "60s"}
    table = run.plan.traffic.model_dump(exclude_none=True, exclude={"rate", "duration"})
    stages = [{"rate": 20, "for": "60s", "name": "low"}, ramp]
    staged = type(run.plan.traffic).model_validate({**table, "stages": stages})
    run = replace(run, plan=run.plan.model_copy(update={"traffic": staged}))
    found = over_time(run)
    assert found.phases == {"warmup": 0.0, "low": 10.0, "stage-2": 70.0}
    assert found.planned_rps[:35] == (20.0,) * 35
    # The ramp is at 20 + t req/s after t seconds, and the middle of its first step is 1 s in.
    assert found.planned_rps[35:37] == (21.0, 23.0)


@pytest.mark.parametrize("length_s", [1.0, 119.0, 130.0, 4000.0, 1e6])
def test_a_run_of_any_length_has_few_steps(tmp_path, length_s):
    records = [record(i, "current", i * length_s / 50, 10.0) for i in range(50)]
    run = read_run(write_run(tmp_path / "run", records, ended_as="stopped"))
    found = over_time(run)
    assert 1 <= len(found.achieved_rps) <= MOST_STEPS
    assert len(found.achieved_rps) == math.floor(run.end_s / found.step_s + 0.5)


@pytest.mark.parametrize(("end_s", "steps"), [(125.0, 63), (124.5, 62), (124.001, 62)])
def test_a_run_that_was_decided_ends_about_its_last_step(tmp_path, end_s, steps):
    # One request in 50 ms and steps of 2 s: the last has 1 to 3, though requests go on behind it.
    run = read_run(write_run(tmp_path / "run", rows(), decided={"at_s": end_s}), JUDGED)
    found = over_time(run)
    # The request that is due at the end is the first behind it.
    assert found.achieved_rps == pytest.approx((20.0,) * steps, abs=1.01)
    assert found.achieved_rps[:-1] == (20.0,) * (steps - 1)


def test_a_failure_that_names_no_arm_leaves_no_arm_an_error_rate(tmp_path):
    records = rows()
    run = read_run(write_run(tmp_path / "named", records), JUDGED)
    assert arm_summary(run, run.measured, "current").error_rate == 0
    records[1001] = records[1001]._replace(arm=None, variant_invoked=None, outcome="timeout")
    run = read_run(write_run(tmp_path / "unnamed", records), JUDGED)
    for arm in ("current", "candidate"):
        assert arm_summary(run, run.measured, arm).error_rate is None


def test_one_request_shows_no_rate(tmp_path):
    run = read_run(write_run(tmp_path / "run", rows(201), ended_as="interrupted"), JUDGED)
    assert len(run.measured) == 1
    found = run_info(run, run.measured)
    assert found.achieved_rps is None
    assert "cannot be read" in found.plan_toml
    (run.path / "plan.toml").write_bytes(b"\xff")
    assert run_info(run, run.measured).plan_toml == found.plan_toml


def test_a_run_without_requests_has_no_course(tmp_path):
    run = read_run(write_run(tmp_path / "run", []))
    assert over_time(run) is None
    assert who_answered(run, run.measured) is None


def test_pinned_requests_give_a_matrix(tmp_path):
    records = rows()
    records[1001] = records[1001]._replace(variant_invoked="current")
    records[1003] = records[1003]._replace(variant_invoked=None, outcome="timeout")
    run = read_run(write_run(tmp_path / "run", records), JUDGED)
    found = who_answered(run, run.measured)
    assert [asdict(each) for each in found.asked] == [
        {"asked": "current", "answered": {"current": 1200}, "unanswered": 0},
        {"asked": "candidate", "answered": {"candidate": 1198, "current": 1}, "unanswered": 1},
    ]
    assert found.routed == ()


def test_routed_requests_give_shares_with_the_band_of_the_binomial(tmp_path):
    records = [r._replace(variant_asked=None) for r in rows()]
    plan = ['traffic.routing="weighted"', "arms.current.share=3"]
    run = read_run(write_run(tmp_path / "run", records, plan), JUDGED)
    found = who_answered(run, run.measured)
    assert (found.asked, found.start_s, found.step_s) == ((), 10.0, 10.0)
    current, candidate = found.routed
    assert (current.variant, current.weight) == ("current", 0.75)
    assert current.shares == candidate.shares == (0.5,) * 12
    # Of 200 answers at a weight of 3/4.
    assert current.band[0] == tuple(binom.interval(0.99, 200, 0.75) / np.float64(200))
    assert candidate.band[0] == pytest.approx([1 - end for end in current.band[0][::-1]])


def test_an_arm_costs_its_instances_over_its_good_answers(tmp_path):
    records = [r._replace(outcome="timeout") if r.seq % 4 == 0 else r for r in rows()]
    variants = {"current": {"instances": 2}, "candidate": {"instances": 1}}
    plan = ["arms.current.instance_price_usd_per_hour=0.9"]
    path = write_run(tmp_path / "run", records, plan, endpoint={"variants": variants})
    run = read_run(path, JUDGED)
    current, candidate = (
        with_cost(run, arm_summary(run, run.measured, arm)) for arm in ("current", "candidate")
    )
    # 600 good answers in 120 s are 18,000 an hour, for 2 x $0.90.
    assert (current.usd_per_hour, current.usd_per_million) == (1.8, pytest.approx(100.0))
    assert (candidate.usd_per_hour, candidate.usd_per_million) == (None, None)
