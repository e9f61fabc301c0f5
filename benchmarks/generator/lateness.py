"""How late do requests reach the server, against the schedule of the tool that sends them?

One observer for all tools: the arrival log of a server that answers in 2 ms.

    python -m benchmarks.generator.lateness --seconds 10 --repeats 5
"""

from dataclasses import dataclass

import numpy as np

from benchmarks.generator import clients, table
from benchmarks.generator.observed import late_by_user_ms, late_on_grid_ms, quantile
from benchmarks.generator.target import serving

DELAY_MS = 2.0
BOTO3_LIMIT_RPS = 1000
LOCUST_BOTO3_LIMIT_RPS = 500
OURS = "abreast"
DIGITS = {"p50": 2, "p99": 2, "max": 1, "rps": 0, "missing": 0, "told": 0, "cpu": 3}
HEADER = (
    "p50 ms late", "p99 ms late", "max ms late", "requests/s", "never came", "told", "CPU s/1,000",
)  # fmt: skip
NOTE = f"""
Arrivals at the server against the tool's own schedule: request i is due at t0 + i / rate; with
Locust, request i of each user is due at that user's t0 + i periods. t0 is the earliest that any
arrival allows, which hides a constant delay, for every tool alike, and more with Locust, where each
user has a t0. By its own record: when a request left against when it was due, without such an
anchor, where a slot was free. Never came: asked for, and not seen while it was measured. Told: what
the tool says of that, over its whole load ({table.DASH}: it has no such count). Lateness is
{table.DASH} where a tool dropped requests while it was measured: those that came then have other
numbers. Locust keeps users that it starts together in step, so that they send in bursts; elsewhere
their starts are spread over a period. CPU seconds are those of all of the tool's processes."""

Figures = dict[str, float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A client, which schedule it keeps, and up to which rate it is asked."""

    client: clients.Client
    by_user: bool = False
    limit_rps: int | None = None


def tools(transport: str) -> dict[str, Tool]:
    return {
        OURS: Tool(
            client=clients.abreast(transport),
            limit_rps=BOTO3_LIMIT_RPS if transport == "boto3" else None,
        ),
        "Locust FastHttpUser": Tool(client=clients.locust_fasthttp, by_user=True),
        "Locust FastHttpUser, started together": Tool(
            client=clients.locust_fasthttp_together, by_user=True
        ),
        "Locust boto3": Tool(
            client=clients.locust_boto3, by_user=True, limit_rps=LOCUST_BOTO3_LIMIT_RPS
        ),
        "k6": Tool(client=clients.k6),
    }


def measure(tool: Tool, rate_rps: int, seconds: int) -> tuple[Figures, Figures]:
    """Run a tool once; give what the server saw, and what a run of ours recorded of itself."""
    load = clients.Load(
        rate_rps=rate_rps,
        users=max(50, rate_rps // 10),
        seconds=table.WARMUP_S + seconds + 1,
        is_timed=False,
    )
    with serving(delay_ms=DELAY_MS) as target:
        ran = tool.client(load, target)
    start_ns = int(ran.came["arrived_ns"].min()) + table.WARMUP_S * 1_000_000_000
    end_ns = start_ns + seconds * 1_000_000_000
    came = ran.came[ran.came["arrived_ns"].between(start_ns, end_ns, inclusive="left")]
    arrived_ns, index = came["arrived_ns"].to_numpy(), came["index"].to_numpy()
    missing = max(rate_rps * seconds - len(came), 0)
    if tool.by_user:
        late_ms = late_by_user_ms(arrived_ns, index, load.users / rate_rps)
    else:
        late_ms = late_on_grid_ms(arrived_ns, index, rate_rps)
    numbers_hold = tool.by_user or ran.told_lost == 0 or missing <= 1
    seen: Figures = {
        **(_late(late_ms) if numbers_hold else {}),
        "rps": len(came) / seconds,
        "missing": missing,
        "told": ran.told_lost,
        "cpu": ran.cpu.between(start_ns, end_ns) / max(len(came), 1) * 1000,
    }
    recorded: Figures = {}
    if "late_ms" in ran.timed:
        is_measured = ran.timed["at_s"].between(table.WARMUP_S, table.WARMUP_S + seconds)
        recorded = _late(ran.timed.loc[is_measured, "late_ms"].dropna().to_numpy())
    return seen, recorded


def _late(late_ms: np.ndarray) -> Figures:
    return {
        "p50": quantile(late_ms, 0.5),
        "p99": quantile(late_ms, 0.99),
        "max": quantile(late_ms, 1.0),
    }


def main() -> None:
    parser = table.options(__doc__.splitlines()[0], seconds=10)
    parser.add_argument("--rates", type=table.numbers, default=(500, 1000, 2000, 5000))
    run = parser.parse_args()
    notes = []
    table.show(table.header(["asked/s", "tool"], HEADER))
    for rate_rps in run.rates:
        for name, tool in tools(run.transport).items():
            if not table.is_wanted(name, run.tools):
                continue
            if tool.limit_rps is not None and rate_rps > tool.limit_rps:
                notes.append(f"{name} is not asked for {rate_rps:,} requests/s: boto3 is too slow.")
                continue
            pairs = []
            for repeat in range(run.repeats):
                table.progress(f"{name}, {rate_rps} requests/s, {repeat + 1}/{run.repeats}")
                pairs.append(measure(tool, rate_rps, run.seconds))
            label = f"{rate_rps:,}"
            table.show(table.row([label, name], [seen for seen, _ in pairs], **DIGITS))
            if any(recorded for _, recorded in pairs):
                own = [recorded for _, recorded in pairs]
                table.show(table.row([label, f"{name}, by its own record"], own, **DIGITS))
    print(NOTE)
    print("\n".join([*notes, table.conditions(run)]))


if __name__ == "__main__":
    main()
