"""A run folder as a Run: its plan, its manifest, and its records as a pandas table.

Reading changes nothing on disk. A run that crashed or has not ended is read as far as its streams
go, and its counts say what is not there.
"""

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import ValidationError

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
_DAMAGE = (OSError, pa.ArrowException, KeyError, ValueError)
_LATER = ("in_session",)
"""Columns that runs made by earlier versions lack."""
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
        events = []
        for line in path.read_bytes().splitlines() if path.is_file() else []:
            with contextlib.suppress(ValueError):
                events.append(json.loads(line))
        return events

    @property
    def cold(self) -> pd.DataFrame:
        """The first request to each target, with the columns of `requests`; none is judged."""
        path = RunFolder(self.path).cold
        table = run_folder.read_stream(path)[0] if path.is_file() else None
        table = SCHEMA.empty_table() if table is None else table
        return _with_durations(_frame(table.column_names, table.column), self.plan)

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
    with _naming_damage(folder.manifest):
        plan = Plan.model_validate(manifest["plan"])
    if columns is not None and plan.is_streamed:
        columns = (*columns, *_OF_STREAMS)
    if columns is not None and plan.traffic.routing == "weighted":
        columns = (*columns, "in_session")
    with _naming_damage(folder.requests):
        requests = _with_durations(_frame(*_records(folder, columns)), plan)
        _refuse_impossible(requests)
    with _naming_damage(folder.health):
        health = _health(folder)
    with _naming_damage(folder.payloads):
        labels = _labels(folder)
    _refuse_lost_files(folder, manifest, len(requests))
    if not requests["seq"].is_monotonic_increasing:  # those of an ended run are sorted on disk
        requests = requests.sort_values("seq", kind="stable", ignore_index=True)
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
        health=health,
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
    with _naming_damage(folder.manifest):
        plan = Plan.model_validate(manifest["plan"])
    with _naming_damage(folder.requests):
        if folder.requests.is_file():
            file = pq.ParquetFile(folder.requests)
            rows, parts = file.metadata.num_rows, file.iter_batches(_PART)
        else:
            table = _streamed(folder, "requests", SCHEMA).sort_by("seq")
            rows, parts = table.num_rows, iter(table.to_batches(_PART))
        _refuse_lost_files(folder, manifest, rows)
        for part in parts if rows else [SCHEMA.empty_table()]:
            yield _with_durations(_frame(part.schema.names, part.column), plan)


def _refuse_lost_files(folder: RunFolder, manifest: dict[str, Any], rows: int) -> None:
    """Hold a run that was finished to what its manifest says it holds, and any to have begun."""
    if not rows and not folder.payloads.is_file():
        is_set = (folder.path / "weights.json").is_file()
        first = f"put its weights back with `abreast restore {folder.path}`, " if is_set else ""
        raise RunFolderError(
            f"{folder.path}: holds nothing: the run ended before its first request, or has not "
            "sent it yet.",
            f"If no process makes this run any more, {first}delete the folder, and make the run "
            "again.",
        )
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


def _refuse_impossible(requests: pd.DataFrame) -> None:
    """Raise ValueError where a latency is none: no clock that only goes on gives such a record."""
    ended_early = (requests["response_ms"] < 0) | (requests["service_ms"] < 0)
    if (ended_early | (requests["ended_ms"].isna() & (requests["outcome"] == "ok"))).any():
        raise ValueError("a request ended before it began, or was answered and never ended")


@contextlib.contextmanager
def _naming_damage(path: Path) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        said = f"it holds no {error}" if isinstance(error, KeyError) else str(error).rstrip(".")
        if isinstance(error, ValidationError):
            first = error.errors(include_url=False)[0]
            key = ".".join(map(str, first["loc"]))
            said = f"plan.{key} = {first['input']!r}: {first['msg']}"
        hint = "Restore the file from a copy, or make the run again."
        raise RunFolderError(f"{path}: damaged: {said}.", hint) from None


_Read = Callable[[str], pa.Array | pa.ChunkedArray]
"""Gives a column of the records by its name."""


def _records(folder: RunFolder, columns: Sequence[str] | None) -> tuple[Sequence[str], _Read]:
    """Give what reads the records, one column at a time, so that few are held twice."""
    names = columns or SCHEMA.names
    if not folder.requests.is_file():
        return names, _streamed(folder, "requests", SCHEMA).column
    repeated = _REPEATED if columns else None
    file = pq.ParquetFile(folder.requests, read_dictionary=repeated, memory_map=True)
    names = [name for name in names if name not in _LATER or name in file.schema_arrow.names]
    return names, lambda name: file.read([name]).column(name)


def _frame(names: Iterable[str], read: _Read) -> pd.DataFrame:
    """Read columns as pandas has them; times, which are at the end, in milliseconds."""
    timed = [name for name in names if name.endswith("_ns")]
    columns = {name: read(name).to_pandas() for name in names if name not in timed}
    for name in timed:
        in_ns = read(name).cast(pa.float64(), safe=False)
        columns[f"{name.removesuffix('_ns')}_ms"] = pc.divide(in_ns, 1e6).to_pandas()
    return pd.DataFrame(columns, copy=False)


def _streamed(folder: RunFolder, kind: str, schema: pa.Schema) -> pa.Table:
    """Read what the workers of a run that has not ended have written so far."""
    read = (run_folder.read_stream(f, schema)[0] for f in folder.raw.glob(f"{kind}-*.arrows"))
    tables = [table for table in read if table is not None]
    return pa.concat_tables(tables) if tables else schema.empty_table()


def _health(folder: RunFolder) -> pd.DataFrame:
    is_whole = folder.health.is_file()
    table = pq.read_table(folder.health) if is_whole else _streamed(folder, "health", HEALTH_SCHEMA)
    health: pd.DataFrame = table.to_pandas()
    return health


def _labels(folder: RunFolder) -> "pd.Series[str] | None":
    if not folder.payloads.is_file():
        return None
    table = pq.read_table(folder.payloads, columns=["payload", "label"]).to_pandas()
    labels: pd.Series[str] = table.set_index("payload")["label"].dropna()
    return None if labels.empty else labels


def _with_durations(requests: pd.DataFrame, plan: Plan) -> pd.DataFrame:
    variants = [name for name in ("variant_asked", "variant_invoked") if name in requests]
    if all(isinstance(requests[name].dtype, pd.CategoricalDtype) for name in variants):
        every = sorted({value for name in variants for value in requests[name].cat.categories})
        for name in variants:  # which are compared with each other
            requests[name] = requests[name].cat.set_categories(every)
    requests["response_ms"] = requests["ended_ms"] - requests["scheduled_ms"]
    requests["service_ms"] = requests["ended_ms"] - requests["started_ms"]
    requests["lateness_ms"] = requests["started_ms"] - requests["scheduled_ms"]
    if plan.is_streamed:
        from_ms = requests["started_ms" if plan.traffic.is_closed else "scheduled_ms"]
        requests["ttfb_ms"] = requests["first_byte_ms"].fillna(requests["ended_ms"]) - from_ms
    return requests
