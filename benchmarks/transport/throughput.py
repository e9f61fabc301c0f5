"""How many requests a second does a core carry, and what does each cost the client?

python -m benchmarks.transport.throughput --seconds 3 --repeats 5

Every tool has one core, and sends one body of 1 KB from 16 users to the same nginx, which has
another. Requests are counted by nginx and CPU time by the kernel, so that no tool's own figures
are taken. Tools that are not installed are left out.
"""

import os
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from benchmarks.generator import process, table
from benchmarks.generator.target import CLIENT_CPU
from benchmarks.transport import tools
from benchmarks.transport.sink import Sink, serving
from benchmarks.transport.tools import TOOLS, Job, Tool, environment

_STARTS_WITHIN_S = 60
_BUSY = 100
"""Requests from which on a tool is under way, and not trying its first."""

_BEYOND_S = 30
DIGITS = {"requests/s": 0, "CPU us/request": 1, "of a core": 2}
HEADER = ("requests/s", "CPU µs/request", "cores used")


def measure(tool: Tool, sink: Sink, *, is_tls: bool, users: int, seconds: int) -> dict[str, float]:
    """Run a tool once; give its figures, or none where it is not installed.

    Raises:
        RuntimeError: it ended by itself, or sent nothing.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        job = Job(
            url=sink.url(is_tls=is_tls),
            users=users,
            seconds=seconds + table.WARMUP_S + _BEYOND_S,
            folder=Path(folder),
            certificate=sink.certificate,
        )
        asked = tool(job)
        if asked is None:
            return {}
        command, settings = asked
        log_path = job.folder / "tool.log"
        with log_path.open("wb") as log:
            running = subprocess.Popen(
                ["taskset", "--cpu-list", str(CLIENT_CPU), *command],
                env=environment(job, settings), cwd=folder, stdin=subprocess.DEVNULL,
                stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
        try:
            _await_start(sink, running)
            time.sleep(table.WARMUP_S)
            served, cpu_s, began_s = sink.served(), _cpu_s(running), time.perf_counter()
            time.sleep(seconds)
            served, cpu_s = sink.served() - served - 1, _cpu_s(running) - cpu_s
            took_s = time.perf_counter() - began_s
        except RuntimeError as error:
            said = log_path.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{command} failed: {error}\n{said}") from None
        finally:
            _end(running)
    return {
        "requests/s": served / took_s,
        "CPU us/request": cpu_s / served * 1e6,
        "of a core": cpu_s / took_s,
    }


def _await_start(sink: Sink, running: subprocess.Popen[bytes]) -> None:
    before, ends_s = sink.served(), time.monotonic() + _STARTS_WITHIN_S
    while sink.served() - before < _BUSY:
        if running.poll() is not None:
            raise RuntimeError(f"It ended with exit code {running.returncode}.")
        if time.monotonic() > ends_s:
            raise RuntimeError("It sent nothing.")
        before += 1  # the question itself
        time.sleep(0.1)


def _cpu_s(running: subprocess.Popen[bytes]) -> float:
    return sum(process.cpu_time_s(process.tree(running.pid)).values())


def _end(running: subprocess.Popen[bytes]) -> None:
    if running.poll() is None:
        for pid in process.tree(running.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    running.wait()


def main() -> None:
    parser = table.options(__doc__.splitlines()[0], seconds=3)
    parser.add_argument("--users", type=table.numbers, default=(16,))
    run = parser.parse_args()
    table.show(table.header(["users", "over", "tool"], HEADER))
    with serving() as sink:
        for users in run.users:
            for over in ("http", "https"):
                for name, tool in TOOLS.items():
                    if not table.is_wanted(name, run.tools):
                        continue
                    found = []
                    for repeat in range(run.repeats):
                        table.progress(f"{name}, {over}, {repeat + 1}/{run.repeats}")
                        found.append(
                            measure(
                                tool, sink, is_tls=over == "https", users=users,
                                seconds=run.seconds,
                            )
                        )  # fmt: skip
                    table.show(table.row([f"{users}", over, name], found, **DIGITS))
    print(tools.conditions(run))


if __name__ == "__main__":
    main()
