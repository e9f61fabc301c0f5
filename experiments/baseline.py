"""The accepted runs of a plan, kept so that a later release can be held against them.

What is kept is a copy of all that a judge reads, the manifest, the plan and the records, in a run
folder of its own. So it outlives the run's own folder, is checked like any other run, and can be
asked for a metric that nobody guarded when it was made.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

from experiments import run_folder
from experiments.errors import RunFolderError
from experiments.run_folder import RunFolder

STORES = Path("reports/baselines")
"""Where the stores are by default, a folder for each plan."""
_KEPT = ("manifest.json", "plan.toml", "requests.parquet", "health.parquet", "payloads.parquet")


def add(found: Sequence[RunFolder], store: Path) -> tuple[RunFolder, ...]:
    """Keep runs that came to their end: all of them, or none where one is refused.

    Raises:
        RunFolderError: one did not come to its end, lacks a file, or is there already.
    """
    kept = tuple(RunFolder(store / run.run_id) for run in found)
    unfinished = [copy.path.with_name(f".{copy.run_id}") for copy in kept]
    for run, copy in zip(found, kept, strict=True):
        ended_as = run_folder.read_manifest(run)["ended_as"]
        if ended_as != "complete":
            raise RunFolderError(
                f"{run.path}: ended as {ended_as}.", "Only a complete run is a baseline."
            )
        if copy.path.exists() or kept.count(copy) > 1:
            raise RunFolderError(
                f"{copy.path}: is there already, or given twice.", "Drop it first to replace it."
            )
    try:
        for run, place in zip(found, unfinished, strict=True):
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir(mode=0o700, parents=True)
            for name in _KEPT:
                shutil.copy2(run.path / name, place / name)
            if run.timeline.is_file():
                shutil.copy2(run.timeline, place / run.timeline.name)
    except FileNotFoundError as error:
        raise RunFolderError(
            f"{error.filename}: is missing.", "Restore it, or make the run again."
        ) from None
    for place, copy in zip(unfinished, kept, strict=True):
        place.replace(copy.path)
    return kept


def stores(store: Path | None) -> tuple[Path, ...]:
    """Give the one store, or every default one."""
    return (store,) if store else tuple(sorted(STORES.glob("*/")))


def runs(store: Path, last: int | None = None) -> tuple[RunFolder, ...]:
    """Give a store's runs from the oldest on, or the last of them only."""
    kept = tuple(RunFolder(path.parent) for path in sorted(store.glob("[!.]*/manifest.json")))
    return kept[-last:] if last else kept


def find(run_id: str, store: Path | None) -> RunFolder:
    """Find a kept run by its id."""
    for each in stores(store):
        for kept in runs(each):
            if kept.run_id == run_id:
                return kept
    raise RunFolderError(
        f"{run_id}: is no run of {store or STORES}.", "See `abreast baseline list`."
    )


def drop(kept: RunFolder) -> None:
    """Remove a kept run; what it was copied from stays."""
    shutil.rmtree(kept.path)
