"""How a run that has ended is counted."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from experiments import run_folder
from experiments.accounts import finish, finish_if_ended
from tests.experiments.test_run_folder import fill, made


def test_a_finish_that_is_cut_off_anywhere_can_be_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut before each change of the disk in turn, until there is none left to be cut before."""
    was_cut = True
    for place in count():
        if not was_cut:
            break
        folder = made(tmp_path / str(place))
        run_folder.write_manifest(folder, {"ended_as": "running", "planned": 9})
        fill(folder, 0, [[0, 1], [2]])
        folder.begun_by(0).write_bytes((5).to_bytes(8, "little"))
        changes = count()

        def cutting(change: Callable[..., None], changes: Iterator[int], place: int) -> Any:
            def cut(*arguments: Any, **named: Any) -> None:
                if next(changes) == place:
                    raise KeyboardInterrupt
                change(*arguments, **named)

            return cut

        with monkeypatch.context() as cut:
            for name in ("replace", "unlink", "rmdir"):
                cut.setattr(os, name, cutting(getattr(os, name), changes, place))
            try:
                finish(folder, exit_code=-9)
                was_cut = False
            except KeyboardInterrupt:
                pass
        counts = {"planned": 9, "ended": 3, "dropped": 0, "unsent": 4, "missing": 2}
        assert finish(folder, exit_code=-9)["counts"] == counts, place
        assert pq.read_table(folder.requests)["seq"].to_pylist() == [0, 1, 2], place
        assert not folder.raw.exists()
    assert place > 8


def test_a_run_is_finished_by_others_once_nobody_makes_it(tmp_path: Path) -> None:
    folder = made(tmp_path)
    run_folder.write_manifest(folder, {"ended_as": "running", "planned": 9})
    fill(folder, 0, [[0, 1, 2]])
    held = run_folder.hold(folder)
    finish_if_ended(folder)
    assert run_folder.read_manifest(folder)["ended_as"] == "running"
    os.close(held)
    finish_if_ended(folder)
    manifest = run_folder.read_manifest(folder)
    assert manifest["ended_as"] == "crashed"
    assert manifest["reason"] == "The process that made the run was killed."
    assert manifest["counts"]["ended"] == 3


def test_who_finds_another_at_finishing_a_run_waits_for_its_end(tmp_path: Path) -> None:
    folder = made(tmp_path)
    run_folder.write_manifest(folder, {"ended_as": "complete", "planned": 3})
    fill(folder, 0, [[0, 1, 2]])
    with ThreadPoolExecutor(2) as others:
        with run_folder.alone(folder):
            finishing = [others.submit(finish_if_ended, folder) for _ in range(2)]
            assert not wait(finishing, timeout=0.2).done
            assert run_folder.has_streams(folder)
        for each in finishing:
            each.result()
    manifest = run_folder.read_manifest(folder)
    assert (manifest["counts"]["ended"], manifest["torn_streams"]) == (3, [])


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
