"""What does each tool say of an endpoint that stalls, beside what its users would feel?

python -m benchmarks.generator.stalls --repeats 3
"""

import numpy as np

from benchmarks.generator import clients, table
from benchmarks.generator.observed import open_loop_ms, quantile
from benchmarks.generator.target import serving

DELAY_MS = 5.0
MOMENTS_PER_S = 1000
"""At which a user may come: many more than requests are sent, so that no grid of theirs matters."""
DIGITS = {"asked": 0, "sent": 0, "told": 0, "p50": 1, "p99": 1, "felt p50": 1, "felt p99": 1}
HEADER = ("asked", "sent", "dropped", "p50 ms", "p99 ms", "felt p50 ms", "felt p99 ms")
KINDS = {"response_ms": ", response time", "service_ms": ", service time"}
NOTE = f"""\
Felt: by users who come at any moment, whatever the server does; computed from its stalls. p50 and
p99 are of what the tool timed; its p99 may be off by the time between two requests. Users: users,
VUs or slots. A closed loop waits after each answer, so long that it would send at the same rate if
nothing stalled. Dropped: what the tool says that it did not send ({table.DASH}: it has no such
count). Locust's clients are FastHttpUser."""

Figures = dict[str, float | None]


def tools(transport: str) -> dict[str, tuple[clients.Client, bool]]:
    """Give each tool's client, and whether it is a closed loop."""
    return {
        "abreast, open loop": (clients.abreast(transport), False),
        "abreast, closed loop": (clients.abreast(transport), True),
        "Locust constant_throughput": (clients.locust_fasthttp, False),
        "Locust constant wait": (clients.locust_fasthttp, True),
        "k6 constant-arrival-rate": (clients.k6, False),
        "k6 constant-vus": (clients.k6, True),
    }


def measure(
    client: clients.Client,
    load: clients.Load,
    *,
    seconds: int,
    period_s: float,
    stall_s: float,
) -> dict[str, Figures]:
    """Run a tool once; give its figures for each kind of latency that it has."""
    with serving(delay_ms=DELAY_MS, stall_every_s=period_s, stall_for_s=stall_s) as target:
        ran = client(load, target)
    first_s = int(ran.came["arrived_ns"].min() - ran.epoch_ns) / 1e9
    due_s = first_s + np.arange(0, seconds, 1 / MOMENTS_PER_S)
    felt_ms = open_loop_ms(due_s, delay_s=DELAY_MS / 1000, period_s=period_s, stall_s=stall_s)
    arrived_s = (ran.came["arrived_ns"] - ran.came["arrived_ns"].min()) / 1e9
    timed = ran.timed[ran.timed["at_s"] < seconds]
    kinds = [kind for kind in KINDS if kind in timed]
    if load.think_s is not None:
        kinds = ["service_ms"]  # a closed loop has no schedule to be behind
    return {
        kind: {
            "asked": load.rate_rps * seconds,
            "sent": int((arrived_s < seconds).sum()),
            "told": ran.told_lost,
            "p50": quantile(timed[kind], 0.5),
            "p99": quantile(timed[kind], 0.99),
            "felt p50": quantile(felt_ms, 0.5),
            "felt p99": quantile(felt_ms, 0.99),
        }
        for kind in kinds
    }


def main() -> None:
    parser = table.options(__doc__.splitlines()[0], seconds=40)
    parser.add_argument("--rates", type=table.numbers, default=(100,))
    parser.add_argument("--users", type=table.numbers, default=(10, 200))
    parser.add_argument("--stall-every", type=float, default=10.0, help="seconds")
    parser.add_argument("--stall-for", type=float, default=1.0, help="seconds")
    run = parser.parse_args()
    table.show(table.header(["asked/s", "users", "tool"], HEADER))
    for rate_rps in run.rates:
        for users in run.users:
            think_s = round(users / rate_rps - DELAY_MS / 1000, 6)
            for name, (client, is_closed) in tools(run.transport).items():
                if not table.is_wanted(name, run.tools):
                    continue
                load = clients.Load(
                    rate_rps=rate_rps,
                    users=users,
                    seconds=run.seconds,
                    think_s=think_s if is_closed else None,
                )
                found = []
                for repeat in range(run.repeats):
                    table.progress(f"{name}, {users} users, {repeat + 1}/{run.repeats}")
                    found.append(
                        measure(
                            client,
                            load,
                            seconds=run.seconds,
                            period_s=run.stall_every,
                            stall_s=run.stall_for,
                        )
                    )
                for kind in found[0]:
                    tool = name + (KINDS[kind] if len(found[0]) > 1 else "")
                    figures = [each[kind] for each in found]
                    table.show(table.row([f"{rate_rps:,}", str(users), tool], figures, **DIGITS))
    print(
        f"\nThe server answers in {DELAY_MS:g} ms and stops for {run.stall_for:g} s in every "
        f"{run.stall_every:g} s."
    )
    print(NOTE)
    print(table.conditions(run))


if __name__ == "__main__":
    main()
