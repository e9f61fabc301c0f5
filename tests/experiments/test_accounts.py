"""How a run that has ended is counted."""

from pathlib import Path

import pytest

from experiments import run_folder
from experiments.accounts import finish
from tests.experiments.test_run_folder import fill, made


def test_a_finish_that_is_cut_off_can_be_made_again_with_the_same_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = made(tmp_path)
    run_folder.write_manifest(folder, {"ended_as": "running", "planned": 9})
    fill(folder, 0, [[0, 1, 2]])
    folder.begun_by(0).write_bytes((5).to_bytes(8, "little"))
    with monkeypatch.context() as cut:
        cut.setattr(run_folder, "account", lambda **_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            finish(folder, exit_code=-9)
    assert not folder.raw.exists()
    counts = {"planned": 9, "ended": 3, "dropped": 0, "unsent": 4, "missing": 2}
    assert finish(folder, exit_code=-9)["counts"] == counts


def test_what_one_worker_kept_leaves_what_is_known_of_the_others(tmp_path: Path) -> None:
    """Worker 1's stream is copied by hand after its master died; nobody has worker 0's."""
    folder = made(tmp_path)
    workers = [{"rank": rank, "planned": 5, "begun": 4 - rank} for rank in (0, 1)]
    manifest = {"ended_as": "crashed", "planned": 10, "begun": 7, "workers": workers}
    run_folder.write_manifest(folder, manifest)
    fill(folder, 0, [[0, 2, 4]])
    first = finish(folder)
    assert first["counts"] == {"planned": 10, "ended": 3, "dropped": 0, "unsent": 3, "missing": 4}
    folder.raw.mkdir()
    folder.begun_by(1).write_bytes((5).to_bytes(8, "little"))
    fill(folder, 1, [[]])
    after = finish(folder)
    assert after["counts"] == {"planned": 10, "ended": 3, "dropped": 0, "unsent": 1, "missing": 6}
    assert [worker["begun"] for worker in after["workers"]] == [4, 5]
    assert [worker["unsent"] for worker in after["workers"]] == [1, 0]
