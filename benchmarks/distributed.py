"""What workers bring and what they cost, on this machine.

`python -m benchmarks.distributed` sends as fast as 1 and then 2 processes can, in a closed loop to
a local endpoint that answers at once, and says how many requests a second came of it. Then a worker
brings such records over loopback to a master that shares no disk with it, by Locust's own sockets,
as fast as the two can; what a master can take follows from the CPU that it spends on a record, and
on a worker's report of a second. On two cores the endpoint and the workers are in each other's
way: there is nothing to gain there.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import msgpack  # type: ignore[import-untyped]
import pyarrow.parquet as pq
from locust.rpc import Message
from locust.rpc.zmqrpc import Client, Server

from experiments import child
from experiments.live import as_one
from experiments.record import SCHEMA, Record
from experiments.run_folder import read_stream
from experiments.traffic.health import Health
from experiments.traffic.messages import Ack, Part, Report, name_of, read, told
from experiments.traffic.recorder import Recorder
from experiments.traffic.shipping import Copies, Shipper

RECORDS = 400_000
RUN = "a-run"
STREAM = "requests-0.arrows"
ENDPOINT = """
name = "quick"
[variants.only]
simulated = { distribution = "constant", constant = "0ms", workers = 64 }
"""
PLAN = """
question = "load"
seed = 1
[endpoint]
name = "quick"
target = "local"
config = "quick.endpoint.toml"
[arms.only]
[request]
payloads = "rows.jsonl"
content_type = "application/json"
[traffic]
routing = "pinned"
arrivals = "closed"
users = 32
warmup = "1s"
duration = "8s"
[slo]
p99 = "1s"
"""


def rate_rps(folder: Path, processes: int) -> tuple[float, Path]:
    """Give the requests a second of a run by so many processes, and its folder."""
    out = folder / f"by-{processes}"
    line = child.command("experiments", "run", "quick.toml", "--processes", str(processes))
    ran = subprocess.run(
        [*line, "--out", str(out)], cwd=folder, env=child.environment(), capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    (made,) = out.iterdir()
    counts = json.loads((made / "manifest.json").read_text()).get("counts")
    assert counts, ran.stderr
    return counts["ended"] / 9, made


class Brought(NamedTuple):
    """What bringing records cost: wall time, bytes, and the CPU of the two processes."""

    records: int
    size: int
    took_s: float
    worker_s: float
    master_s: float


def bring(run: Path, folder: Path) -> Brought:
    """Take in a worker's stream as a master does, from a process of its own."""
    rows = [tuple(row.values()) for row in pq.read_table(run / "requests.parquet").to_pylist()]
    rows = rows[:20_000]
    (spool := folder / "spool").mkdir()
    (copies_of := folder / "copies").mkdir()
    recorder = Recorder(spool / STREAM, SCHEMA, {})
    for _ in range(RECORDS // len(rows)):
        for row in rows:
            recorder.append(row)
        recorder.flush()
    recorder.close()
    server: Any = Server("127.0.0.1", 0)  # type: ignore[no-untyped-call]
    line = [sys.executable, "-m", "benchmarks.distributed", str(server.port), str(spool / STREAM)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as worker:
        copies, size, began_s, cpu_s = Copies(copies_of), 0, 0.0, 0.0
        while size < recorder.size:
            _, message = server.recv_from_client()
            if began_s == 0.0:
                began_s, cpu_s = time.perf_counter(), time.process_time()
            part = read(Part, message.data)
            assert part is not None
            sizes = copies.add(0, part)
            size = sizes[STREAM]
            ack = told(Ack(run_id=RUN, sizes=sizes))
            message = Message(name_of(Ack), ack, message.node_id)  # type: ignore[no-untyped-call]
            server.send_to_client(message)
        took_s, master_s = time.perf_counter() - began_s, time.process_time() - cpu_s
        worker_s = float(worker.communicate()[0])
    copies.close()
    server.close()
    table, _ = read_stream(copies_of / STREAM)
    assert table is not None
    return Brought(table.num_rows, size, took_s, worker_s, master_s)


def ship(port: int, stream: Path) -> None:
    """Bring a stream to the master at a port, as a worker does, and print the CPU that it took."""
    client: Any = Client("127.0.0.1", port, "worker")  # type: ignore[no-untyped-call]

    def send(name: str, at: int, content: bytes) -> None:
        part = told(Part(run_id=RUN, begun=0, name=name, at=at, content=content))
        client.send(Message(name_of(Part), part, "worker"))  # type: ignore[no-untyped-call]

    written: Any = SimpleNamespace(path=stream, size=stream.stat().st_size)
    shipper = Shipper([written], send)
    cpu_s = time.process_time()
    while shipper.unconfirmed:
        shipper.ship()
        ack = read(Ack, client.recv().data)
        assert ack is not None
        shipper.confirm(ack.sizes)
    print(time.process_time() - cpu_s)


def report_us(run: Path, rate_rps: int) -> float:
    """Give the CPU that a master spends on a worker's report of a second at this rate."""
    health = Health()
    for row in pq.read_table(run / "requests.parquet").slice(0, rate_rps).to_pylist():
        health.note_start(row["started_ns"] - row["scheduled_ns"], had_free_slot=True)
        health.note_end(Record(**row))
    health.row(1.0, 0, 0, 0)
    health.close()
    report = Report(
        run_id=RUN, begun=0, ended=0, failed=0, in_flight=0, slots=0, missed=(),
        seconds=(health.live.newest,), ended_as="complete", reason=None, is_stopped=False,
        is_done=False,
    )  # fmt: skip
    carried, times = msgpack.dumps(told(report)), 500
    began_s = time.process_time()
    for _ in range(times):
        taken = read(Report, msgpack.loads(carried, strict_map_key=False))
        assert taken is not None
        as_one(1.0, taken.seconds)
    return (time.process_time() - began_s) / times * 1e6


def main() -> None:
    """Measure, and print a line each."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "quick.endpoint.toml").write_text(ENDPOINT)
        (folder / "quick.toml").write_text(PLAN)
        (folder / "rows.jsonl").write_text('{"x": 1}\n')
        print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
        two, _ = rate_rps(folder, 2)
        one, made = rate_rps(folder, 1)
        print(f"1 process: {one:,.0f} requests/s; 2 processes: {two:,.0f} requests/s")
        found, second_us = bring(made, folder), report_us(made, round(one))
    worker_us, master_us = (s / found.records * 1e6 for s in (found.worker_s, found.master_s))
    print(
        f"{found.records:,} records of {found.size / found.records:.0f} bytes over loopback: "
        f"{found.records / found.took_s:,.0f} records/s, {found.size / found.took_s / 1e6:.0f} "
        f"MB/s; {worker_us:.2f} µs of a worker and {master_us:.2f} µs of the master each"
    )
    of_one_us = one * master_us + second_us
    print(
        f"A worker who sends {one:,.0f} requests/s takes the master {one:,.0f} x {master_us:.2f} + "
        f"{second_us:,.0f} for its report = {of_one_us:,.0f} µs a second: a core of the master's "
        f"is {1e6 / of_one_us:,.0f} such workers, or {one * 1e6 / of_one_us:,.0f} requests/s"
    )


if __name__ == "__main__":
    if len(sys.argv) == 3:
        ship(int(sys.argv[1]), Path(sys.argv[2]))
    else:
        main()
