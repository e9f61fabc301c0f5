"""What workers bring and what they cost, on this machine.

`python -m benchmarks.distributed` sends as fast as 1 and then 2 processes can, in a closed loop to
a local endpoint that answers at once, and says how many requests a second came of it; then it takes
the CPU that a worker and the master spend on bringing a record where they share no disk. On two
cores the endpoint and the workers are in each other's way: there is nothing to gain there.
"""

import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

import msgpack  # type: ignore[import-untyped]
import pyarrow.parquet as pq

from experiments import child
from experiments.record import SCHEMA
from experiments.run_folder import read_stream
from experiments.traffic.recorder import Recorder
from experiments.traffic.shipping import PART, Copies, Shipper

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


def shipping_us(run: Path, folder: Path) -> tuple[float, float, float]:
    """Give the CPU of a worker and of a master for a record, in microseconds, and its bytes."""
    (spool := folder / "spool").mkdir()
    (copies_of := folder / "copies").mkdir()
    rows = pq.read_table(run / "requests.parquet").to_pylist()[:50_000]
    recorder = Recorder(spool / "requests-0.arrows", SCHEMA, {})
    copies, copied = Copies(copies_of), 0.0
    sent: list[bytes] = []
    shipper = Shipper(
        [recorder],
        lambda part: sent.append(msgpack.dumps(("abreast_part", {**part, "begun": 1}, "worker"))),
    )
    worker_s = 0.0
    for first in range(0, len(rows), 1000):
        for row in rows[first : first + 1000]:
            recorder.append(tuple(row.values()))
        recorder.flush()
        while shipper.unconfirmed:
            began = time.process_time()
            shipper.ship()
            worker_s += time.process_time() - began
            for part in sent:
                began = time.process_time()
                sizes = copies.add(0, msgpack.loads(part)[1])
                copied += time.process_time() - began
                shipper.confirm(sizes)
            sent.clear()
    bytes_each = recorder.size / len(rows)
    recorder.close()
    table, _ = read_stream(copies_of / "requests-0.arrows")
    assert table is not None
    assert table.num_rows == len(rows)
    return worker_s / len(rows) * 1e6, copied / len(rows) * 1e6, bytes_each


def main() -> None:
    """Measure, and print a line each."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "quick.endpoint.toml").write_text(ENDPOINT)
        (folder / "quick.toml").write_text(PLAN)
        (folder / "rows.jsonl").write_text('{"x": 1}\n')
        print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
        for processes in (1, 2):
            rate, made = rate_rps(folder, processes)
            print(f"{processes} process{'es' * (processes > 1)}: {rate:,.0f} requests a second")
        worker_us, master_us, size = shipping_us(made, folder)
        print(
            f"bringing a record of {size:.0f} bytes: {worker_us:.2f} µs of a worker, "
            f"{master_us:.2f} µs of the master, without Locust's message for some "
            f"{PART // size:.0f} of them"
        )


if __name__ == "__main__":
    main()
