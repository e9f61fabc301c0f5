"""Run folders written by hand, for tests of what is read from them."""

import json
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from experiments.plan import Plan
from experiments.plan_file import find, load
from experiments.record import HEALTH_SCHEMA, SCHEMA, Record

MS = 1_000_000


def record(seq: int, arm: str | None, at_s: float, response_ms: float, **fields: Any) -> Record:
    """Give one request that left on time and succeeded, with some fields changed."""
    scheduled_ns = round(at_s * 1e9)
    variant = arm or "current"
    plain = Record(
        seq=seq,
        group=seq // 2,
        phase="warmup" if at_s < 10 else "measure",
        arm=arm,
        scheduled_ns=scheduled_ns,
        started_ns=scheduled_ns,
        sent_ns=scheduled_ns,
        first_byte_ns=scheduled_ns + round(response_ms * MS),
        ended_ns=scheduled_ns + round(response_ms * MS),
        variant_asked=variant,
        variant_invoked=variant,
        payload=seq // 2 % 10,
        outcome="ok",
        http_status=200,
        original_status=None,
        error=None,
        request_id=f"req-{seq}",
        content_type="application/json",
        bytes_out=10,
        bytes_in=10,
        response_digest="00",
        prediction="1",
        retries=0,
        new_connection=False,
        slots_busy=0,
        worker=0,
        slot=0,
    )
    return plain._replace(**fields)


def in_flight_counted(rows: list[Record]) -> list[Record]:
    """Give the records with the requests that were in flight when each left."""
    started = np.array([row.started_ns for row in rows])
    ended = np.sort([row.ended_ns for row in rows])
    busy = np.searchsorted(np.sort(started), started) - np.searchsorted(ended, started)
    return [row._replace(slots_busy=int(n)) for row, n in zip(rows, busy, strict=True)]


def _plan(overrides: list[str], without: set[str]) -> Plan:
    lines, kept = find("ab").read_text().splitlines(), True
    text = []
    for line in lines:
        if line.startswith("["):
            kept = line.strip("[]") not in without
        if kept:
            text.append(line)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ab.toml"
        path.write_text("\n".join(text))
        return load(path, overrides)


def write_run(
    folder: Path,
    records: Iterable[Record],
    overrides: Iterable[str] = (),
    *,
    without: Iterable[str] = (),
    **manifest: Any,
) -> Path:
    """Write a run of the built-in plan, 10 s of warm-up and 120 s measured, with these records.

    The plan that is written lacks the tables named in `without`.
    """
    rows = list(records)
    plan = _plan(list(overrides), set(without))
    folder.mkdir(parents=True, exist_ok=True)
    dropped = sum(row.outcome == "dropped" for row in rows)
    content = {
        "schema_version": 1,
        "run_id": folder.name,
        "plan_name": "ab",
        "plan": plan.model_dump(mode="json", exclude_none=True),
        "started_at": "2026-01-31T12:00:00+00:00",
        "ended_as": "complete",
        "planned": len(rows),
        "slots": 64,
        "payloads": {"distinct": 10, "hash": "0"},
        "counts": {
            "planned": len(rows),
            "ended": len(rows) - dropped,
            "dropped": dropped,
            "unsent": 0,
            "missing": 0,
        },
        **manifest,
    }
    (folder / "manifest.json").write_text(json.dumps(content))
    columns = zip(*rows, strict=True) if rows else [[] for _ in SCHEMA]
    table = pa.table(
        [pa.array(list(c), f.type) for c, f in zip(columns, SCHEMA, strict=True)], schema=SCHEMA
    )
    pq.write_table(table, folder / "requests.parquet")
    measured = (50, 50, 50, 0, 1, 0, 0.5, 1.0, 0.5, 2.0, 0.2, 1.0, 0, None, 0.5, 0)
    health = [(second, *measured) for second in range(130)]
    by_column = zip(*health, strict=True)
    pq.write_table(
        pa.table(
            [pa.array(list(c), f.type) for c, f in zip(by_column, HEALTH_SCHEMA, strict=True)],
            schema=HEALTH_SCHEMA,
        ),
        folder / "health.parquet",
    )
    labels = pa.table({"payload": pa.array(range(10), pa.int32()), "label": ["1"] * 10})
    pq.write_table(labels, folder / "payloads.parquet")
    return folder
