"""Supervises a run: starts the local endpoint and Locust as child processes, waits, counts.

This process imports neither locust nor boto3, so a Locust process that is killed still leaves a
run folder that can be read and judged. Children are in process groups of their own, so that Ctrl-C
reaches this process only, and end at the latest when it does.
"""

import json
import os
import selectors
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from experiments import child, fingerprint, run_folder
from experiments.errors import FAULT, AbreastError, EndpointError
from experiments.local import process as local_endpoint
from experiments.plan import Plan
from experiments.run_folder import RunFolder

Tell = Callable[[Mapping[str, Any]], None]

_ENDED = ("begun", "ended_as", "reason", "slo_lost")


def run(
    plan: Plan,
    plan_path: Path,
    plan_text: str,
    overrides: Sequence[str],
    out: Path,
    tell: Tell,
) -> RunFolder:
    """Make one run and give its folder, with the records compacted and counted.

    `tell` is called with what happens meanwhile: dicts with a `kind`, "progress" about each
    second. A run that is interrupted or crashes is given too; the manifest's `ended_as` says so.

    Raises:
        AbreastError: the run could not start. Its folder is removed, since it holds nothing.
    """
    folder = run_folder.create(out, plan_path.stem, plan_text)
    run_folder.write_manifest(folder, fingerprint.manifest(folder, plan, plan_path))
    known: dict[str, Any] = {}

    def note_and_tell(message: Mapping[str, Any]) -> None:
        known.update({key: message[key] for key in _ENDED if key in message})
        if message["kind"] != "end":
            tell(message)

    try:
        with _local_endpoint(plan, plan_path, folder, tell) as (environment, is_alive):
            code = _run_locust(plan_path, overrides, folder, environment, note_and_tell, is_alive)
    except BaseException:
        _discard(folder)
        raise
    finish(folder, known, exit_code=code)
    return folder


def finish(
    folder: RunFolder, known: Mapping[str, Any] | None = None, exit_code: int | None = 0
) -> dict[str, Any]:
    """Compact the records of a run that has ended and account for every planned request, once.

    `known` is what the Locust process told of its end, which it may have failed to write.

    Raises:
        OSError: the disk refuses; the streams are kept.
    """
    manifest = run_folder.read_manifest(folder)
    if manifest["ended_as"] == "running":
        manifest = {**manifest, **(known or {})}
    if "counts" in manifest:
        return manifest
    run_folder.compact(folder)
    outcomes = pq.read_table(folder.requests, columns=["outcome"])["outcome"]
    dropped = pc.sum(pc.equal(outcomes, "dropped")).as_py() or 0
    counts = run_folder.account(
        planned=manifest.get("planned", 0),
        begun=max(manifest.get("begun", 0), (known or {}).get("begun", 0)),
        ended=len(outcomes) - dropped,
        dropped=dropped,
    )
    ended = {key: manifest[key] for key in _ENDED if key in manifest}
    if manifest["ended_as"] == "running":
        ended.update(ended_as="crashed", reason=_crash_reason(exit_code))
    return run_folder.update_manifest(folder, counts=counts, **ended)


