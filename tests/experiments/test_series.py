"""The folder of several runs: how it ends, and that none is left without a run."""

from contextlib import nullcontext
from pathlib import Path

import pytest

from experiments import run_folder
from experiments.errors import PlanError, RunFolderError
from experiments.plan_file import find
from experiments.series import RUNS, runs, series

PLAN = find("regression")


ERRORS = (KeyboardInterrupt, PlanError, RuntimeError)


def made(out: Path, error: type[BaseException] | None, *names: str) -> run_folder.RunFolder:
    with (
        pytest.raises(error) if error else nullcontext(),
        series(PLAN, [], out, lambda _: False) as folder,
    ):
        for name in names:
            (folder.path / RUNS / name).mkdir()
            (folder.path / RUNS / name / "manifest.json").touch()
        if error:
            raise error("no")
    return folder


@pytest.mark.parametrize("error", [None, *ERRORS])
def test_a_folder_without_a_run_is_removed(tmp_path: Path, error) -> None:
    assert runs(made(tmp_path, error)) == ()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "ended_as"),
    list(zip((None, *ERRORS), ("complete", "interrupted", "aborted", "fault"), strict=True)),
)
def test_a_folder_with_runs_says_how_it_ended(tmp_path: Path, error, ended_as: str) -> None:
    folder = made(tmp_path, error, "a")
    assert run_folder.read_manifest(folder)["ended_as"] == ended_as
    assert [run.run_id for run in runs(folder)] == ["a"]


def test_a_run_that_has_no_manifest_yet_is_none(tmp_path: Path) -> None:
    folder = made(tmp_path, None, "a")
    (folder.path / RUNS / "b").mkdir()
    assert [run.run_id for run in runs(folder)] == ["a"]


def test_an_empty_folder_of_several_is_no_single_run(tmp_path: Path) -> None:
    (tmp_path / RUNS).mkdir()
    with pytest.raises(RunFolderError, match="holds no runs"):
        runs(run_folder.RunFolder(tmp_path))
