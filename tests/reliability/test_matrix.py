"""Each fault is caused for real: the run ends by itself, says what happened, and adds up."""

from pathlib import Path

import pytest

from benchmarks.soak import served
from tests.end_to_end.conftest import assert_adds_up
from tests.reliability.kit import Kit
from tests.reliability.matrix import FAULTS, PAGE, UNFLUSHED, Fault, page_with_table

TOO_BUSY = 'fails the check "Generator kept up"'
"""A machine that is too busy to send on time gives no run that can be trusted, whatever else."""
RATE_RPS, SLOTS = 60, 32


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_run_ends_and_says_what_happened(
    fault: Fault, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kit = Kit(tmp_path / "1")
    ended = fault.cause(kit)
    if TOO_BUSY in ended.said and fault.said not in ended.said:
        with capsys.disabled():
            print(f"\n{fault.name}: this machine was too busy; once more")
        kit = Kit(tmp_path / "2")
        ended = fault.cause(kit)
    assert ended.code == fault.code, ended.said
    assert fault.said in ended.said
    assert "Traceback" not in ended.said
    if not fault.leaves_a_run:
        assert ended.folder is None
        return
    counts, rows = ended.manifest["counts"], ended.rows
    assert_adds_up(counts)
    assert counts["planned"] < 1000 or counts["unsent"] > 1000
    assert ended.folder is not None
    assert (ended.folder / "report.html").is_file()
    assert counts["ended"] == len(rows) > 50
    assert counts["missing"] == 0 or fault.may_miss
    assert counts["missing"] <= 2 * RATE_RPS or fault.lost != UNFLUSHED
    recorded = [row["seq"] for row in rows]
    assert len(set(recorded)) == len(recorded)
    if kit.served_log.is_file():
        # What the endpoint saw is the truth: each request once, and those without a record missing.
        seen = served(kit.served_log, ended.manifest["run_id"])
        assert len(set(seen)) == len(seen)
        # What begun and was neither recorded nor served was on its way, to be killed with Locust.
        lost = counts["ended"] + counts["missing"] - len({*seen, *recorded})
        assert 0 <= lost <= (SLOTS if "killed" in fault.name or "twice" in fault.name else 0)


def test_the_page_has_the_table_of_these_tests() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert page_with_table(text) == text, "run python -m tests.reliability.matrix"
