"""The guard stops a run whose SLO is lost, and no other."""

from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.plan import Plan
from experiments.plan_file import find, load
from experiments.traffic.guard import Guard
from tests.analysis.runs import record

SLO = '{ p99 = "100ms", abort_on_fail = true }'


def plan(slo: str = SLO, *overrides: str) -> Plan:
    return load(find("ab"), [f"slo={slo}", *overrides])


def guard(slo: str = SLO, planned: int | None = 24_000) -> Guard:
    return Guard(plan(slo), None if planned is None else {"warmup": 2_000, "measure": planned})


def feed(
    guard: Guard, share_missed: float, seconds: range, rate: int = 100, **fields: Any
) -> list[int]:
    """Give the seconds at which the guard found a limit lost; misses are spread evenly."""
    lost, owed = [], 0.0
    for second in seconds:
        for i in range(rate):
            owed += share_missed
            latency_ms = 150.0 if owed >= 1 else 50.0
            owed -= owed >= 1
            guard.note(record(0, "current", second + i / rate, latency_ms, **fields))
        if guard.lost(second + 1.0):
            lost.append(second + 1)
    return lost


def test_it_stops_when_more_have_missed_than_the_whole_run_may() -> None:
    # One of two arms of 24,000 requests: 12,000 are its own, of which 120 may miss. At 10 a second
    # the 121st comes in the 13th second after the 10 s of warm-up.
    assert feed(guard(), 0.1, range(10, 30))[0] == 23


def test_it_waits_as_long_as_it_is_told_to() -> None:
    slo = '{ p99 = "100ms", abort_on_fail = true, abort_after = "15s" }'
    assert feed(guard(slo), 0.5, range(10, 30))[0] == 25


def test_what_several_workers_miss_is_counted_together() -> None:
    # Each has missed 62 of the 120 that may.
    workers, master = [guard(), guard()], guard()
    assert [feed(each, 0.0625, range(10, 20)) for each in workers] == [[], []]
    master.set_counts([workers[0].counts])
    assert master.lost(20.0) is None
    master.set_counts([each.counts for each in workers])
    lost = master.lost(20.0)
    assert lost is not None
    assert lost[0].arm == "current"
    assert "124 of 2,000 requests to current missed 100 ms" in lost[1]


def test_a_limit_that_the_rest_can_still_mend_is_not_lost() -> None:
    assert feed(guard(), 0.02, range(10, 70)) == []


def test_the_warm_up_is_not_counted() -> None:
    assert feed(guard(), 1.0, range(10)) == []


def test_the_other_arm_is_not_counted() -> None:
    watching = guard('{ arms = { candidate = { p99 = "100ms" } }, abort_on_fail = true }')
    assert feed(watching, 1.0, range(10, 60)) == []


def test_failures_and_drops_miss_every_limit() -> None:
    for outcome in ("internal", "dropped"):
        fields = {"outcome": outcome, "ended_ns": None}
        assert feed(guard('{ error_rate = "1%" }'), 0.0, range(10, 40), **fields)


def test_a_window_is_lost_by_its_own_misses() -> None:
    watching = guard('{ p99 = "100ms", window = "10s", abort_on_fail = true }')
    assert feed(watching, 0.0, range(10, 60)) == []
    # 30 of the last 1,000 are more than the 10 that may miss, and 30 of 6,000 in all are not.
    for i in range(100):
        watching.note(record(0, "current", 60 + i / 100, 150.0 if i < 30 else 50.0))
    threshold, said = watching.lost(61.0) or (None, "")
    assert threshold is not None
    assert threshold.window_s == 10.0
    assert "30 of 1,000 requests to current missed 100 ms, and 10 in 10 s may (p99)." in said


def test_without_a_schedule_what_is_to_come_is_reckoned_from_what_came() -> None:
    closed = load(Path(__file__).parents[3] / "experiments/plans/ab.toml", [f"slo={SLO}", *CLOSED])
    # 4 % miss where 1 % may: as many after a quarter of the run as may in the whole.
    lost = feed(Guard(closed, None), 0.04, range(10, 70))
    assert 38 <= lost[0] <= 42


CLOSED = (
    'traffic={ routing = "paired", arrivals = "closed", users = 4, warmup = "10s", '
    'duration = "120s" }',
)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_limit_that_is_kept_is_not_lost_by_chance(seed: int) -> None:
    """At exactly the share that is allowed, independent misses stop almost no run."""
    rng = np.random.default_rng(seed)
    watching = guard()
    for second in range(10, 130):
        for i in range(100):
            latency_ms = 150.0 if rng.random() < 0.008 else 50.0
            watching.note(record(0, "current", second + i / 100, latency_ms))
        assert watching.lost(second + 1.0) is None
