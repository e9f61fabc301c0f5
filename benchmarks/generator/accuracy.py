"""What does measuring add: a tool's latency minus the time that the server knows it took?

python -m benchmarks.generator.accuracy --seconds 30 --repeats 5
"""

import pandas as pd

from benchmarks.generator import clients, table
from benchmarks.generator.observed import quantile
from benchmarks.generator.target import serving

USERS = 50
OURS = "abreast"
QUANTILES = {"p50": 0.5, "p99": 0.99}
DIGITS = {f"{what} {q}": 2 for what in ("server", "tool", "added") for q in QUANTILES}
HEADER = (
    "server p50 ms", "server p99 ms", "tool p50 ms", "tool p99 ms", "added p50 ms", "added p99 ms",
)  # fmt: skip
NOTE = f"""
Added: the tool's quantile minus the same quantile of the server's own time, from the last byte read
to the answer written; it holds the network and the tool. Response time counts from when a request
was due, service time and the latencies of the other tools from when it left. {USERS} users, VUs or
slots."""

Figures = dict[str, float | None]


def tools(transport: str) -> dict[str, clients.Client]:
    return {
        OURS: clients.abreast(transport),
        "Locust FastHttpUser": clients.locust_fasthttp,
        "Locust boto3": clients.locust_boto3,
        "k6": clients.k6,
    }


def measure(
    client: clients.Client, delay_ms: float, rate_rps: int, seconds: int
) -> dict[str, Figures]:
    """Run a tool once; give its figures for each kind of latency that it has."""
    load = clients.Load(rate_rps=rate_rps, users=USERS, seconds=table.WARMUP_S + seconds)
    with serving(delay_ms=delay_ms) as target:
        ran = client(load, target)
    seconds_in = (ran.came["arrived_ns"] - ran.came["arrived_ns"].min()) / 1e9
    server_ms = ran.came.loc[_is_measured(seconds_in, seconds), "own_ns"] / 1e6
    timed = ran.timed[_is_measured(ran.timed["at_s"], seconds)]
    return {
        kind: _figures(server_ms, timed[kind])
        for kind in ("service_ms", "response_ms")
        if kind in timed
    }


def _is_measured(seconds_in: pd.Series, seconds: int) -> pd.Series:
    return seconds_in.between(table.WARMUP_S, table.WARMUP_S + seconds, inclusive="left")


def _figures(server_ms: pd.Series, tool_ms: pd.Series) -> Figures:
    figures: Figures = {}
    for name, q in QUANTILES.items():
        server, tool = quantile(server_ms, q), quantile(tool_ms, q)
        figures |= {f"server {name}": server, f"tool {name}": tool, f"added {name}": tool - server}
    return figures


def main() -> None:
    parser = table.options(__doc__.splitlines()[0], seconds=30)
    parser.add_argument("--rates", type=table.numbers, default=(200,))
    parser.add_argument("--delays-ms", type=table.numbers, default=(2, 20))
    run = parser.parse_args()
    table.show(table.header(["asked/s", "delay", "tool"], HEADER))
    for rate_rps in run.rates:
        for delay_ms in run.delays_ms:
            for name, client in tools(run.transport).items():
                if not table.is_wanted(name, run.tools):
                    continue
                found = []
                for repeat in range(run.repeats):
                    table.progress(f"{name}, {delay_ms} ms, {repeat + 1}/{run.repeats}")
                    found.append(measure(client, delay_ms, rate_rps, run.seconds))
                for kind in found[0]:
                    tool = name
                    if name == OURS:
                        tool += ", response time" if kind == "response_ms" else ", service time"
                    label = [f"{rate_rps:,}", f"{delay_ms} ms", tool]
                    table.show(table.row(label, [figures[kind] for figures in found], **DIGITS))
    print(NOTE)
    print(table.conditions(run))


if __name__ == "__main__":
    main()
