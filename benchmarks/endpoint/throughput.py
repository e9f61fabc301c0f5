"""How many signed requests a second does the local endpoint answer on one core?

wrk sends one signed call over 64 connections. The endpoint verifies each signature, and its
simulated model takes no time; nginx, beside it, reads the same call and answers as much.

    python -m benchmarks.endpoint.throughput --seconds 3 --repeats 3
"""

import argparse
import platform
import re
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from benchmarks.endpoint import servers, signed
from benchmarks.generator import table

CONNECTIONS = 64
HEADER = [
    "requests/s",
    "requests/s of CPU",
    "CPU \u00b5s each",
    "p99 ms",
    "not 2xx",
    "% without core",
]
DIGITS = {"rps": 0, "cpu_rps": 0, "cpu_us": 1, "p99_ms": 2, "failed": 0, "waited": 1}
_FILE = f'name = "{signed.NAME}"\n[variants.only]\nsimulated = {{ constant = "0s" }}\n'
_UNITS_MS = {"us": 0.001, "ms": 1.0, "s": 1000.0}
Figures = dict[str, float | None]
Serving = AbstractContextManager[tuple[int, int]]
"""A server, as long as it runs: its port, and the id of the process that answers."""

SERVERS: dict[str, Callable[[Path], Serving]] = {
    "abreast, signature verified": lambda folder: servers.endpoint(_FILE, folder),
    "nginx, signature not looked at": servers.nginx,
}


def read_wrk(said: str) -> tuple[int, float, float, int]:
    """Read what wrk says: requests, seconds, p99 in ms, and answers that are not 2xx or 3xx."""
    done = re.search(r"(\d+) requests in ([\d.]+)s", said)
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)", said)
    failed = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    if done is None or p99 is None:
        raise RuntimeError(f"wrk said something else:\n{said}")
    p99_ms = float(p99[1]) * _UNITS_MS[p99[2]]
    return int(done[1]), float(done[2]), p99_ms, int(failed[1]) if failed else 0


def measure(serving: Serving, folder: Path, seconds: int) -> Figures:
    """Let wrk load a server once."""
    with serving as (port, pid):
        script = folder / "wrk.lua"
        script.write_text(signed.wrk_script(port))
        command = [
            "taskset", "--cpu-list", str(servers.CLIENT_CPU),
            "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency", "-s", str(script),
            f"http://127.0.0.1:{port}{signed.PATH}",
        ]  # fmt: skip
        began_s, waited_s = servers.cpu_s(pid), servers.core_wait_s(pid)
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        taken_s = servers.cpu_s(pid) - began_s
        waited_s = servers.core_wait_s(pid) - waited_s
    requests, length_s, p99_ms, failed = read_wrk(said)
    return {
        "rps": requests / length_s,
        "cpu_rps": requests / taken_s,
        "cpu_us": taken_s / requests * 1e6,
        "p99_ms": p99_ms,
        "failed": failed,
        "waited": 100 * waited_s / length_s,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=3, help="of each run")
    parser.add_argument("--repeats", type=int, default=3)
    run = parser.parse_args()
    table.show(table.header(["server"], HEADER))
    for name, serving in SERVERS.items():
        repeats = []
        for repeat in range(run.repeats):
            table.progress(f"{name}, {repeat + 1}/{run.repeats}")
            with tempfile.TemporaryDirectory(prefix="abreast-") as made:
                repeats.append(measure(serving(Path(made)), Path(made), run.seconds))
        table.show(table.row([name], repeats, **DIGITS))
    print(
        f"\nMedians of {run.repeats}, {run.seconds} s each, with the range; wrk over "
        f"{CONNECTIONS} connections of loopback, a body of 1 KB, server and wrk each on a core of "
        "its own where there are two. Without core: the share of the time in which the server was "
        f"ready and something else had its core. Python {platform.python_version()}."
    )


if __name__ == "__main__":
    main()