def _crash_reason(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return f"The Locust process was killed by {signal.Signals(-exit_code).name}."
    return f"The Locust process ended with exit code {exit_code}; see logs/locust.log."


@contextmanager
def _local_endpoint(
    plan: Plan, plan_path: Path, folder: RunFolder, tell: Tell
) -> Iterator[tuple[dict[str, str], Callable[[], bool]]]:
    """Give the environment to send from, and whether the endpoint is still there."""
    environment = child.environment()
    if plan.endpoint.config is None:
        yield environment, lambda: True
        return
    tell({"kind": "note", "text": "Starting the local endpoint and its models."})
    endpoint = local_endpoint.start(plan_path.parent / plan.endpoint.config, log_dir=folder.logs)
    try:
        if endpoint.endpoint != plan.endpoint.name:
            raise EndpointError(
                f'{plan_path}: endpoint.name is "{plan.endpoint.name}", but '
                f'{plan.endpoint.config} is the endpoint "{endpoint.endpoint}".',
                "Make the two names the same.",
            )
        yield endpoint.client_environment(environment), lambda: endpoint.process.poll() is None
    finally:
        endpoint.stop()


def _run_locust(
    plan_path: Path,
    overrides: Sequence[str],
    folder: RunFolder,
    environment: Mapping[str, str],
    tell: Tell,
    is_alive: Callable[[], bool],
) -> int:
    read_fd, write_fd = os.pipe()
    command = child.command(
        "experiments.traffic",
        "-f", str(child.ROOT / "locustfile.py"), "--headless", "--only-summary",
        "--plan", str(plan_path.absolute()),
        *(part for override in overrides for part in ("--set", override)),
        "--supervised-run", str(folder.path), "--progress-fd", str(write_fd),
    )  # fmt: skip
    clean = {k: v for k, v in environment.items() if not k.startswith("LOCUST_")}
    with (folder.logs / "locust.log").open("wb") as log:
        locust = subprocess.Popen(
            command,
            env=clean,
            cwd=folder.path,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            pass_fds=[write_fd],
            process_group=0,  # Ctrl-C reaches this process only, which then stops the child
        )
    os.close(write_fd)
    endpoint_died = False
    try:

        def tell_and_watch(message: Mapping[str, Any]) -> None:
            nonlocal endpoint_died
            tell(message)
            if not endpoint_died and not is_alive():
                endpoint_died = True
                locust.terminate()

        with _interrupts_go_to(locust, tell) as interrupts:
            error = _listen(read_fd, tell_and_watch)
            code = locust.wait()
    finally:
        os.close(read_fd)
        if locust.poll() is None:
            locust.kill()
            locust.wait()
        if locust.stdin:
            locust.stdin.close()
    if error is not None:
        raise error
    if interrupts and "planned" not in run_folder.read_manifest(folder):
        raise KeyboardInterrupt
    if endpoint_died:
        reason = "The local endpoint ended during the run; see logs/endpoint.log."
        run_folder.update_manifest(folder, ended_as="aborted", reason=reason)
    if len(interrupts) > 1:
        run_folder.update_manifest(folder, ended_as="interrupted", reason="Stopped at once.")
    if "planned" not in run_folder.read_manifest(folder) and code != 0:
        tail = (folder.logs / "locust.log").read_text(errors="replace")[-2000:]
        raise RuntimeError(f"The Locust process did not start (exit code {code}):\n{tail}")
    return code


def _listen(read_fd: int, tell: Tell) -> Exception | None:
    """Pass on Locust's messages until it closes its end; give the error it could not pass."""
    error = None
    buffer = b""
    with selectors.DefaultSelector() as selector:
        selector.register(read_fd, selectors.EVENT_READ)
        while True:
            selector.select()
            data = os.read(read_fd, 65536)
            if not data:
                return error
            *lines, buffer = (buffer + data).split(b"\n")
            for line in lines:
                message = json.loads(line)
                if message["kind"] == "error":
                    error = _error_of(message)
                else:
                    tell(message)


def _error_of(message: Mapping[str, Any]) -> Exception:
    if message["exit_code"] == FAULT:
        return RuntimeError(message["message"])
    return AbreastError(message["message"], message["hint"])


@contextmanager
def _interrupts_go_to(locust: subprocess.Popen[bytes], tell: Tell) -> Iterator[list[int]]:
    """Ask Locust to drain at the first Ctrl-C or SIGTERM, and end it at the second."""
    received: list[int] = []

    def interrupt(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        if len(received) == 1:
            tell({"kind": "note", "text": "Stopping: requests in flight are awaited. "
                  "Press Ctrl-C again to stop at once."})  # fmt: skip
            locust.terminate()
        else:
            locust.kill()

    before = {
        number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _discard(folder: RunFolder) -> None:
    """Remove a folder that holds no record; keep one that does."""
    if any(folder.raw.glob("*.arrows")):
        return
    for path in sorted(folder.path.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.path.rmdir()
