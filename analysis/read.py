"""A run folder as a Run: its plan, its manifest, and its records as a pandas table.

Reading changes nothing on disk. A run that crashed or has not ended is read as far as its streams
go, and its counts say what is not there.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from experiments import run_folder
from experiments.errors import RunFolderError
from experiments.plan import Plan
from experiments.record import HEALTH_SCHEMA, SCHEMA, WARMUP
from experiments.run_folder import RunFolder

JUDGED = (
    "seq", "group", "phase", "arm", "scheduled_ns", "started_ns", "ended_ns", "variant_asked",
    "variant_invoked", "payload", "outcome", "error", "prediction", "retries", "new_connection",
    "slots_busy", "worker",
)  # fmt: skip
"""The columns of a record that a verdict rests on."""
_PART = 100_000
_OF_STREAMS = ("first_byte_ns", "chunks", "longest_gap_ns")
_REPEATED = [
    "phase", "arm", "variant_asked", "variant_invoked", "outcome", "error", "content_type",
    "prediction",
]  # fmt: skip
"""Texts of few values, which a verdict reads as categories: a byte a row, and found faster."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Run:
    """One run, ready to be judged.

    `requests` has a row for each record, in the order of the schedule: the columns of
    `experiments.record.Record` with times in milliseconds (`scheduled_ms`, ...), and
    `response_ms`, `service_ms` and `lateness_ms` beside them; of streams also `ttfb_ms`, to the
    first part from where the run's latency counts, or to the end where no part came. `health` has
    a row for each second of the generator. `labels` maps a payload's id to the true answer, where
    one is known.
    """

    path: Path
    plan: Plan
    manifest: dict[str, Any] = field(repr=False)
    requests: pd.DataFrame = field(repr=False)
    health: pd.DataFrame = field(repr=False)
    labels: "pd.Series[str] | None" = field(repr=False)
    counts: dict[str, int]

    @property
    def id(self) -> str:
        """The run's id."""
        return str(self.manifest["run_id"])

    @property
    def measured(self) -> pd.DataFrame:
        """The requests of the measured phase, whatever came of them; warm-up is cut."""
        is_measured = (self.requests["phase"] != WARMUP).to_numpy()
        if self.decided is not None:
            is_before = (self.requests["scheduled_ms"] < self.end_s * 1e3).to_numpy()
            is_measured = is_measured & is_before
        first = int(is_measured.argmax()) if is_measured.any() else 0
        after = first + int(is_measured.sum())
        if is_measured[first:after].all():
            return self.requests.iloc[first:after]  # which copies nothing
        return self.requests[is_measured]

    @property
    def timeline(self) -> list[dict[str, Any]]:
        """What happened beside requests, in its order; a line that was cut is left out."""
        path = RunFolder(self.path).timeline
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        return [json.loads(line) for line in lines if line.endswith("}")]

    @property
    def cold(self) -> pd.DataFrame:
        """The first request to each target, with the columns of `requests`; none is judged."""
        path = RunFolder(self.path).cold
        table = run_folder.read_stream(path)[0] if path.is_file() else None
        return _in_milliseconds((SCHEMA.empty_table() if table is None else table).to_pandas())

    @property
    def decided(self) -> dict[str, Any] | None:
        """The look that decided the run while it went on, as the timeline has it."""
        decided: dict[str, Any] | None = self.manifest.get("decided")
        return decided

    @property
    def start_s(self) -> float:
        """When the measured phase begins."""
        return self.plan.traffic.warmup

    @property
    def end_s(self) -> float:
        """When the measured phase ends: as planned, at the look that decided, or when it stopped.

        Where nothing was decided, a shorter run ends with its last request.
        """
        if self.decided is not None:
            return float(self.decided["at_s"])
        if self.manifest["ended_as"] == "complete" or self.requests.empty:
            return self.plan.traffic.planned_s
        last_s = float(self.requests["scheduled_ms"].max()) / 1e3
        return max(last_s, self.start_s + 1e-3)


def read_run(path: str | Path, columns: Sequence[str] | None = None) -> Run:
    """Read a run folder; of its records, where `columns` are given, these only.

    Raises:
        RunFolderError: it is no run folder, is damaged, or of a version that is not known here.
    """
    folder = run_folder.open_folder(Path(path))
    manifest = run_folder.read_manifest(folder)
    try:
        plan = Plan.model_validate(manifest["plan"])
        if columns is not None and plan.is_streamed:
            columns = (*columns, *_OF_STREAMS)
        table = _table(folder.requests, folder, "requests", SCHEMA, columns)
        health = _table(folder.health, folder, "health", HEALTH_SCHEMA)
        labels = _labels(folder)
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise RunFolderError(
            f"{path}: damaged: {error}", "Make the run again, or restore the folder."
        ) from None
    _refuse_lost_files(folder, manifest, table.num_rows)
    table = _in_order(table)
    # Column by column, each let go of when it is converted.
    requests = _requests(table.to_pandas(split_blocks=True, self_destruct=True), plan)
    pa.default_memory_pool().release_unused()
    dropped = int((requests["outcome"] == "dropped").sum())
    counts = manifest.get("counts") or run_folder.account(
        planned=manifest.get("planned", len(requests)),
        begun=max(manifest.get("begun", 0), sum(run_folder.read_begun_by(folder).values())),
        ended=len(requests) - dropped,
        dropped=dropped,
    )
    return Run(
        path=folder.path,
        plan=plan,
        manifest=manifest,
        requests=requests,
        health=health.to_pandas(),
        labels=labels,
        counts=counts,
    )


