"""The Locust process of a run: started, listened to, interrupted and ended.

It is in a process group of its own, so that Ctrl-C reaches the supervising process only, and ends
at the latest when that one does.
"""

import json
import os
import selectors
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments import child, run_folder
from experiments.errors import FAULT, AbreastError
from experiments.interim import Judge, looks
from experiments.reach import Reachable, Tell
from experiments.run_folder import RunFolder
from experiments.workers import Workers, children

_SILENT_S = 120.0
"""A Locust process that tells of each second, and then of none for so long, hangs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rig:
    """What a run is made with, beside its plan."""

    out: Path
    """Where its folder is made."""
    tell: Tell
    """Called with what happens meanwhile: dicts with a `kind`, "progress" about each second."""
    reachable: Reachable | None = None
    """The endpoint that several runs share; else one is started for this run."""
    judge: Judge | None = None
    """Asked each second whether the run is decided, and then it ends as "stopped"."""
    web: bool = False
    """Whether it can be watched in a browser; where, a note says."""
    workers: Workers | None = None
    """Whose the load is; Locust's master leads them."""


def run_locust(plan_path: Path, overrides: Sequence[str], folder: RunFolder, rig: Rig) -> int:
    """Start Locust, pass on what it tells, and give its exit code when it has ended.

    The rig's endpoint is there.

    Raises:
        AbreastError: what Locust's process refused, in its words.
        KeyboardInterrupt: it was interrupted before anything was sent.
        RuntimeError: it did not start, or had a fault.
    """
    endpoint, tell = rig.reachable, rig.tell
    assert endpoint is not None
    read_fd, write_fd = os.pipe()
    command = child.command(
        "experiments.traffic",
        "-f", str(child.ROOT / "locustfile.py"),
        "--autostart" if rig.web else "--headless", "--only-summary",
        "--plan", str(plan_path.absolute()),
        *(part for override in overrides for part in ("--set", override)),
        "--supervised-run", str(folder.path), "--progress-fd", str(write_fd),
        *(rig.workers.options if rig.workers else ()),
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
            looks(rig.judge, folder, tell) as look,
            children(
                rig.workers, folder, clean, locust, lambda: len(interrupts) > 1
            ) as start_workers,
        ):
            error = listen(read_fd, tell_and_watch, lambda: _end_hanging(locust, folder))
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
    if decided and not interrupts and run_folder.read_manifest(folder)["ended_as"] == "interrupted":
        said = decided["said"]
        run_folder.update_manifest(folder, ended_as="stopped", reason=said, decided=decided)
    if len(interrupts) > 1:
        run_folder.update_manifest(folder, ended_as="interrupted", reason="Stopped at once.")
    if "planned" not in run_folder.read_manifest(folder) and code != 0:
        said = child.tail(folder.logs / "locust.log", lines=40)
        raise RuntimeError(f"The Locust process did not start (exit code {code}):\n{said}")
    return code


def listen(read_fd: int, tell: Tell, end_it: Callable[[], None]) -> Exception | None:
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
    """Ask Locust to drain at the first Ctrl-C or SIGTERM, and end it at the second.

    The list grows by each.
    """
    received: list[int] = []

    def interrupt() -> None:
        received.append(1)
        if len(received) > 1:
            locust.kill()
            return
        locust.terminate()  # before anything is told: a terminal that stalls holds up who writes
        text = "Stopping: requests in flight are awaited. Press Ctrl-C again to stop at once."
        with suppress(RuntimeError):  # it came in the midst of a write to stderr
            tell({"kind": "note", "text": text})

    with child.interrupts_call(interrupt):
        yield received
