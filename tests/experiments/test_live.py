"""What a run shows while it goes on: the last seconds, the totals and the points of the charts."""

import json

import pytest

from experiments.live import NO_ARM, SHOWN_S, Live, Second, Tally, as_one
from experiments.sketch import Sketch
from tests.analysis.runs import record


def second(at_s: int, *tallies: tuple[str, Tally]) -> Second:
    return Second(
        elapsed_s=at_s, due=50, arms=dict(tallies), lateness=Sketch(), lag=Sketch(), cpu=0.25
    )


def tally(*outcomes: str, service_ms: float = 10.0) -> Tally:
    made = Tally()
    for seq, outcome in enumerate(outcomes):
        made.note(record(seq, "a", 1.0, service_ms, outcome=outcome))
    return made


def test_a_tally_counts_what_ended_by_outcome_and_times_good_answers_only() -> None:
    found = tally("ok", "ok", "timeout", "throttled", "timeout", "dropped")
    assert (found.ended, found.dropped) == (5, 1)
    assert found.failed == {"timeout": 2, "throttled": 1}
    assert sum(found.response.counts.values()) == sum(found.service.counts.values()) == 2


def test_tallies_that_are_merged_are_as_one() -> None:
    whole = tally("ok", "timeout")
    whole.merge(tally("dropped", "timeout", "throttled", "ok"))
    assert whole.failed == {"timeout": 2, "throttled": 1}
    assert (whole.ended, whole.dropped) == (5, 1)
    assert sum(whole.service.counts.values()) == 2


def test_seconds_of_several_workers_are_added_up_and_the_busiest_tells_the_cpu() -> None:
    lag = Sketch()
    lag.add(7)
    parts = [
        Second(elapsed_s=3.0, due=5, arms={"a": tally("ok", "timeout")}, lag=lag, cpu=0.2),
        Second(elapsed_s=3.1, due=4, arms={"b": tally("dropped")}, lag=lag, cpu=0.5),
        Second(elapsed_s=2.9, due=1, arms={"a": tally("ok")}, cpu=0.1),
    ]
    one = as_one(3.0, parts)
    assert (one.elapsed_s, one.due, one.cpu, one.ended, one.failed) == (3.0, 10, 0.5, 3, 1)
    assert one.arms == {"a": tally("ok", "timeout", "ok"), "b": tally("dropped")}
    assert sum(one.lag.counts.values()) == 2
    assert as_one(1.0, []) == Second(elapsed_s=1.0)


def test_now_is_the_last_ten_seconds_and_the_totals_are_all_of_them() -> None:
    live = Live()
    live.add(second(1, ("a", tally(*["ok"] * 30, service_ms=500.0)), (NO_ARM, tally("timeout"))))
    for at_s in range(2, SHOWN_S + 2):
        live.add(second(at_s, ("a", tally(*["ok"] * 9, "timeout"))))
    assert live.recent["due_rps"] == 50.0
    assert live.recent["achieved_rps"] == 10.0
    assert live.recent["cpu"] == 0.25
    assert set(live.recent["arms"]) == {"a"}
    now = live.recent["arms"]["a"]
    assert (now["rate_rps"], now["failed"]) == (10.0, 0.1)
    assert now["p99_ms"] == pytest.approx(10.0, rel=0.006)
    assert live.totals["a"].ended == 130
    assert live.totals["a"].failed == {"timeout": 10}
    assert live.totals["a"].response.quantile_ms(1.0) == pytest.approx(500.0, rel=0.006)
    assert live.totals[NO_ARM].ended == 1


def test_a_rate_is_of_the_time_that_passed_however_often_it_was_looked_at() -> None:
    # 10 requests a second throughout, seen at the end of seconds that the generator held up.
    live = Live()
    began_s = 0.0
    for ended_s in (1.0, 3.0, 3.5, 6.0, 7.0, 9.5, 11.0, 11.2):
        length_s = ended_s - began_s
        each = tally(*["ok"] * round(10 * length_s))
        cpu = 0.5 if length_s > 1 else 0.1
        one = Second(elapsed_s=ended_s, due=round(20 * length_s), arms={"a": each}, cpu=cpu)
        live.add(one)
        began_s = ended_s
    assert live.recent["due_rps"] == pytest.approx(20.0)
    assert live.recent["achieved_rps"] == pytest.approx(10.0)
    assert live.recent["arms"]["a"]["rate_rps"] == pytest.approx(10.0)
    # What ended at 1 s is more than ten seconds ago: 8.5 s of the 10.2 s since were long ones.
    assert live.recent["cpu"] == pytest.approx((8.5 * 0.5 + 1.7 * 0.1) / 10.2)


def test_an_arm_without_an_answer_has_no_percentile() -> None:
    live = Live()
    live.add(second(1, ("a", tally("timeout"))))
    assert live.recent["arms"]["a"] == {
        "rate_rps": 1.0, "failed": 1.0, "p50_ms": None, "p99_ms": None,
    }  # fmt: skip


def test_points_are_given_once_to_each_who_says_how_many_it_has_seen() -> None:
    live = Live()
    assert live.points_after(0) == (0, "[]")
    for at_s in range(700):
        live.add(second(at_s, ("a", tally("ok"))))
    count, text = live.points_after(698)
    assert count == 700
    assert [point["elapsed_s"] for point in json.loads(text)] == [698, 699]
    assert json.loads(live.points_after(700)[1]) == []
    # What is too long ago is kept no more, and one who saw another run has seen too many.
    assert len(json.loads(live.points_after(0)[1])) == 600
    assert live.points_after(9000) == (700, "[]")
