"""The benchmark's server as a child process, and what it saw, as a table."""

import http.client
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pandas as pd

from experiments import child

PATH = "/endpoints/benchmark/invocations"
BODY = json.dumps({"features": [round(i / 7, 4) for i in range(128)]}, separators=(",", ":"))
"""The one request body that every tool sends, about 1 KB."""

_CPUS = sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else [0]
CLIENT_CPU, SERVER_CPU = _CPUS[0], _CPUS[-1]
"""Where there are two cores, no client disturbs the server, and each client has one core."""


@dataclass(frozen=True, slots=True)
class Target:
    """A server that runs."""

    port: int

    @property
    def url(self) -> str:
        """Its address, without a path."""
        return f"http://127.0.0.1:{self.port}"

    def take_log(self) -> pd.DataFrame:
        """Take what it saw of each POST: `arrived_ns`, `own_ns`, `user`, `inference_id`.

        Times are on `time.perf_counter_ns()`, in the order of arrival; a request that is not
        answered yet is not in it.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("GET", "/log")
            lines = connection.getresponse().read().decode()
        finally:
            connection.close()
        columns = ["arrived_ns", "own_ns", "user", "inference_id"]
        if not lines:
            return pd.DataFrame(columns=columns)
        return pd.read_json(
            io.StringIO(lines), lines=True, dtype={"user": "string", "inference_id": "string"}
        )[columns]


@contextmanager
def serving(
    *, delay_ms: float, stall_every_s: float = 0.0, stall_for_s: float = 0.0
) -> Iterator[Target]:
    """Run the server on a core of its own for the length of a `with` block."""
    command = child.command(
        "benchmarks.generator.server",
        "--delay-ms", str(delay_ms),
        "--stall-every", str(stall_every_s),
        "--stall-for", str(stall_for_s),
        "--cpu", str(SERVER_CPU),
    )  # fmt: skip
    server = subprocess.Popen(
        command, env=child.environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        if not line:
            raise RuntimeError(f"The server ended with exit code {server.wait()}.")
        yield Target(json.loads(line)["port"])
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        for pipe in (server.stdin, server.stdout):
            if pipe is not None:
                pipe.close()
