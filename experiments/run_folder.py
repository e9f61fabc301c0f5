"""A run folder: its id, its files, its manifest, and how raw records become one table.

Everything about a run is in its folder, and nothing is written outside it. Raw records are Arrow
IPC streams, one a worker: append-only, so that a killed worker loses its last batch at most.
"""

import contextlib
import errno
import fcntl
import json
import os
import re
import secrets
import shutil
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from experiments.errors import RunFolderError
from experiments.record import HEALTH_SCHEMA, SCHEMA, SCHEMA_VERSION

END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"
"""How a stream ends that was closed: a continuation mark, and a length of zero."""

_LONGEST_NAME = 24
_RESERVED_BYTES = 65_536


class _At:
    """A path within a run's folder."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, folder: "RunFolder", _owner: type["RunFolder"] | None = None) -> Path:
        return folder.path / self._name


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The paths of one run."""

    path: Path

    manifest = _At("manifest.json")
    """What was run, where, and what came of it."""
    plan = _At("plan.toml")
    """The plan's text as run."""
    raw = _At("requests")
    """The workers' streams, until they are compacted."""
    reserve = _At("requests/reserve")
    """Room on the disk that is given up for the manifest when the disk is full."""
    requests = _At("requests.parquet")
    """All records in one table, in the order of the schedule."""
    cold = _At("cold.arrows")
    """The records of the first request to each target, which are never judged."""
    health = _At("health.parquet")
    """The generator's own health, a row a second."""
    payloads = _At("payloads.parquet")
    """Id, hash, label and size of each payload."""
    logs = _At("logs")
    """What Locust, the local endpoint and its models said."""
    timeline = _At("timeline.jsonl")
    """What happened beside requests, a JSON line each."""

    @property
    def run_id(self) -> str:
        """The run's id, which is the folder's name."""
        return self.path.name

    def begun_by(self, rank: int) -> Path:
        """How many requests of a worker have left the schedule, as a number of eight bytes."""
        return self.raw / f"begun-{rank}"


def create(parent: Path, plan_name: str, plan_text: str) -> RunFolder:
    """Make a folder `<UTC yyyymmdd-hhmmss>-<plan>-<4 hex>`, readable by its owner only."""
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    # The id travels in headers, which are ASCII.
    name = re.sub(r"[^a-zA-Z0-9-]", "-", plan_name)[:_LONGEST_NAME]
    folder = RunFolder((parent / f"{stamp}-{name}-{secrets.token_hex(2)}").absolute())
    try:
        parent.mkdir(parents=True, exist_ok=True)
        folder.path.mkdir(mode=0o700)
        folder.raw.mkdir()
        folder.reserve.write_bytes(bytes(_RESERVED_BYTES))
        folder.logs.mkdir()
        folder.plan.write_text(plan_text, encoding="utf-8")
    except OSError as error:
        raise RunFolderError(
            f"{folder.path}: the run folder cannot be made: "
            + (f"{parent} is a file." if parent.is_file() else f"{error.strerror}."),
            "Give a folder that can be written with --out DIR.",
        ) from None
    return folder


def open_folder(path: Path) -> RunFolder:
    """Open an existing run folder."""
    folder = RunFolder(path.absolute())
    if not folder.manifest.is_file():
        raise RunFolderError(
            f"{path}: no run folder: it holds no manifest.json.",
            "Give a folder that `abreast run` made, such as reports/20260131-120000-ab-1a2b.",
        )
    return folder


