"""Supervises a run: starts the local endpoint and Locust as child processes, waits, counts.

This process imports neither locust nor boto3, so a Locust process that is killed still leaves a
run folder that can be read and judged. Children are in process groups of their own, so that Ctrl-C
reaches this process only, and end at the latest when it does.
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from experiments import afterwards, fingerprint, restore, run_folder
from experiments.accounts import ENDED, finish
from experiments.interim import Judge
from experiments.locust_process import run_locust
from experiments.plan import Plan
from experiments.reach import Reachable, Tell, reach
from experiments.run_folder import RunFolder
from experiments.workers import Workers, await_streams


def run(
    plan: Plan,
    plan_path: Path,
    plan_text: str,
    overrides: Sequence[str],
    out: Path,
    tell: Tell,
    reachable: Reachable | None = None,
    judge: Judge | None = None,
    web: bool = False,
    workers: Workers | None = None,
) -> RunFolder:
    """Make one run and give its folder, with the records compacted and counted.

    `tell` is called with what happens meanwhile: dicts with a `kind`, "progress" about each
    second. A run that is interrupted or crashes is given too; the manifest's `ended_as` says so.
    Where several runs share one endpoint, `reachable` is it; else one is started for this run.
    `judge` is asked each second whether the run is decided, and then it ends as "stopped".
    With `web` the run can be watched in a browser; where, a note says. With `workers` the load is
    theirs, and Locust's master leads them.

    Raises:
        AbreastError: the run could not start. Its folder is removed, since it holds nothing.
    """
    folder = run_folder.create(out, plan_path.stem, plan_text)
    known: dict[str, Any] = {}

    def note_and_tell(message: Mapping[str, Any]) -> None:
        known.update({key: message[key] for key in ENDED if key in message})
        if message["kind"] != "end":
            tell(message)

    try:
        looked_at = {"until_decided": True} if judge else {}
        manifest = fingerprint.manifest(folder, plan, plan_path) | looked_at
        run_folder.write_manifest(folder, manifest)
        with (
            nullcontext(reachable) if reachable else reach(plan, plan_path, folder.logs, tell)
        ) as endpoint:
            try:
                code = run_locust(
                    plan_path, overrides, folder, endpoint, note_and_tell, judge, web, workers
                )
            finally:
                afterwards.put_weights_back(folder, endpoint.environment, tell)
            if workers and workers.expected and _lost_its_workers(folder):
                tell({"kind": "note", "text": "The master is gone: its workers' end is awaited."})
                await_streams(folder)
            finish(folder, known, exit_code=code)
            afterwards.read_cloudwatch(plan, folder, endpoint.environment, tell)
    except BaseException:
        _discard(folder)
        raise
    return folder


def _lost_its_workers(folder: RunFolder) -> bool:
    """Whether workers elsewhere may still write into the run folder, led by nobody."""
    manifest = run_folder.read_manifest(folder)
    shares_disk = any(worker["spool"] is None for worker in manifest.get("workers", ()))
    return shares_disk and manifest["ended_as"] in ("running", "crashed")


def _discard(folder: RunFolder) -> None:
    """Remove a folder that holds no record; keep one that does, or weights to be put back."""
    has_records = folder.requests.exists() or any(run_folder.read_begun_by(folder).values())
    if has_records or restore.is_pending(folder):
        return
    for path in sorted(folder.path.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.path.rmdir()
