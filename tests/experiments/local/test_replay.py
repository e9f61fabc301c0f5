"""What the endpoint served, against the same arrivals in virtual time."""

import asyncio
import csv
import textwrap
from pathlib import Path

import numpy as np
import pytest

from experiments.local import process
from experiments.local.instance import simulated
from experiments.local.routing import Router
from tests.experiments.local.worlds import endpoint, signed

TEXT = """
    name = "e"
    seed = 11
    served_log = "served.csv"
    [[drifts]]
    spread = 0.2
    memory = "100ms"
    [variants.a]
    instances = 3
    instance_factors = [1.0, 1.3, 0.8]
    routing = "LEAST_OUTSTANDING_REQUESTS"
    simulated = { distribution = "gamma", mean = "8ms", shape = 2, per_kb = "100ms" }
    [[variants.a.pauses]]
    every = "100ms"
    for = "10ms"
    random = true
    [[faults]]
    kind = "model_error"
    status = 500
    share = "20%"
    [[faults]]
    kind = "spike"
    delay = "5ms"
    at = "50ms"
    for = "30ms"
    every = "90ms"
    [[faults]]
    kind = "throttle"
    above = 60
    """
CONNECTIONS = 12
EACH = 25


async def send(port: int) -> None:
    message = signed(host=f"127.0.0.1:{port}")
    gaps = np.random.default_rng(1)

    async def one() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(EACH):
            writer.write(message)
            head = await reader.readuntil(b"\r\n\r\n")
            lengths = [line for line in head.splitlines() if line.startswith(b"Content-Length")]
            await reader.readexactly(int(lengths[0].split(b": ")[1]))
            await asyncio.sleep(gaps.exponential(0.03))
        writer.close()

    async with asyncio.timeout(60):
        await asyncio.gather(*(one() for _ in range(CONNECTIONS)))


def test_the_times_and_faults_served_are_those_of_virtual_time(tmp_path: Path) -> None:
    file = tmp_path / "e.toml"
    file.write_text(textwrap.dedent(TEXT))
    running = process.start(file, log_dir=tmp_path)
    asyncio.run(send(running.port))
    running.stop()
    with (tmp_path / "served.csv").open(newline="") as log:
        rows = sorted(csv.DictReader(log), key=lambda row: int(row["arrived_ns"]))
    assert len(rows) == CONNECTIONS * EACH

    table = endpoint(TEXT)
    instances = simulated(table)
    router = Router(table, instances)
    kinds = set()
    waited = 0
    for row in rows:
        at_s = (int(row["arrived_ns"]) - int(rows[0]["arrived_ns"])) / 1e9
        name, number, fault = router.route(at_s, "a")
        kind = fault.kind if fault else ""
        assert (row["variant"], row["instance"], row["fault"]) == (name, str(number + 1), kind)
        kinds.add(kind)
        if kind == "throttle":
            assert (row["status"], row["service_ns"]) == ("400", "")
            continue
        extra_s = 0.005 if kind == "spike" else 0.0
        begins_at_s, ends_at_s = instances[name][number].arrives(at_s, len(b"{}"), extra_s)
        waited += begins_at_s > at_s
        ended_at_s = (int(row["ended_ns"]) - int(rows[0]["arrived_ns"])) / 1e9
        assert ended_at_s >= ends_at_s - 1e-6
        assert int(row["wait_ns"]) / 1e9 == pytest.approx(begins_at_s - at_s, abs=1e-8)
        assert int(row["service_ns"]) / 1e9 == pytest.approx(ends_at_s - begins_at_s, abs=1e-8)
    assert kinds == {"", "model_error", "spike", "throttle"}
    assert waited > 10
