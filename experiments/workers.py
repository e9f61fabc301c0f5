"""The workers of a run that is more than one process sends: children here, or anywhere else.

Locust's messages are neither authenticated nor encrypted, and its master takes its workers at their
word: it listens on this machine only, unless workers elsewhere are expected.
"""

import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from experiments import child
from experiments.errors import AbreastError
from experiments.run_folder import RunFolder, account, read_begun_by

LOOPBACK = "127.0.0.1"
PORT = 5557
"""Locust's own."""
_STARTING_S = 60
_QUITTING_S = 10.0
_DRAINING_S = 100.0
MOST_A_CORE = 4
"""Processes that send; from one a core on, each takes the others' time."""
_STILL_S = 5.0
"""Workers write each second, also while they await answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workers:
    """How many there are; `processes` of them are started here, and else all come by themselves."""

    processes: int = 0
    expected: int = 0
    bind_host: str = LOOPBACK
    port: int = 0
    """Where the master listens; 0 takes a free one."""

    @property
    def options(self) -> tuple[str, ...]:
        """What Locust's master is told."""
        return (
            "--master", "--expect-workers", str(self.processes or self.expected),
            *(("--expect-workers-max-wait", str(_STARTING_S)) if self.processes else ()),
            "--master-bind-host", self.bind_host, "--master-bind-port", str(self.port),
        )  # fmt: skip


def command(host: str, port: int, out: str) -> list[str]:
    """Return the command line of one worker of the master at `host` and `port`."""
    return child.command(
        "experiments.traffic", "-f", str(child.ROOT / "locustfile.py"), "--headless",
        "--only-summary", "--worker", "--master-host", host, "--master-port", str(port),
        "--out", out,
    )  # fmt: skip


@contextmanager
def children(
    workers: Workers | None,
    folder: RunFolder,
    environment: Mapping[str, str],
    master: "subprocess.Popen[bytes]",
    is_urgent: Callable[[], bool],
) -> Iterator[Callable[[int], None]]:
    """Give what starts the workers of this machine, once the master's port is known.

    At the end they have ended. The master has told them to; who it did not reach drains, unless it
    is urgent.

    Raises:
        AbreastError: one was killed before the run began, and so the master was ended.
        RuntimeError: the same, but it failed by itself.
    """
    started: list[subprocess.Popen[bytes]] = []
    failed: list[Exception] = []

    def watch(number: int, worker: subprocess.Popen[bytes], log: Path) -> None:
        if worker.wait() != 0 and master.poll() is None and not _has_begun(folder):
            failed.append(_why_it_ended(number, worker.returncode, log))
            master.terminate()

    def start(port: int) -> None:
        for number in range(workers.processes if workers else 0):
            path = folder.logs / f"worker-{number}.log"
            with path.open("wb") as log:
                started.append(
                    subprocess.Popen(
                        command(LOOPBACK, port, str(folder.path.parent)),
                        env=environment,
                        cwd=folder.path,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        process_group=0,
                    )
                )
            threading.Thread(target=watch, args=(number, started[-1], path), daemon=True).start()

    try:
        yield start
        if not (failed or is_urgent()):
            _await_end(started, is_urgent)
    finally:
        for each in started:
            if each.poll() is None:
                each.kill()
                each.wait()
    if failed:
        raise failed[0]


def _await_end(started: Sequence["subprocess.Popen[bytes]"], is_urgent: Callable[[], bool]) -> None:
    with suppress(subprocess.TimeoutExpired):
        quit_by_s = time.monotonic() + _QUITTING_S
        for each in started:
            try:
                each.wait(max(quit_by_s - time.monotonic(), 0))
            except subprocess.TimeoutExpired:
                each.terminate()
        drained_by_s = time.monotonic() + _DRAINING_S
        for each in started:
            if is_urgent():  # by now
                return
            each.wait(max(drained_by_s - time.monotonic(), 0))


def _why_it_ended(number: int, code: int, log: Path) -> Exception:
    tail = log.read_text(errors="replace")[-2000:].strip()
    said = f"The end of its log:\n{tail}" if tail else "Its log is empty."
    if code < 0:
        return AbreastError(
            f"Worker {number} of --processes was killed by {child.killer(code)} before the run "
            f"began, and so nothing was sent. {said}",
            "Look for what killed it, such as a lack of memory (dmesg), and start the run again.",
        )
    ended = f"Worker {number} of --processes ended before the run began, with exit code {code}."
    if code == AbreastError.exit_code:
        return AbreastError(ended, said)
    return RuntimeError(f"{ended} {said}")


def _has_begun(folder: RunFolder) -> bool:
    return folder.timeline.exists() and '"kind": "start"' in folder.timeline.read_text()


def await_streams(folder: RunFolder, still_s: float = _STILL_S) -> None:
    """Wait until nobody writes streams here any more: workers elsewhere, whose master has died."""
    now_s = time.monotonic()
    until_s, changed_s = now_s + _DRAINING_S, now_s
    before: object = None
    while now_s < min(until_s, changed_s + still_s):
        try:
            sizes = {path: path.stat().st_size for path in folder.raw.iterdir()}
            found = sizes, read_begun_by(folder)
        except FileNotFoundError:  # who has sent nothing removes its own
            found = {}, {}
        if found != before:
            before, changed_s = found, now_s
        time.sleep(min(0.25, still_s / 4))
        now_s = time.monotonic()


def became_of(worker: Mapping[str, Any], records: pa.Table) -> dict[str, Any]:
    """Account for one worker's share by its records, as `account` does for the run."""
    own = records.filter(pc.equal(records["worker"], worker["rank"]))["outcome"]
    dropped = pc.sum(pc.equal(own, "dropped")).as_py() or 0
    begun = max(worker["begun"], len(own))
    counts = account(worker["planned"], begun, len(own) - dropped, dropped)
    return {**worker, "begun": begun, **counts}
