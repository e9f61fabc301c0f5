"""Request bodies, had before the clock starts: a line each, a file, a Parquet row, or made."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from experiments.errors import PlanError
from experiments.payload_function import bodies, is_function
from experiments.plan import Plan
from experiments.templates import fields_in

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
MOST_BYTES = 25 * 1024 * 1024
"""Largest body that any SageMaker endpoint takes; each endpoint has its own, smaller limit."""


@dataclass(frozen=True, slots=True)
class Payload:
    """One request body, with the true answer where it is known."""

    name: str
    body: bytes
    label: str | None
    fields: Mapping[str, str] = field(default_factory=dict)
    """What the plan's parameters take from it, by name."""

    @property
    def digest(self) -> str:
        """SHA-256 of the body, in hex."""
        return hashlib.sha256(self.body).hexdigest()


def load(plan: Plan, plan_path: Path) -> tuple[Payload, ...]:
    """Read the plan's payloads; a payload's id is its index.

    With `answers.label`, that field is taken out of each JSON line before it is sent: a model must
    not be told the answer. So are the fields that parameters name, as in "{payload.model}".
    """
    source = plan.request.payloads
    path = plan_path.parent / source
    is_made = is_function(source)
    where = f"{plan_path}: request.payloads: {source if is_made else path}"
    label = plan.answers.label if plan.answers else None
    taken = _Taken(label, fields_taken(plan))
    try:
        if is_made:
            made = bodies(source, plan_path.parent, where)
            payloads = tuple(
                _split(f"body {n}", body, taken, where) for n, body in enumerate(made, start=1)
            )
        else:
            payloads = tuple(_read(path, taken, where))
    except (OSError, pa.ArrowInvalid) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise PlanError(
            f"{where} cannot be read: {reason}.",
            "Give a file with a body a line, a folder with a body a file, a .parquet file with a "
            'column "body", or "module:function"; paths are relative to the plan.',
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


def fields_taken(plan: Plan) -> tuple[str, ...]:
    """Name the fields that the plan's parameters take out of each payload."""
    texts = (text for given in plan.requests.values() for text in given.values())
    found = [field for text in texts if isinstance(text, str) for field in fields_in(text)]
    return tuple(dict.fromkeys(found))


def set_hash(payloads: tuple[Payload, ...]) -> str:
    """Give one hash for the whole set, in order."""
    told = "".join(p.digest + "".join(p.fields.values()) for p in payloads)
    return hashlib.sha256(told.encode()).hexdigest()[:16]


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


class _Taken(NamedTuple):
    """The fields that are taken out of a body."""

    label: str | None
    fields: tuple[str, ...]

    @property
    def all(self) -> dict[str, str]:
        """Each once, with the key of the plan that names it."""
        label = {} if self.label is None else {self.label: "answers.label"}
        return dict.fromkeys(self.fields, "[request]") | label


def _read(path: Path, taken: _Taken, where: str) -> Iterator[Payload]:
    if path.is_dir():
        for file in sorted(path.iterdir()):
            if file.is_file() and not file.name.startswith("."):
                if not file.resolve().is_relative_to(path.resolve()):
                    raise PlanError(
                        f"{where}: {file.name} is a link that leaves the folder.",
                        "Put the body itself there.",
                    )
                yield _split(file.name, file.read_bytes(), taken, where)
    elif path.exists() and not path.is_file():
        raise PlanError(f"{where} is neither a file nor a folder.", "Give one that ends.")
    elif path.suffix == ".parquet":
        table = pq.read_table(path, columns=["body", *taken.all]).to_pydict()
        for row, body in enumerate(table["body"]):
            if body is None:
                raise PlanError(f"{where}: row {row + 1} has no body.", "Give each row a body.")
            raw = body if isinstance(body, bytes) else str(body).encode()
            found = {key: table[key][row] for key in taken.all}
            yield _payload(f"row {row + 1}", raw, taken, found, where)
    else:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if body := line.rstrip(b"\r\n"):
                    yield _split(f"line {number}", body, taken, where)


def _split(name: str, body: bytes, taken: _Taken, where: str) -> Payload:
    if not taken.all:
        return Payload(name, body, None)
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError) as error:
        what = f"{where}: {name} is not JSON: {error}."
        raise PlanError(what, f"Mend it, or leave out {', '.join(taken.all.values())}.") from None
    for key, named_by in taken.all.items():
        if not isinstance(fields, dict) or key not in fields:
            raise PlanError(
                f'{where}: {name} has no field "{key}", which {named_by} names.',
                f"Give JSON objects with that field, or leave it out of {named_by}.",
            )
    found = {key: fields.pop(key) for key in taken.all}
    rest = json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode()
    return _payload(name, rest, taken, found, where)


def _payload(
    name: str, body: bytes, taken: _Taken, found: Mapping[str, object], where: str
) -> Payload:
    label = None if taken.label is None else _text(found[taken.label])
    fields = {key: _text(found[key]) for key in taken.fields}
    for key, text in fields.items():
        if _CONTROL.search(text):
            raise PlanError(
                f'{where}: {name} has a control character in "{key}": {text[:80]!r}.',
                "[request] sends it as the value of a header, which may hold none.",
            )
    return Payload(name, body, label, fields)


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
