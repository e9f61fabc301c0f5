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
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from experiments import afterwards, child, fingerprint, restore, run_folder
from experiments.errors import FAULT, AbreastError, EndpointError, naming
from experiments.local import config as endpoint_file
from experiments.local import process as local_endpoint
from experiments.memory import refuse_beyond_memory
from experiments.plan import Plan, check_variants
from experiments.run_folder import RunFolder
from experiments.workers import Workers, await_streams, became_of, children

Tell = Callable[[Mapping[str, Any]], None]
Judge = Callable[[RunFolder, float], Mapping[str, Any] | None]
"""Looks at the records so far, so many seconds into the run, where a look is due.

It gives the event for the timeline, of which `said` is shown and `decided` stops the run.
"""

_ENDED = ("ended_as", "reason", "slo_lost")
_GIVING_WAY = 19
"""The lowest weight that a thread can have."""
_SILENT_S = 120.0
"""A Locust process that tells of each second, and then of none for so long, hangs."""


def run(
    plan: Plan,
    plan_path: Path,
    plan_text: str,
    overrides: Sequence[str],
    out: Path,
    tell: Tell,
    reachable: "Reachable | None" = None,
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
        known.update({key: message[key] for key in _ENDED if key in message})
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
                code = _run_locust(
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


def finish(
    folder: RunFolder, known: Mapping[str, Any] | None = None, exit_code: int | None = 0
) -> dict[str, Any]:
    """Compact the records of a run that has ended and account for every planned request, once.

    `known` is what the Locust process told of its end, which it may have failed to write.

    Raises:
        RunFolderError: the disk refuses; the streams are kept.
    """
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
    ended = {key: manifest[key] for key in _ENDED if key in manifest}
    if manifest["ended_as"] == "running":
        ended.update(ended_as="crashed", reason=_crash_reason(exit_code))
    if workers:
        ended["workers"] = workers
    return run_folder.update_manifest(folder, counts=counts, **ended)


def _crash_reason(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return f"The Locust process was killed by {signal.Signals(-exit_code).name}."
    return f"The Locust process ended with exit code {exit_code}; see logs/locust.log."


def check_endpoint(plan: Plan, plan_path: Path, out: Path | None = None) -> None:
    """Check that this machine can run the plan, and read the file of its local endpoint, if any.

    Raises:
        AbreastError: memory is short, the file is wrong or not of the plan's endpoint, or another
            endpoint still has the weights of a run below `out`.
    """
    refuse_beyond_memory(plan, plan_path)
    if plan.endpoint.config is None:
        if out is not None:
            restore.refuse_unrestored(out, plan.endpoint)
        return
    first, *others = endpoint_file.load_all(plan_path.parent / plan.endpoint.config)
    if first.name != plan.endpoint.name:
        raise EndpointError(
            f'{plan_path}: endpoint.name is "{plan.endpoint.name}", but '
            f'{plan.endpoint.config} is the endpoint "{first.name}".',
            "Make the two names the same.",
        )
    with naming(plan_path):
        for name in set(plan.other_endpoints) - {each.name for each in others}:
            raise EndpointError(
                f'{plan.endpoint.config} describes no endpoint "{name}", which an arm names.',
                "Give that endpoint a file, and name the file there: also = [...].",
            )
        of_others = (f"{each.name}/{variant}" for each in others for variant in each.variants)
        check_variants(plan, [*first.variants, *of_others])


@dataclass(frozen=True, slots=True)
class Reachable:
    """An endpoint that can be called: the environment to call it from, and whether it is there."""

    environment: Mapping[str, str]
    is_alive: Callable[[], bool]


@contextmanager
def reach(plan: Plan, plan_path: Path, logs: Path, tell: Tell) -> Iterator[Reachable]:
    """Start the plan's local endpoint, where it is local, and end it at the end.

    Raises:
        AbreastError: its file is wrong, or it did not start.
    """
    environment = child.environment()
    if plan.endpoint.config is None:
        yield Reachable(environment, lambda: True)
        return
    check_endpoint(plan, plan_path)
    tell({"kind": "note", "text": "Starting the local endpoint and its models."})
    config = plan_path.parent / plan.endpoint.config
    # Else every run of a series would meet the same chance, and runs would look too much alike.
    endpoint = local_endpoint.start(config, log_dir=logs, seed=plan.seed)
    try:
        called_from = endpoint.client_environment(environment)
        yield Reachable(called_from, lambda: endpoint.process.poll() is None)
    finally:
        endpoint.stop()


def _run_locust(
    plan_path: Path,
    overrides: Sequence[str],
    folder: RunFolder,
    endpoint: Reachable,
    tell: Tell,
    judge: Judge | None,
    web: bool,
    workers: Workers | None,
) -> int:
    read_fd, write_fd = os.pipe()
    command = child.command(
        "experiments.traffic",
        "-f", str(child.ROOT / "locustfile.py"),
        "--autostart" if web else "--headless", "--only-summary",
        "--plan", str(plan_path.absolute()),
        *(part for override in overrides for part in ("--set", override)),
        "--supervised-run", str(folder.path), "--progress-fd", str(write_fd),
        *(workers.options if workers else ()),
    )  # fmt: skip
    clean = {k: v for k, v in endpoint.environment.items() if not k.startswith("LOCUST_")}
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
    decided: Mapping[str, Any] | None = None
    try:

        def tell_and_watch(message: Mapping[str, Any]) -> None:
            nonlocal endpoint_died, decided
            if message["kind"] == "master":
                start_workers(message["port"])
                return
            tell(message)
            if not endpoint_died and not endpoint.is_alive():
                endpoint_died = True
                locust.terminate()
            if message["kind"] == "progress" and decided is None:
                decided = look(message["elapsed_s"])
                if decided is not None:
                    locust.terminate()

        with (
            _interrupts_go_to(locust, tell) as interrupts,
            _looks(judge, folder, tell) as look,
            children(workers, folder, clean, locust, lambda: len(interrupts) > 1) as start_workers,
        ):
            error = _listen(read_fd, tell_and_watch, lambda: _end_hanging(locust, folder))
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
    was_stopped = run_folder.read_manifest(folder)["ended_as"] == "interrupted"
    if decided and was_stopped and not interrupts:
        said = decided["said"]
        run_folder.update_manifest(folder, ended_as="stopped", reason=said, decided=decided)
    if len(interrupts) > 1:
        run_folder.update_manifest(folder, ended_as="interrupted", reason="Stopped at once.")
    if "planned" not in run_folder.read_manifest(folder) and code != 0:
        tail = (folder.logs / "locust.log").read_text(errors="replace")[-2000:]
        raise RuntimeError(f"The Locust process did not start (exit code {code}):\n{tail}")
    return code


@contextmanager
def _looks(
    judge: Judge | None, folder: RunFolder, tell: Tell
) -> Iterator[Callable[[float], Mapping[str, Any] | None]]:
    """Give a function to call each second; once the run is decided it gives the event that says so.

    What is judged is judged aside, so that Ctrl-C and the end of the run are noticed meanwhile. A
    look that fails is said, once, and the run goes on; one that ends after the run is said too.
    """
    # On Linux nice(2) is a thread's own: the generator has the CPU first, whatever is judged.
    with ThreadPoolExecutor(1, initializer=os.nice, initargs=(_GIVING_WAY,)) as aside:
        pending: Future[Mapping[str, Any] | None] | None = None
        failed = ""

        def taken(late: str = "") -> Mapping[str, Any] | None:
            nonlocal failed
            try:
                found = None if pending is None else pending.result()
            except Exception as error:  # noqa: BLE001 - a run must not end for how it is judged
                said = f"This look could not be taken: {error or type(error).__name__}"
                found = None if said == failed else {"kind": "look", "said": said, "decided": False}
                failed = said
            if found is None:
                return None
            found = {**found, "said": f"{found['said']}{late}"}
            tell({"kind": "note", "text": found["said"]})
            run_folder.append_event(folder, **found)
            return found if found["decided"] else None

        def look(elapsed_s: float) -> Mapping[str, Any] | None:
            nonlocal pending
            if judge is None or (pending is not None and not pending.done()):
                return None
            found = taken()
            pending = None if found else aside.submit(judge, folder, elapsed_s)
            return found

        yield look
        taken(late=" The run had ended by then.")


def _listen(read_fd: int, tell: Tell, end_it: Callable[[], None]) -> Exception | None:
    """Pass on Locust's messages until it closes its end; give the error it could not pass.

    Where it hangs between its first second and its end, `end_it` is called.
    """
    error = most_s = None
    buffer = b""
    with selectors.DefaultSelector() as selector:
        selector.register(read_fd, selectors.EVENT_READ)
        while True:
            # Asked twice: the first time may have passed while this process was stopped.
            if not selector.select(most_s) and not selector.select(0):
                end_it()
                most_s = None
            data = os.read(read_fd, 65536)
            if not data:
                return error
            *lines, buffer = (buffer + data).split(b"\n")
            for line in lines:
                try:
                    message = json.loads(line)
                except ValueError:
                    continue  # empty, or cut short while this process did not read
                most_s = {"progress": _SILENT_S, "end": None}.get(message["kind"], most_s)
                if message["kind"] == "error":
                    error = _error_of(message)
                else:
                    tell(message)


def _end_hanging(locust: subprocess.Popen[bytes], folder: RunFolder) -> None:
    locust.kill()
    locust.wait()
    reason = f"The Locust process said nothing for {_SILENT_S:g} s, and was killed."
    run_folder.update_manifest(folder, ended_as="crashed", reason=reason)


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
    """Remove a folder that holds no record; keep one that does, or weights to be put back."""
    has_records = folder.requests.exists() or any(run_folder.read_begun_by(folder).values())
    if has_records or restore.is_pending(folder):
        return
    for path in sorted(folder.path.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.path.rmdir()
