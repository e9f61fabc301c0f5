"""How much latency does a client add to a server of exactly 2 or 20 ms, at 16 and 64 at a time?

python -m benchmarks.transport.accuracy --seconds 5 --repeats 3

Users send again once they are answered. What is added is a tool's quantile minus the same quantile
of the server's own time, from the last byte read to the answer written.
"""

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from benchmarks.generator import clients, process, table
from benchmarks.generator.observed import quantile
from benchmarks.generator.target import Target, serving
from benchmarks.transport import tools

QUANTILES = {"p50": 0.5, "p99": 0.99}
HEADER = ("requests/s", "server p50 ms", "server p99 ms", "added p50 ms", "added p99 ms")
DIGITS = {"requests/s": 0, "server p50": 2, "server p99": 2, "added p50": 2, "added p99": 2}
CLIENTS: Mapping[str, clients.Client] = {
    "abreast, fast": clients.abreast("fast"),
    "abreast, boto3": clients.abreast("boto3"),
    "Locust FastHttpUser, unsigned": clients.locust_fasthttp,
    "Locust, boto3": clients.locust_boto3,
    "k6, unsigned": clients.k6,
}
WRK = "wrk, unsigned"
_WRK_LINE = re.compile(r"^ +(50|99)% +([\d.]+)(us|ms|s)$", re.MULTILINE)
_MS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


def measure(client: clients.Client, delay_ms: float, users: int, seconds: int) -> dict[str, float]:
    """Run a tool that times every request; its first seconds are left out."""
    load = clients.Load(rate_rps=1000, users=users, seconds=table.WARMUP_S + seconds, think_s=0.0)
    with serving(delay_ms=delay_ms) as target:
        ran = client(load, target)
    came_s = (ran.came["arrived_ns"] - ran.came["arrived_ns"].min()) / 1e9
    server_ms = ran.came["own_ns"][_measured(came_s, seconds)] / 1e6
    tool_ms = ran.timed["service_ms"][_measured(ran.timed["at_s"], seconds)]
    return _figures(
        server_ms, {name: quantile(tool_ms, q) for name, q in QUANTILES.items()}, seconds
    )


def measure_wrk(delay_ms: float, users: int, seconds: int) -> dict[str, float]:
    """Run wrk, which gives quantiles only, of its whole run; none where it is not installed."""
    with serving(delay_ms=delay_ms) as target, tempfile.TemporaryDirectory() as folder:
        asked = tools.wrk(_job(target, users, seconds, Path(folder)))
        if asked is None:
            return {}
        (command, *arguments), settings = asked
        process.run(
            [command, "--latency", *arguments], env=settings, cwd=Path(folder),
            within_s=seconds + 30,
        )  # fmt: skip
        said = (Path(folder) / "client.log").read_text(encoding="utf-8")
        came = target.take_log()
    told = {f"p{q}": float(value) * _MS[unit] for q, value, unit in _WRK_LINE.findall(said)}
    return _figures(came["own_ns"] / 1e6, told, seconds)


def _job(target: Target, users: int, seconds: int, folder: Path) -> tools.Job:
    return tools.Job(
        url=target.url, users=users, seconds=seconds, folder=folder, certificate=folder
    )


def _measured(at_s: pd.Series, seconds: int) -> pd.Series:
    return at_s.between(table.WARMUP_S, table.WARMUP_S + seconds, inclusive="left")


def _figures(server_ms: pd.Series, tool_ms: Mapping[str, float], seconds: int) -> dict[str, float]:
    figures = {"requests/s": len(server_ms) / seconds}
    for name, q in QUANTILES.items():
        server = quantile(server_ms, q)
        figures |= {f"server {name}": server, f"added {name}": tool_ms[name] - server}
    return figures


def main() -> None:
    parser = table.options(__doc__.splitlines()[0], seconds=5)
    parser.add_argument("--users", type=table.numbers, default=(16, 64))
    parser.add_argument("--delays-ms", type=table.numbers, default=(2, 20))
    run = parser.parse_args()
    table.show(table.header(["delay", "users", "tool"], HEADER))
    for delay_ms in run.delays_ms:
        for users in run.users:
            for name in [*CLIENTS, WRK]:
                if not table.is_wanted(name, run.tools):
                    continue
                found = []
                for repeat in range(run.repeats):
                    table.progress(
                        f"{name}, {delay_ms} ms, {users} users, {repeat + 1}/{run.repeats}"
                    )
                    found.append(
                        measure_wrk(delay_ms, users, run.seconds)
                        if name == WRK
                        else measure(CLIENTS[name], delay_ms, users, run.seconds)
                    )
                table.show(table.row([f"{delay_ms} ms", f"{users}", name], found, **DIGITS))
    print(tools.conditions(run))


if __name__ == "__main__":
    main()
