"""Whether workers stayed, and whose slots a request found busy."""

from pathlib import Path
from typing import Any

import pytest

from analysis import read_run
from analysis.generator import check_generator
from analysis.workers import check_workers
from tests.analysis.runs import record, write_run

ROWS = [record(i, "current", 10 + i / 10, 5, worker=i % 2) for i in range(1000)]


def worker(rank: int, **fields: Any) -> dict[str, Any]:
    plain = {"rank": rank, "host": f"host-{rank}", "slots": 32, "planned": 500, "ended": 500}
    told = {"state": "done", "was_silent": False, "rtt_ms": 4.0, "spool": None}
    return {**plain, **told, "unsent": 0, "missing": 0, **fields}


def checked(tmp_path: Path, *workers: dict[str, Any], planned: int = 1000) -> tuple[str, str]:
    counts = {"planned": planned, "ended": 1000, "dropped": 0, "unsent": 0, "missing": 0}
    run = read_run(write_run(tmp_path / "run", ROWS, workers=workers, counts=counts))
    check = check_workers(run)
    assert check is not None
    return check.state, f"{check.finding}. {check.next_step}"


def test_one_process_has_no_workers(tmp_path: Path) -> None:
    assert check_workers(read_run(write_run(tmp_path / "run", ROWS))) is None


def test_workers_that_stayed_say_how_far_their_clocks_may_be_apart(tmp_path: Path) -> None:
    state, said = checked(tmp_path, worker(0), worker(1, rtt_ms=8.0))
    assert (state, said) == ("ok", "2 workers, clocks known to within 4.00 ms. None")


def test_a_link_that_came_back_is_no_reason_to_distrust(tmp_path: Path) -> None:
    state, said = checked(tmp_path, worker(0), worker(1, was_silent=True))
    assert state == "ok"
    assert "1 fell silent for a while, and nothing of it is missing" in said


def test_a_worker_far_away_makes_the_run_suspect(tmp_path: Path) -> None:
    state, said = checked(tmp_path, worker(0), worker(1, rtt_ms=101.0))
    assert state == "warn"
    assert "within 50.5 ms" in said


@pytest.mark.parametrize(("drift_ms", "found"), [(-51.0, "warn"), (49.0, "ok"), (None, "ok")])
def test_a_clock_that_drifts_makes_the_run_suspect(
    tmp_path: Path, drift_ms: float | None, found: str
) -> None:
    state, said = checked(tmp_path, worker(0, drift_ms=1.0), worker(1, drift_ms=drift_ms))
    assert state == found
    assert ("further apart at the end" in said) == (drift_ms is not None)
    assert ("Keep the machines' clocks in step" in said) == (state == "warn")


@pytest.mark.parametrize(("state", "word"), [("lost", "was lost"), ("interrupted", "was stopped")])
def test_a_lost_worker_fails_the_run_with_the_share_that_is_missing(
    tmp_path: Path, state: str, word: str
) -> None:
    lost = worker(1, state=state, unsent=150, missing=50, spool="/tmp/spool/requests")
    found, said = checked(tmp_path, worker(0), lost, planned=1200)
    assert found == "fail"
    assert f"worker 1 on host-1 {word} and 16.7% of the run's requests with it" in said
    assert "Copy what is left in /tmp/spool/requests of host-1 into requests/" in said


def test_one_who_left_after_all_was_sent_is_no_loss(tmp_path: Path) -> None:
    assert checked(tmp_path, worker(0), worker(1, state="lost"))[0] == "ok"


def test_slots_are_busy_when_those_of_the_worker_are(tmp_path: Path) -> None:
    rows = [row._replace(slots_busy=32 if row.seq == 7 else 3) for row in ROWS]
    run = read_run(write_run(tmp_path / "run", rows, workers=[worker(0), worker(1)], slots=64))
    checks = check_generator(run, run.measured)
    (slots,) = (check for check in checks if check is not None and check.name == "slots")
    assert slots.state == "warn"
    assert slots.finding.startswith("1 of 1,000 requests found all 32 slots of its worker busy")
