"""Request bodies, read before the clock starts: a line each, a file each, or a Parquet row."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from experiments.errors import PlanError
from experiments.plan import Plan

MOST_BYTES = 25 * 1024 * 1024
"""Largest body that any SageMaker endpoint takes; each endpoint has its own, smaller limit."""


@dataclass(frozen=True, slots=True)
class Payload:
    """One request body, with the true answer where it is known."""

    name: str
    body: bytes
    label: str | None

    @property
    def digest(self) -> str:
        """SHA-256 of the body, in hex."""
        return hashlib.sha256(self.body).hexdigest()


def load(plan: Plan, plan_path: Path) -> tuple[Payload, ...]:
    """Read the plan's payloads; a payload's id is its index.

    With `answers.label`, that field is taken out of each JSON line before it is sent: a model must
    not be told the answer.

    Raises:
        PlanError: the file is missing, empty, or holds a body that cannot be sent.
    """
    path = plan_path.parent / plan.request.payloads
    where = f"{plan_path}: request.payloads: {path}"
    label = plan.answers.label if plan.answers else None
    try:
        payloads = tuple(_read(path, label, where))
    except (OSError, pa.ArrowInvalid) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise PlanError(
            f"{where} cannot be read: {reason}.",
            "Give a file with a body a line, a folder with a body a file, or a .parquet file "
            'with a column "body"; paths are relative to the plan.',
        ) from None
    if not payloads:
        raise PlanError(f"{where} holds no payload.", "Give at least one body.")
    for payload in payloads:
        if len(payload.body) > MOST_BYTES:
            raise PlanError(
                f"{where}: {payload.name} is {len(payload.body):,} bytes long.",
                f"No SageMaker endpoint takes more than {MOST_BYTES:,}.",
            )
    return payloads


def set_hash(payloads: tuple[Payload, ...]) -> str:
    """Give one hash for the whole set, in order."""
    return hashlib.sha256("".join(p.digest for p in payloads).encode()).hexdigest()[:16]


def write_table(payloads: tuple[Payload, ...], path: Path) -> None:
    """Write id, name, hash, label and size of each payload as Parquet; never a body."""
    table = pa.table(
        {
            "payload": pa.array(range(len(payloads)), pa.int32()),
            "name": [p.name for p in payloads],
            "hash": [p.digest for p in payloads],
            "label": pa.array([p.label for p in payloads], pa.string()),
            "bytes": pa.array([len(p.body) for p in payloads], pa.int64()),
        }
    )
    pq.write_table(table, path)


def _read(path: Path, label: str | None, where: str) -> Iterator[Payload]:
    if path.is_dir():
        for file in sorted(path.iterdir()):
            if file.is_file() and not file.name.startswith("."):
                yield _split(file.name, file.read_bytes(), label, where)
    elif path.suffix == ".parquet":
        columns = ["body"] if label is None else ["body", label]
        table = pq.read_table(path, columns=columns).to_pydict()
        for row, body in enumerate(table["body"]):
            if body is None:
                raise PlanError(f"{where}: row {row + 1} has no body.", "Give each row a body.")
            raw = body if isinstance(body, bytes) else str(body).encode()
            truth = None if label is None else _text(table[label][row])
            yield Payload(f"row {row + 1}", raw, truth)
    else:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if body := line.rstrip(b"\r\n"):
                    yield _split(f"line {number}", body, label, where)


def _split(name: str, body: bytes, label: str | None, where: str) -> Payload:
    if label is None:
        return Payload(name, body, None)
    try:
        fields = json.loads(body)
        truth = fields.pop(label)
    except (ValueError, AttributeError, KeyError, TypeError):
        raise PlanError(
            f'{where}: {name} has no field "{label}", which answers.label names.',
            "Give JSON objects with that field, or leave out answers.label.",
        ) from None
    return Payload(
        name, json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode(), _text(truth)
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
