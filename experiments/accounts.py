"""The accounts of a run that has ended: every planned request is counted once."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from experiments import child, run_folder
from experiments.run_folder import RunFolder
from experiments.workers import await_streams, became_of

ENDED = ("ended_as", "reason", "slo_lost")


def finish(
    folder: RunFolder, known: Mapping[str, Any] | None = None, exit_code: int | None = 0
) -> dict[str, Any]:
    """Compact the records of a run that has ended and account for every planned request, once.

    `known` is what the Locust process told of its end, which it may have failed to write.

    Raises:
        RunFolderError: the disk refuses; the streams are kept.
    """
    with run_folder.alone(folder):
        return _finish(folder, known, exit_code)


def _finish(
    folder: RunFolder, known: Mapping[str, Any] | None, exit_code: int | None
) -> dict[str, Any]:
    manifest = run_folder.read_manifest(folder)
    if manifest["ended_as"] == "running":
        manifest = {**manifest, **(known or {})}
    if "counts" in manifest and not run_folder.has_streams(folder):
        return manifest
    begun_by = run_folder.read_begun_by(folder)
    # Of workers whose files are not here it is known from before.
    workers = [
        {**worker, "begun": max(worker["begun"], begun_by.get(worker["rank"], 0))}
        for worker in manifest.get("workers", ())
    ]
    begun = sum(worker["begun"] for worker in workers) or sum(begun_by.values())
    begun = max(manifest.get("begun", 0), begun)
    if begun != manifest.get("begun"):  # kept first: what follows removes where it is from
        of_workers = {"workers": workers} if workers else {}
        run_folder.update_manifest(folder, begun=begun, **of_workers)
    run_folder.compact(folder)
    records = pq.read_table(folder.requests, columns=["outcome", "worker"])
    outcomes = records["outcome"]
    dropped = pc.sum(pc.equal(outcomes, "dropped")).as_py() or 0
    workers = [became_of(worker, records) for worker in workers]
    counts = run_folder.account(
        planned=manifest.get("planned", 0),
        begun=max(begun, sum(worker["begun"] for worker in workers)),
        ended=len(outcomes) - dropped,
        dropped=dropped,
    )
    ended = {key: manifest[key] for key in ENDED if key in manifest}
    if manifest["ended_as"] == "running":
        ended.update(ended_as="crashed", reason=_crash_reason(exit_code))
    if workers:
        ended["workers"] = workers
    return run_folder.update_manifest(folder, counts=counts, **ended)


def finish_if_ended(folder: RunFolder) -> None:
    """Finish a run whose processes have ended, whatever ended them; leave alone what goes on."""
    with run_folder.alone(folder):
        manifest = run_folder.read_manifest(folder)
        if manifest["ended_as"] == "running":
            never_began = not run_folder.has_streams(folder) and not folder.payloads.is_file()
            if never_began or run_folder.is_held(folder):
                return
            if "workers" in manifest:  # which outlive their master for a while
                await_streams(folder)
        _finish(folder, None, exit_code=None)


def kept(path: Path) -> str:
    """Say how the run of a folder is judged later."""
    return f"The records are kept; `abreast report {path}` judges them."


def _crash_reason(exit_code: int | None) -> str:
    if exit_code is None:
        return "The process that made the run was killed."
    if exit_code < 0:
        return f"The Locust process was killed by {child.killer(exit_code)}."
    return f"The Locust process ended with exit code {exit_code}; see logs/locust.log."
