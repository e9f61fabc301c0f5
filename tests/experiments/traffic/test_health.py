"""The generator's own health: what is counted in a second, and what is shown of the last ones."""

import gc
from collections.abc import Iterator

import pytest

from experiments.live import NO_ARM
from experiments.record import HEALTH_SCHEMA
from experiments.traffic.health import Health
from tests.analysis.runs import record

COLUMNS = HEALTH_SCHEMA.names


@pytest.fixture
def health() -> Iterator[Health]:
    health = Health()
    yield health
    health.close()


def row(health: Health, **known: float) -> dict[str, object]:
    return dict(zip(COLUMNS, health.row(3.2, due=50, in_flight=2, worker=0, **known), strict=True))


def test_lateness_counts_requests_that_had_a_free_slot_only(health: Health) -> None:
    for lateness_ms in range(1, 101):
        health.note_start(lateness_ms * 1_000_000, had_free_slot=True)
    health.note_start(10**12, had_free_slot=False)
    found = row(health)
    assert found["started"] == 101
    assert found["without_free_slot"] == 1
    assert found["lateness_p99_ms"] == pytest.approx(99.0, rel=0.01)
    assert found["lateness_max_ms"] == 100.0
    assert found["second"] == 3
    assert found["due"] == 50


def test_each_row_starts_from_nothing(health: Health) -> None:
    health.note_start(1_000_000, had_free_slot=True)
    health.note_end(record(0, "a", 1.0, 5.0, outcome="timeout"))
    row(health)
    found = row(health)
    assert (found["started"], found["ended"], found["failed"]) == (0, 0, 0)
    assert found["lateness_p99_ms"] is None
    assert (health.ended, health.failed) == (1, 1)


def test_a_second_is_shown_by_arm_with_what_has_none(health: Health) -> None:
    for i in range(100):
        health.note_end(record(i, "fast", 1.0, 2.0))
        health.note_end(record(i, "slow", 1.0, 20.0 if i < 98 else 400.0))
    health.note_end(record(0, None, 1.0, 2.0, outcome="timeout"))
    health.note_end(record(0, "slow", 1.0, 2.0, outcome="dropped"))
    row(health)
    arms = health.live.recent["arms"]
    assert list(arms) == ["fast", "slow", NO_ARM]
    assert arms["fast"]["p50_ms"] == pytest.approx(2.0, rel=0.006)
    assert arms["slow"]["p99_ms"] == pytest.approx(400.0, rel=0.006)
    assert arms[NO_ARM]["failed"] == 1.0
    assert health.live.recent["due_rps"] == pytest.approx(50 / 3.2)
    assert health.live.totals["slow"].dropped == 1
    assert (health.ended, health.failed) == (201, 1)


def test_loop_lag_and_the_recorders_stall_are_columns(health: Health) -> None:
    for lag_ms in range(1, 101):
        health._now.lag.add(lag_ms * 1_000_000)
    found = row(health, recorder_ms=1.5)
    assert found["loop_lag_p99_ms"] == pytest.approx(99.0, rel=0.01)
    assert found["loop_lag_max_ms"] == 100.0
    assert found["recorder_ms"] == 1.5
    assert row(health)["recorder_ms"] == 0.0


def test_connections_that_were_opened_are_counted(health: Health) -> None:
    for new in (True, True, False, None):
        health.note_end(record(0, "a", 1.0, 5.0, new_connection=new))
    health.note_end(record(1, "a", 1.0, 5.0, new_connection=True, outcome="timeout"))
    health.note_connection(2_000_000)
    health.note_connection(1_500_000)
    found = row(health)
    assert (found["new_connections"], found["connect_max_ms"]) == (3, 2.0)
    assert row(health)["connect_max_ms"] is None
    assert row(health)["new_connections"] == 0


def test_garbage_collection_is_watched_until_closed() -> None:
    before = list(gc.callbacks)
    health = Health()
    row(health)
    gc.collect()
    pause_ms = row(health)["gc_pause_ms"]
    assert isinstance(pause_ms, float)
    assert pause_ms > 0
    health.close()
    health.close()
    assert gc.callbacks == before
    row(health)
    gc.collect()
    assert row(health)["gc_pause_ms"] == 0.0


def test_a_row_has_a_value_for_each_column_in_its_type(health: Health) -> None:
    health.note_start(1, had_free_slot=True)
    found = row(health)
    assert list(found) == COLUMNS
    for name in ("second", "due", "started", "new_connections", "worker"):
        assert isinstance(found[name], int)
