"""How well does the local endpoint keep to the service times that it states?

A client sends signed calls at Poisson times over open connections. The endpoint's own log of what
it served says how late each answer was: its end against arrival, wait and service. What the client
saw is compared with what was stated, quantile against quantile; it includes the loopback and the
client's own work.

    python -m benchmarks.endpoint.timing --seconds 4 --repeats 3
"""

import argparse
import asyncio
import os
import platform
import tempfile
from collections import deque
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
import uvloop

from benchmarks.endpoint import servers, signed
from benchmarks.generator import table
from experiments.local.clock import Clock

CONNECTIONS = 128
HEADER = [
    "p50 ms late",
    "p99 ms late",
    "max ms late",
    "client, p50 ms over",
    "p99 ms over",
    "% without core",
]
DIGITS = {"p50": 3, "p99": 3, "max": 2, "client_p50": 3, "client_p99": 3, "waited": 1}
KINDS = {
    "constant 5 ms": 'constant = "5ms"',
    "lognormal 20 ms": 'distribution = "lognormal", median = "20ms", sigma = 0.5',
}
_WARMUP_S = 1.0
Figures = dict[str, float | None]


class _Connection(asyncio.Protocol):
    """Sends one call at a time, and notes how long its answer takes."""

    def __init__(self, free: deque["_Connection"], clock: Clock) -> None:
        self._free = free
        self._clock = clock
        self.took_s: list[float] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._free.append(self)

    def send(self, message: bytes) -> None:
        self._began_s = self._clock.now_s()
        self._transport.write(message)

    def data_received(self, _data: bytes) -> None:  # the endpoint writes an answer in one piece
        self.took_s.append(self._clock.now_s() - self._began_s)
        self._free.append(self)

    def close(self) -> None:
        self._transport.close()


async def _load(port: int, due_s: list[float]) -> list[float]:
    """Send a call at each of the times; give how long the answers took, in seconds."""
    clock = Clock()
    free: deque[_Connection] = deque()
    loop = asyncio.get_running_loop()
    connections = []
    for _ in range(CONNECTIONS):
        made = await loop.create_connection(lambda: _Connection(free, clock), "127.0.0.1", port)
        connections.append(made[1])
    message = signed.message(port)
    began_s = clock.now_s()
    for at_s in due_s:
        await clock.sleep_until(began_s + at_s)
        if free:
            free.popleft().send(message)
    await asyncio.sleep(0.5)
    took_s = [one for connection in connections for one in connection.took_s]
    for connection in connections:
        connection.close()
    return took_s


def late_ms(log: pd.DataFrame) -> np.ndarray:
    """Say how late each answer was, of those after the warm-up."""
    log = log[log["arrived_ns"] > log["arrived_ns"].min() + _WARMUP_S * 1e9]
    due_ns = log["arrived_ns"] + log["wait_ns"] + log["service_ns"]
    return ((log["ended_ns"] - due_ns) / 1e6).to_numpy()


def measure(service: str, rate_rps: int, seconds: int, folder: Path) -> Figures:
    """Load the endpoint once."""
    text = (
        f'name = "{signed.NAME}"\nserved_log = "served.csv"\n'
        f"[variants.only]\nsimulated = {{ {service}, workers = {CONNECTIONS} }}\n"
    )
    gaps_s = np.random.default_rng(1).exponential(1 / rate_rps, rate_rps * (seconds + 1))
    with servers.endpoint(text, folder) as (port, pid):
        waited_s = servers.core_wait_s(pid)
        took_s = uvloop.run(_load(port, np.cumsum(gaps_s).tolist()))
        waited_s = servers.core_wait_s(pid) - waited_s
    log = pd.read_csv(folder / "served.csv")
    found = late_ms(log)
    # The distributions of what the client saw and of what was stated, quantile against quantile.
    stated_s = np.sort((log["wait_ns"] + log["service_ns"]) / 1e9)
    over_ms = (np.sort(took_s) - stated_s[: len(took_s)]) * 1000
    return {
        "p50": float(np.quantile(found, 0.5)),
        "p99": float(np.quantile(found, 0.99)),
        "max": float(found.max()),
        "client_p50": float(np.quantile(over_ms, 0.5)),
        "client_p99": float(np.quantile(over_ms, 0.99)),
        "waited": 100 * waited_s / (seconds + 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=4, help="measured, of each run")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rates", type=table.numbers, default=(500, 2000))
    run = parser.parse_args()
    os.sched_setaffinity(0, {servers.CLIENT_CPU})
    table.show(table.header(["requests/s", "service time"], HEADER))
    for rate_rps in run.rates:
        for name, service in KINDS.items():
            repeats = []
            for repeat in range(run.repeats):
                table.progress(f"{name} at {rate_rps}/s, {repeat + 1}/{run.repeats}")
                with tempfile.TemporaryDirectory(prefix="abreast-") as made:
                    repeats.append(measure(service, rate_rps, run.seconds, Path(made)))
            table.show(table.row([f"{rate_rps:,}", name], repeats, **DIGITS))
    print(
        f"\nMedians of {run.repeats}, {run.seconds} s each, with the range; over {CONNECTIONS} "
        "connections of loopback, a body of 1 KB, endpoint and client each on a core of its own "
        "where there are two. Without core: the share of the time in which the endpoint was ready "
        f"and something else had its core. Python {platform.python_version()}."
    )


if __name__ == "__main__":
    main()
