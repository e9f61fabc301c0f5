"""Supervises a run: starts the local endpoint and Locust as child processes, waits, counts.

This process imports neither locust nor boto3, so a Locust process that is killed still leaves a
run folder that can be read and judged. Children are in process groups of their own, so that Ctrl-C
reaches this process only, and end at the latest when it does.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from experiments import afterwards, fingerprint, restore, run_folder
from experiments.accounts import ENDED, finish, kept
from experiments.locust_process import Rig, run_locust
from experiments.plan_file import load, text_as_run
from experiments.reach import reach
from experiments.run_folder import RunFolder
from experiments.workers import await_streams


def run(plan_path: Path, overrides: Sequence[str], rig: Rig, copy: Path | None = None) -> RunFolder:
    """Make one run and give its folder, with the records compacted and counted.

    The plan's file is read once, here, or its `copy` that was made as the first of several began.

    A run that is interrupted or crashes is given too; the manifest's `ended_as` says so.

    Raises:
        AbreastError: the run could not start. Its folder is removed, since it holds nothing.
    """
    plan, tell, workers = load(plan_path, overrides, copy), rig.tell, rig.workers
    folder = run_folder.create(rig.out, plan_path.stem, text_as_run(copy or plan_path, overrides))
    held = run_folder.hold(folder)
    known: dict[str, Any] = {}

    def note(text: str) -> None:
        tell({"kind": "note", "text": text})

    def keep_and_tell(message: Mapping[str, Any]) -> None:
        known.update({key: message[key] for key in ENDED if key in message})
        if message["kind"] != "end":
            tell(message)

    try:
        looked_at = {"until_decided": True} if rig.judge else {}
        manifest = fingerprint.manifest(folder, plan, plan_path) | looked_at
        run_folder.write_manifest(folder, manifest)
        with (
            nullcontext(rig.reachable)
            if rig.reachable
            else reach(plan, plan_path, folder.logs, tell)
        ) as endpoint:
            try:
                own = replace(rig, tell=keep_and_tell, reachable=endpoint)
                code = run_locust(plan_path, overrides, folder, own)
            finally:
                afterwards.put_weights_back(folder, endpoint.environment, tell)
            if workers and workers.expected and _lost_its_workers(folder):
                note("The master is gone: its workers' end is awaited.")
                await_streams(folder)
            finish(folder, known, exit_code=code)
            reading = afterwards.start_reading_cloudwatch(plan, folder, endpoint.environment, note)
            afterwards.finish_reading_cloudwatch(folder, reading)
    except BaseException as error:
        if folder.requests.exists() or any(run_folder.read_begun_by(folder).values()):
            if isinstance(error, KeyboardInterrupt):
                note(kept(folder.path))
        elif not restore.is_pending(folder):
            shutil.rmtree(folder.path)
        raise
    finally:
        os.close(held)
    return folder


def _lost_its_workers(folder: RunFolder) -> bool:
    """Whether workers elsewhere may still write into the run folder, led by nobody."""
    manifest = run_folder.read_manifest(folder)
    shares_disk = any(worker["spool"] is None for worker in manifest.get("workers", ()))
    return shares_disk and manifest["ended_as"] in ("running", "crashed")