def read_manifest(folder: RunFolder) -> dict[str, Any]:
    """Read the manifest."""
    try:
        manifest: dict[str, Any] = json.loads(folder.manifest.read_text(encoding="utf-8"))
        version = manifest["schema_version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        said = f"it holds no {error}" if isinstance(error, KeyError) else error
        raise RunFolderError(
            f"{folder.manifest}: not a readable manifest: {said}.",
            "Restore it from a copy, or make the run again.",
        ) from None
    if version != SCHEMA_VERSION:
        raise RunFolderError(
            f"{folder.manifest}: schema_version is {version}; this abreast reads {SCHEMA_VERSION}.",
            "Read the run with the abreast version that made it; the manifest names it.",
        )
    return manifest


def write_manifest(folder: RunFolder, manifest: dict[str, Any]) -> None:
    """Write the manifest whole or not at all."""
    content = {"schema_version": SCHEMA_VERSION, **manifest}
    write_atomically(folder.manifest, json.dumps(content, indent=2) + "\n")


def update_manifest(folder: RunFolder, **fields: Any) -> dict[str, Any]:
    """Set top-level fields of the manifest, and give the whole."""
    manifest = {**read_manifest(folder), **fields}
    write_manifest(folder, manifest)
    return manifest


def write_atomically(path: Path, text: str, *, is_durable: bool = False) -> None:
    """Write a text file whole or not at all; where it `is_durable`, after a power cut too.

    Raises:
        OSError: naming the file.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            if is_durable:
                file.flush()
                os.fsync(file.fileno())
    except OSError as error:
        with contextlib.suppress(OSError):  # as where nothing can be written at all
            temporary.unlink()
        error.filename = str(path)
        raise
    temporary.replace(path)


def append_event(folder: RunFolder, kind: str, **fields: Any) -> None:
    """Add a line to the timeline: UTC time, kind, and what is to be known about it."""
    line = {"at": datetime.now(UTC).isoformat(timespec="milliseconds"), "kind": kind, **fields}
    with folder.timeline.open("a", encoding="utf-8") as timeline:
        timeline.write(json.dumps(line) + "\n")


def read_begun_by(folder: RunFolder) -> dict[int, int]:
    """Read how many requests each worker has begun, by rank; one that is alone has rank 0.

    Where the streams are gone there are none.
    """
    files = {int(path.name[6:]): path for path in folder.raw.glob("begun-*")}
    return {rank: int.from_bytes(path.read_bytes(), sys.byteorder) for rank, path in files.items()}


def hold(folder: RunFolder) -> int:
    """Let others see that this process makes the run: for as long as it keeps the descriptor given.

    It is a lock, which the kernel lifts from a process that is killed.
    """
    held = os.open(folder.raw, os.O_RDONLY)
    with contextlib.suppress(OSError):  # of a file system without locks
        fcntl.flock(held, fcntl.LOCK_SH)
    return held


def is_held(folder: RunFolder) -> bool:
    """Whether a process makes the run, or none can be known not to."""
    if not folder.raw.is_dir():
        return False
    held = os.open(folder.raw, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(held)
    return False


@contextlib.contextmanager
def alone(folder: RunFolder) -> Iterator[None]:
    """Wait until nobody else finishes the run, and keep others from it meanwhile."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # of a file system without locks
            fcntl.flock(stack.enter_context(folder.plan.open("rb")), fcntl.LOCK_EX)
        yield


def has_streams(folder: RunFolder) -> bool:
    """Whether there are workers' streams that the tables do not hold yet."""
    return any(folder.raw.glob("requests-*.arrows"))


def read_stream(path: Path, schema: pa.Schema | None = None) -> tuple[pa.Table | None, bool]:
    """Read an Arrow IPC stream up to where it is torn or damaged; say whether it was whole.

    One that cannot be read at all, or as rows of `schema`, gives no table.
    """
    batches: list[pa.RecordBatch] = []
    found = None
    try:
        # From memory: of a file, a damaged length would be allocated before it is found too large.
        content = path.read_bytes()
        with pa.BufferReader(content) as file, pa.ipc.open_stream(file) as reader:
            found = reader.schema
            for batch in reader:
                batch.validate(full=True)  # or what is read later would be out of bounds
                batches.append(batch)
            whole = file.tell() == file.size() and content.endswith(END_OF_STREAM)
    except (pa.ArrowException, OSError, EOFError):
        whole = False
    if found is None:
        return None, whole
    table = pa.Table.from_batches(batches, found)
    try:
        return (table if schema is None else table.cast(schema)), whole
    except (pa.ArrowException, ValueError):  # of other names or types
        return None, False


def compact(folder: RunFolder) -> None:
    """Turn the workers' streams into `requests.parquet` and `health.parquet`, once.

    A torn stream gives what it holds up to the tear; the manifest's `torn_streams` names it. The
    streams are removed when the tables hold every row of theirs. Streams that a lost worker kept,
    and that were copied here later, are added; rows that are known are not doubled.
    """
    if not folder.raw.is_dir():
        return
    streams, health = (sorted(folder.raw.glob(f"{k}-*.arrows")) for k in ("requests", "health"))
    read_now = {path.name for path in (*streams, *health)}
    torn = [n for n in read_manifest(folder).get("torn_streams", ()) if n not in read_now]
    _compact(streams, SCHEMA, folder.requests, ["seq", "worker"], torn)
    # Two of a worker's rows may be of one second: only rows that are wholly alike are one.
    _compact(health, HEALTH_SCHEMA, folder.health, HEALTH_SCHEMA.names, torn)
    update_manifest(folder, torn_streams=torn)
    shutil.rmtree(folder.raw)


def _compact(
    streams: Iterable[Path], schema: pa.Schema, target: Path, keys: list[str], torn: list[str]
) -> None:
    """Add the streams to the table in the order of the first key; rows of the same keys are one."""
    tables = []
    for path in streams:
        table, whole = read_stream(path, schema)
        if table is not None:
            tables.append(table)
        if not whole:
            torn.append(path.name)
    if target.is_file():
        tables.insert(0, pq.read_table(target, schema=schema))
    merged = pa.concat_tables(tables) if tables else schema.empty_table()
    if target.is_file():
        merged = merged.filter(pa.array(~merged.select(keys).to_pandas().duplicated()))
    temporary = target.with_name(f".{target.name}")
    try:
        pq.write_table(merged.sort_by(keys[0]), temporary, compression="zstd")
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise RunFolderError(
            f"{target}: cannot be written: {os.strerror(error.errno or errno.EIO)}.",
            f"The records are kept in {target.parent}/requests; mend that, and "
            f"`abreast report {target.parent}` judges them.",
        ) from None
    if pq.read_metadata(temporary).num_rows != merged.num_rows:
        raise RunFolderError(f"{target}: rows were lost in writing it.", "The streams are kept.")
    temporary.replace(target)


def account(planned: int | None, begun: int, ended: int, dropped: int) -> dict[str, int]:
    """Say what became of each planned request: planned = ended + dropped + unsent + missing.

    `begun` is the last known count of requests that left the schedule, sent or dropped. What was
    begun and left no record is missing; the rest was never sent. `planned` is `None` in a closed
    model, where what was begun is all that was planned.
    """
    begun = max(begun, ended + dropped)
    planned = begun if planned is None else planned
    begun = min(begun, planned)
    return {
        "planned": planned,
        "ended": ended,
        "dropped": dropped,
        "unsent": planned - begun,
        "missing": begun - ended - dropped,
    }
