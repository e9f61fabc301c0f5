"""Several runs as one experiment: a folder of its own, with a run folder for each in `runs/`.

Every run is an ordinary one and can be judged alone. Which runs are made, and what follows from
them, is for those who call this.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from experiments import fingerprint, launch, run_folder
from experiments.errors import AbreastError, RunFolderError
from experiments.locust_process import Rig
from experiments.plan_file import load, text_as_run
from experiments.run_folder import RunFolder

RUNS = "runs"


@contextmanager
def series(
    plan_path: Path, overrides: Sequence[str], out: Path, is_whole: Callable[[RunFolder], bool]
) -> Iterator[RunFolder]:
    """Make the folder of an experiment of several runs; its manifest says how it ended.

    One in which no run was made is removed. Ctrl-C ends the experiment, and is raised only where no
    run `is_whole`.

    Raises:
        AbreastError: the plan is wrong, or the folder cannot be made.
        KeyboardInterrupt: before a run was made whole.
    """
    plan = load(plan_path, overrides)
    folder = run_folder.create(out, plan_path.stem, text_as_run(plan_path, overrides))
    shutil.rmtree(folder.raw)
    (folder.path / RUNS).mkdir()
    run_folder.write_manifest(folder, fingerprint.manifest(folder, plan, plan_path))
    ended = {"ended_as": "fault"}
    try:
        yield folder
        ended = {"ended_as": "complete"}
    except KeyboardInterrupt:
        ended = {"ended_as": "interrupted", "reason": "It was interrupted."}
        if not any(map(is_whole, _begun(folder))):
            raise
    except AbreastError as error:
        ended = {"ended_as": "aborted", "reason": error.message}
        raise
    finally:
        if any((folder.path / RUNS).iterdir()):
            run_folder.update_manifest(folder, **ended)
        else:
            shutil.rmtree(folder.path)


def make(
    of: RunFolder, plan_path: Path, overrides: Sequence[str], label: str, rig: Rig
) -> RunFolder:
    """Make one more run of a series, from the plan file as it was then, with `overrides`.

    What is told of it says with `label` which run of the series it is.

    Raises:
        AbreastError: the run could not start.
        KeyboardInterrupt: it was interrupted; what it holds is kept.
    """

    def tell(message: Mapping[str, Any]) -> None:
        rig.tell({**message, "label": label})

    own = replace(rig, out=of.path / RUNS, tell=tell)
    made = launch.run(plan_path, overrides, own, copy=of.plan)
    run_folder.append_event(of, "run", run=made.run_id, overrides=list(overrides))
    if ended_as(made) == "interrupted":
        raise KeyboardInterrupt
    return made


def ended_as(made: RunFolder) -> str:
    """Say how a run ended, by its manifest."""
    return str(run_folder.read_manifest(made)["ended_as"])


def runs(of: RunFolder) -> tuple[RunFolder, ...]:
    """Give the runs of a series, in the order in which they were made; of a single run, none."""
    found = _begun(of)
    if not found and (of.path / RUNS).is_dir():
        raise RunFolderError(
            f"{of.path}: holds no runs; it was ended before the first.", "Leave it out."
        )
    return found


def _begun(of: RunFolder) -> tuple[RunFolder, ...]:
    # One that Ctrl-C met in its first moments has no manifest yet, and holds nothing.
    manifests = sorted((of.path / RUNS).glob("*/manifest.json"))
    return tuple(RunFolder(path.parent) for path in manifests)