def read_requests(path: str | Path) -> Iterator[pd.DataFrame]:
    """Give a run's `requests` part by part, all columns, for who need not have them at once.

    Raises:
        RunFolderError: it is no run folder, is damaged, or of a version that is not known here.
    """
    folder = run_folder.open_folder(Path(path))
    manifest = run_folder.read_manifest(folder)
    try:
        plan = Plan.model_validate(manifest["plan"])
        if folder.requests.is_file():
            file = pq.ParquetFile(folder.requests)
            rows, parts = file.metadata.num_rows, file.iter_batches(_PART)
        else:
            table = _in_order(_table(folder.requests, folder, "requests", SCHEMA))
            rows, parts = table.num_rows, iter(table.to_batches(_PART))
        _refuse_lost_files(folder, manifest, rows)
        for part in parts if rows else [SCHEMA.empty_table()]:
            yield _requests(part.to_pandas(), plan)
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise RunFolderError(
            f"{path}: damaged: {error}", "Make the run again, or restore the folder."
        ) from None


def _requests(requests: pd.DataFrame, plan: Plan) -> pd.DataFrame:
    requests = _in_milliseconds(requests)
    if plan.is_streamed:
        from_ms = requests["started_ms" if plan.traffic.is_closed else "scheduled_ms"]
        requests["ttfb_ms"] = requests["first_byte_ms"].fillna(requests["ended_ms"]) - from_ms
    return requests


def _refuse_lost_files(folder: RunFolder, manifest: dict[str, Any], rows: int) -> None:
    """Hold a run that was finished to what its manifest says it holds."""
    counts = manifest.get("counts")
    if not counts:
        return
    for path in (folder.requests, folder.health, folder.payloads):
        if not path.is_file():
            raise RunFolderError(f"{path}: is missing.", "Restore it, or make the run again.")
    recorded = counts["ended"] + counts["dropped"]
    if rows != recorded:
        raise RunFolderError(
            f"{folder.requests}: holds {rows:,} records; the manifest counted {recorded:,}.",
            "Restore it, or make the run again.",
        )


def _table(
    path: Path,
    folder: RunFolder,
    kind: str,
    schema: pa.Schema,
    columns: Sequence[str] | None = None,
) -> pa.Table:
    wanted = None if columns is None else list(columns)
    if path.is_file():
        repeated = _REPEATED if wanted else None
        return pq.read_table(path, columns=wanted, read_dictionary=repeated, memory_map=True)
    streams = folder.raw.glob(f"{kind}-*.arrows")
    read = (run_folder.read_stream(file, schema)[0] for file in streams)
    tables = [table for table in read if table is not None]
    merged = pa.concat_tables(tables) if tables else schema.empty_table()
    return merged.select(wanted or schema.names)


def _in_order(table: pa.Table) -> pa.Table:
    """Sort the records by the schedule; those of a run that has ended are sorted on disk."""
    seq = table["seq"].to_numpy()
    return table if (seq[1:] > seq[:-1]).all() else table.sort_by("seq")


def _labels(folder: RunFolder) -> "pd.Series[str] | None":
    if not folder.payloads.is_file():
        return None
    table = pq.read_table(folder.payloads, columns=["payload", "label"]).to_pandas()
    labels: pd.Series[str] = table.set_index("payload")["label"].dropna()
    return None if labels.empty else labels


def _in_milliseconds(requests: pd.DataFrame) -> pd.DataFrame:
    variants = [name for name in ("variant_asked", "variant_invoked") if name in requests]
    if all(isinstance(requests[name].dtype, pd.CategoricalDtype) for name in variants):
        every = sorted({value for name in variants for value in requests[name].cat.categories})
        for name in variants:  # which are compared with each other
            requests[name] = requests[name].cat.set_categories(every)
    for name in [str(name) for name in requests if str(name).endswith("_ns")]:
        requests[f"{name.removesuffix('_ns')}_ms"] = requests.pop(name) / 1e6
    requests["response_ms"] = requests["ended_ms"] - requests["scheduled_ms"]
    requests["service_ms"] = requests["ended_ms"] - requests["started_ms"]
    requests["lateness_ms"] = requests["started_ms"] - requests["scheduled_ms"]
    return requests
