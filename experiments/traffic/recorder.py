"""Keeps every record: one append-only Arrow IPC stream for each worker, a batch about a second.

Appending a row costs a list append; building and writing the batch happens in one greenlet. What
a killed process loses is the rows of its last unwritten batch.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa


class Recorder:
    """Appends rows of one schema to one stream.

    A row is a tuple in the schema's order. `flush` and `close` raise `OSError` where the disk
    refuses; rows already written stay readable.
    """

    def __init__(self, path: Path, schema: pa.Schema, metadata: dict[str, str]) -> None:
        self._schema = schema.with_metadata({**(schema.metadata or {}), **metadata})
        # Unbuffered: what was written is the kernel's to keep when this process is killed.
        self._file = path.open("xb", buffering=0)
        self._writer = pa.ipc.new_stream(self._file, self._schema)
        self._rows: list[Sequence[Any]] = []
        self.written = 0

    def append(self, row: Sequence[Any]) -> None:
        """Keep one row until the next flush."""
        self._rows.append(row)

    def flush(self) -> None:
        """Write what came since the last flush as one batch."""
        if not self._rows:
            return
        rows, self._rows = self._rows, []
        columns = [
            _column(values, field.type)
            for values, field in zip(zip(*rows, strict=True), self._schema, strict=True)
        ]
        self._writer.write_batch(pa.record_batch(columns, schema=self._schema))
        self.written += len(rows)

    def close(self) -> None:
        """Write the rest and end the stream, safely on disk."""
        self.flush()
        self._writer.close()
        os.fsync(self._file.fileno())
        self._file.close()


def _column(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Make a column; what an odd answer said must not cost the batch.

    A lone surrogate in a text becomes a question mark, and a value that does not fit becomes null.
    """
    try:
        return pa.array(values, kind)
    except (pa.ArrowException, OverflowError, UnicodeError, TypeError, ValueError):
        return pa.concat_arrays([_single(value, kind) for value in values])


def _single(value: Any, kind: pa.DataType) -> pa.Array:
    if isinstance(value, str):
        value = value.encode("utf-8", "replace").decode()
    try:
        return pa.array([value], kind)
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        return pa.nulls(1, kind)
