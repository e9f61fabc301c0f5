"""Several runs as one experiment: a folder of its own, with a run folder for each in `runs/`.

Every run is an ordinary one and can be judged alone. Which runs are made, and what follows from
them, is for those who call this.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from experiments import fingerprint, launch, run_folder
from experiments.errors import AbreastError
from experiments.plan import load, text_as_run
from experiments.run_folder import RunFolder

RUNS = "runs"


@contextmanager
def series(plan_path: Path, overrides: Sequence[str], out: Path) -> Iterator[RunFolder]:
    """Make the folder of an experiment of several runs; its manifest says how it ended.

    Raises:
        AbreastError: the plan is wrong, or the folder cannot be made.
    """
    plan = load(plan_path, overrides)
    folder = run_folder.create(out, plan_path.stem, text_as_run(plan_path, overrides))
    folder.raw.rmdir()
    (folder.path / RUNS).mkdir()
    run_folder.write_manifest(folder, fingerprint.manifest(folder, plan, plan_path))
    try:
        yield folder
    except KeyboardInterrupt:
        run_folder.update_manifest(folder, ended_as="interrupted", reason="It was interrupted.")
        raise
    except AbreastError as error:
        run_folder.update_manifest(folder, ended_as="aborted", reason=error.message)
        raise
    except BaseException:
        run_folder.update_manifest(folder, ended_as="fault")
        raise
    run_folder.update_manifest(folder, ended_as="complete")


def make(
    of: RunFolder,
    plan_path: Path,
    overrides: Sequence[str],
    tell: launch.Tell,
    reachable: launch.Reachable | None = None,
) -> RunFolder:
    """Make one more run of a series, from the same plan file with `overrides`.

    Raises:
        AbreastError: the run could not start.
    """
    plan = load(plan_path, overrides)
    text = text_as_run(plan_path, overrides)
    made = launch.run(plan, plan_path, text, overrides, of.path / RUNS, tell, reachable)
    run_folder.append_event(of, "run", run=made.run_id, overrides=list(overrides))
    return made


def runs(of: RunFolder) -> tuple[RunFolder, ...]:
    """Give the runs of a series, in the order in which they were made."""
    return tuple(RunFolder(path) for path in sorted((of.path / RUNS).glob("*/")))
