"""The generator's own health: what is counted in a second, and what is shown of the last ones."""

import pytest

from experiments.record import HEALTH_SCHEMA
from experiments.traffic.health import Health
from tests.analysis.runs import record

COLUMNS = HEALTH_SCHEMA.names


def row(health: Health) -> dict[str, object]:
    return dict(zip(COLUMNS, health.row(3, due=50, in_flight=2, worker=0), strict=True))


def test_lateness_counts_requests_that_had_a_free_slot_only() -> None:
    health = Health()
    for lateness_ms in range(1, 101):
        health.note_start(lateness_ms * 1_000_000, had_free_slot=True)
    health.note_start(10**12, had_free_slot=False)
    found = row(health)
    assert found["started"] == 101
    assert found["without_free_slot"] == 1
    assert found["lateness_p99_ms"] == 99.0
    assert found["lateness_max_ms"] == 100.0
    assert found["second"] == 3
    assert found["due"] == 50


def test_each_row_starts_from_nothing() -> None:
    health = Health()
    health.note_start(1_000_000, had_free_slot=True)
    health.note_end(record(0, "a", 1.0, 5.0, outcome="timeout"))
    row(health)
    found = row(health)
    assert (found["started"], found["ended"], found["failed"]) == (0, 0, 0)
    assert found["lateness_p99_ms"] is None
    assert (health.ended, health.failed) == (1, 1)


def test_recent_latencies_are_within_a_percent_by_arm() -> None:
    health = Health()
    for i in range(1000):
        health.note_end(record(i, "fast", 1.0, 2.0))
        health.note_end(record(i, "slow", 1.0, 20.0 if i < 980 else 400.0))
    row(health)
    arms = health.recent()["arms"]
    assert isinstance(arms, dict)
    assert arms["fast"]["p50_ms"] == pytest.approx(2.0, rel=0.01)
    assert arms["slow"]["p50_ms"] == pytest.approx(20.0, rel=0.01)
    assert arms["slow"]["p99_ms"] == pytest.approx(400.0, rel=0.01)


def test_only_the_last_ten_seconds_are_shown() -> None:
    health = Health()
    health.note_end(record(0, "old", 1.0, 2.0))
    for _ in range(11):
        row(health)
    recent = health.recent()
    assert recent["arms"] == {}
    assert recent["achieved_rps"] == 0.0
