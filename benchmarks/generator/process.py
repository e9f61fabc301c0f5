"""Runs a client as a child process, and watches how much CPU time it and its children take."""

import os
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.generator.target import CLIENT_CPU

_SAMPLE_EVERY_S = 0.5
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class CpuTime:
    """CPU time taken so far, in seconds, at moments on `time.perf_counter_ns()`."""

    at_ns: tuple[int, ...]
    taken_s: tuple[float, ...]

    def between(self, start_ns: int, end_ns: int) -> float:
        """Give the CPU seconds taken from one moment to another, interpolated."""
        low, high = np.interp([start_ns, end_ns], self.at_ns, self.taken_s)
        return float(high - low)


def run(
    command: list[str],
    *,
    env: Mapping[str, str],
    cwd: Path,
    within_s: float,
    processes: int = 1,
    accept: tuple[int, ...] = (0,),
) -> CpuTime:
    """Run a command on the client's core to its end; what it says goes to `client.log` in `cwd`.

    `processes` is how many there are while it sends, children included.

    Raises:
        RuntimeError: it ended with an exit code that is not in `accept`, or took too long.
    """
    log_path = cwd / "client.log"
    taken_s: dict[int, float] = {}
    found: dict[int, float] = {}
    at_ns, totals_s = [time.perf_counter_ns()], [0.0]
    with log_path.open("wb") as log:
        client = subprocess.Popen(
            ["taskset", "--cpu-list", str(CLIENT_CPU), *command],
            env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            ends_s = time.monotonic() + within_s
            while client.poll() is None and time.monotonic() < ends_s:
                pids = set(found) if len(found) >= processes else tree(client.pid)
                found = cpu_time_s(pids)
                taken_s.update(found)
                at_ns.append(time.perf_counter_ns())
                totals_s.append(sum(taken_s.values()))  # with those that have ended
                time.sleep(_SAMPLE_EVERY_S)
        finally:
            if client.poll() is None:
                client.terminate()
                try:
                    client.wait(10)
                except subprocess.TimeoutExpired:
                    client.kill()
                    client.wait()
    if client.returncode not in accept:
        tail = log_path.read_text(errors="replace")[-2000:]
        raise RuntimeError(f"{command[0]} ended with exit code {client.returncode}:\n{tail}")
    return CpuTime(tuple(at_ns), tuple(totals_s))


def cpu_time_s(pids: set[int]) -> dict[int, float]:
    """Read user and system time of those processes that are still there."""
    taken_s = {}
    for pid in pids:
        if fields := _stat(pid):
            taken_s[pid] = (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
    return taken_s


def tree(root: int) -> set[int]:
    """Find a process and its descendants. It reads all of /proc, so not while others measure."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (fields := _stat(int(name))):
            parents[int(name)] = int(fields[1])
    found = {root}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def _stat(pid: int) -> list[str]:
    """Read the fields of /proc/PID/stat from the third on; the name before them may hold spaces."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
