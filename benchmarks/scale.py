"""How long, and in how much memory, is a run of ten million requests judged and rendered?

    python -m benchmarks.scale --rows 1000000,10000000

The run folder is made up: two arms, paired, lognormal latencies that wander, one failure in a
thousand. `abreast report` then runs on it as a process of its own.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from experiments import fingerprint
from experiments.plan_file import find, load
from experiments.record import HEALTH_SCHEMA, SCHEMA
from experiments.run_folder import create, write_manifest

WARMUP_S = 10.0
MEASURED_S = 600.0
PAYLOADS = 700


def write_run(parent: Path, rows: int, seed: int = 1) -> Path:
    """Write a run folder of so many requests."""
    rng = np.random.default_rng(seed)
    plan_path = find("ab")
    rate_rps = rows / (WARMUP_S + MEASURED_S)
    plan = load(plan_path, [f"traffic.rate={rate_rps}", f"traffic.duration={MEASURED_S:g}s"])
    folder = create(parent, "scale", plan_path.read_text(encoding="utf-8"))
    due_s = np.sort(rng.uniform(0, WARMUP_S + MEASURED_S, rows // 2)).repeat(2)
    wander = np.cumsum(rng.normal(0, 0.01, 1000)).repeat(-(-len(due_s) // 1000))[: len(due_s)]
    took_s = 0.02 * np.exp(rng.normal(0, 0.4, len(due_s)) + wander)
    scheduled_ns = (due_s * 1e9).astype(np.int64)
    started_ns = scheduled_ns + rng.exponential(1e5, len(due_s)).astype(np.int64)
    ended_ns = started_ns + (took_s * 1e9).astype(np.int64)
    arm = np.arange(len(due_s)) % 2
    failed = rng.random(len(due_s)) < 0.001
    of = {
        "seq": np.arange(len(due_s)),
        "group": np.arange(len(due_s)) // 2,
        "phase": _texts(["warmup", "measure"], due_s >= WARMUP_S),
        "arm": _texts(["current", "candidate"], arm),
        "scheduled_ns": scheduled_ns, "started_ns": started_ns, "sent_ns": started_ns,
        "first_byte_ns": ended_ns, "ended_ns": ended_ns,
        "variant_asked": _texts(["current", "candidate"], arm),
        "variant_invoked": _texts(["current", "candidate"], arm),
        "payload": rng.integers(0, PAYLOADS, len(due_s)),
        "outcome": _texts(["ok", "model_error"], failed),
        "http_status": np.where(failed, 424, 200),
        "error": _texts([None, "The model said no."], failed),
        "request_id": pa.array(np.arange(len(due_s))).cast(pa.string()),
        "content_type": _texts(["application/json"], np.zeros(len(due_s), int)),
        "bytes_out": np.full(len(due_s), 500), "bytes_in": np.full(len(due_s), 100),
        "prediction": _texts([str(label) for label in range(10)], rng.integers(0, 10, len(due_s))),
        "retries": np.zeros(len(due_s), int), "new_connection": np.zeros(len(due_s), bool),
        "slots_busy": np.zeros(len(due_s), int), "worker": np.zeros(len(due_s), int),
        "slot": np.zeros(len(due_s), int), "in_session": np.zeros(len(due_s), bool),
    }  # fmt: skip
    columns = [
        pa.array(of[field.name]).cast(field.type)
        if field.name in of
        else pa.nulls(len(due_s), field.type)
        for field in SCHEMA
    ]
    pq.write_table(pa.table(columns, schema=SCHEMA), folder.requests, compression="zstd")
    pq.write_table(HEALTH_SCHEMA.empty_table(), folder.health)
    labels = [str(label) for label in rng.integers(0, 10, PAYLOADS)]
    pq.write_table(pa.table({"payload": range(PAYLOADS), "label": labels}), folder.payloads)
    counts = {"planned": len(due_s), "ended": len(due_s), "dropped": 0, "unsent": 0, "missing": 0}
    manifest = fingerprint.manifest(folder, plan, plan_path)
    write_manifest(folder, {**manifest, "ended_as": "complete", "slots": 64, "counts": counts})
    shutil.rmtree(folder.raw)
    return folder.path


def _texts(values: list[str | None], index: "np.ndarray") -> pa.Array:
    indices = pa.array(index.astype(np.int32))
    return pa.DictionaryArray.from_arrays(indices, pa.array(values, pa.string())).cast(pa.string())


def measure(folder: Path) -> tuple[float, float, int, Path]:
    """Give seconds, GiB at most, and the exit code of `abreast report` on a folder."""
    command = [sys.executable, "-m", "experiments", "report", str(folder), "--quiet"]
    os.sync()  # what was just written would still be on its way to the disk
    began_s = time.perf_counter()
    child = os.posix_spawn(sys.executable, command, os.environ)
    _, status, usage = os.wait4(child, 0)
    took_s = time.perf_counter() - began_s
    return took_s, usage.ru_maxrss / 2**20, os.waitstatus_to_exitcode(status), folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", default="1000000,10000000")
    asked = parser.parse_args()
    print("| requests | seconds | GiB at most | report.html, kB | report.json, kB | exit code |")
    print("|--:|--:|--:|--:|--:|--:|")
    for rows in (int(text) for text in asked.rows.split(",")):
        with tempfile.TemporaryDirectory() as parent:
            folder = write_run(Path(parent), rows)
            took_s, gib, code, folder = measure(folder)
            sizes = [(folder / f"report.{kind}").stat().st_size / 1e3 for kind in ("html", "json")]
            state = json.loads((folder / "report.json").read_text(encoding="utf-8"))["verdict"]
            print(
                f"| {rows:,} | {took_s:.1f} | {gib:.2f} | {sizes[0]:.0f} | {sizes[1]:.0f} | "
                f"{code} ({state['state']}) |",
                flush=True,
            )


if __name__ == "__main__":
    main()
