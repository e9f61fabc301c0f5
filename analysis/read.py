"""A run folder as a Run: its plan, its manifest, and its records as a pandas table.

Reading changes nothing on disk. A run that crashed or has not ended is read as far as its streams
go, and its counts say what is not there.
"""

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

_TIMES = ("scheduled", "started", "sent", "first_byte", "ended")


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
        return self.requests[self.requests["phase"] != WARMUP]

    @property
    def start_s(self) -> float:
        """When the measured phase begins."""
        return self.plan.traffic.warmup

    @property
    def end_s(self) -> float:
        """When the measured phase ends: as planned, or with the last request of a shorter run."""
        if self.manifest["ended_as"] == "complete" or self.requests.empty:
            return self.plan.traffic.planned_s
        last_s = float(self.requests["scheduled_ms"].max()) / 1e3
        return max(last_s, self.start_s + 1e-3)


def read_run(path: str | Path) -> Run:
    """Read a run folder.

    Raises:
        RunFolderError: it is no run folder, is damaged, or of a version that is not known here.
    """
    folder = run_folder.open_folder(Path(path))
    manifest = run_folder.read_manifest(folder)
    try:
        plan = Plan.model_validate(manifest["plan"])
        table = _table(folder.requests, folder, "requests", SCHEMA)
        health = _table(folder.health, folder, "health", HEALTH_SCHEMA)
        labels = _labels(folder)
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise RunFolderError(
            f"{path}: damaged: {error}", "Make the run again, or restore the folder."
        ) from None
    _refuse_lost_files(folder, manifest, table.num_rows)
    requests = _in_milliseconds(table.sort_by("seq").to_pandas())
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


def _table(path: Path, folder: RunFolder, kind: str, schema: pa.Schema) -> pa.Table:
    if path.is_file():
        return pq.read_table(path)
    streams = (run_folder.read_stream(file)[0] for file in folder.raw.glob(f"{kind}-*.arrows"))
    tables = [table.cast(schema) for table in streams if table is not None]
    return pa.concat_tables(tables) if tables else schema.empty_table()


def _labels(folder: RunFolder) -> "pd.Series[str] | None":
    if not folder.payloads.is_file():
        return None
    table = pq.read_table(folder.payloads, columns=["payload", "label"]).to_pandas()
    labels: pd.Series[str] = table.set_index("payload")["label"].dropna()
    return None if labels.empty else labels


def _in_milliseconds(requests: pd.DataFrame) -> pd.DataFrame:
    for name in _TIMES:
        requests[f"{name}_ms"] = requests.pop(f"{name}_ns") / 1e6
    requests["response_ms"] = requests["ended_ms"] - requests["scheduled_ms"]
    requests["service_ms"] = requests["ended_ms"] - requests["started_ms"]
    requests["lateness_ms"] = requests["started_ms"] - requests["scheduled_ms"]
    return requests
