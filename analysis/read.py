"""A run folder as a Run: its plan, its manifest, and its records as a pandas table.

Reading changes nothing on disk. A run that crashed or has not ended is read as far as its streams
go, and its counts say what is not there.
"""

from collections.abc import Sequence
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
    `response_ms`, `service_ms` and `lateness_ms` beside them. `health` has a row for each second
    of the generator. `labels` maps a payload's id to the true answer, where one is known.
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
    requests = _in_milliseconds(table.to_pandas(split_blocks=True, self_destruct=True))
    pa.default_memory_pool().release_unused()
    dropped = int((requests["outcome"] == "dropped").sum())
    counts = manifest.get("counts") or run_folder.account(
        planned=manifest.get("planned", len(requests)),
        begun=manifest.get("begun", 0),
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
    streams = (run_folder.read_stream(file)[0] for file in folder.raw.glob(f"{kind}-*.arrows"))
    tables = [table.cast(schema) for table in streams if table is not None]
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
