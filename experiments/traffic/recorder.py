"""Keeps every record: one append-only Arrow IPC stream for each worker, some batches a second.

Appending a row costs a list append. A flush builds and writes the rows in slices and gives the
event loop its turn between them, so that no request waits for a whole second's rows. What a killed
process loses is the rows that no slice has written.
"""

import contextlib
import os
import sys
import time
from collections.abc import Sequence
from mmap import mmap
from pathlib import Path
from typing import Any

import gevent
import pyarrow as pa
from gevent.lock import BoundedSemaphore

from experiments.run_folder import END_OF_STREAM

SLICE_ROWS = 256
_PAUSE_S = 0.001
"""Not zero: gevent runs what `sleep(0)` put off before it looks at timers and sockets again."""


class Recorder:
    """Appends rows of one schema to one stream.

    A row is a tuple in the schema's order. `flush` and `close` raise `OSError` where the disk
    refuses: what was written stays readable, and the other rows are kept for the next flush.
    """

    def __init__(self, path: Path, schema: pa.Schema, metadata: dict[str, str]) -> None:
        self._schema = schema.with_metadata({**(schema.metadata or {}), **metadata})
        # Unbuffered: what was written is the kernel's to keep when this process is killed.
        self.path = path
        self._file = path.open("xb", buffering=0)
        self._end = 0
        self._rows: list[Sequence[Any]] = []
        self._turn = BoundedSemaphore()
        self.written = 0
        self.longest_ns = 0
        """The longest that a slice held the event loop, since `take_longest_ns`."""
        self._put(self._schema.serialize())
        # The first arrays that pyarrow makes take milliseconds: not while requests are under way.
        texts, flags = pa.string(), pa.bool_()
        row = ["a" if kind == texts else True if kind == flags else 1 for kind in schema.types]
        self._batch([row] * SLICE_ROWS).serialize()

    @property
    def size(self) -> int:
        """Bytes of the stream that are whole messages."""
        return self._end

    def append(self, row: Sequence[Any]) -> None:
        """Keep one row until the next flush."""
        # The garbage collector lets go of plain tuples, and so need not walk a second's rows.
        self._rows.append(tuple(row))

    def flush(self) -> None:
        """Write what came since the last flush, a batch a slice.

        A flush that begins while another is under way waits for its end.
        """
        with self._turn:
            self._write(len(self._rows))

    def close(self) -> None:
        """Write the rest and end the stream, safely on disk; closed again, it does nothing.

        Where the disk refuses, the stream is closed without its end mark and reads as torn.
        """
        with self._turn:
            if self._file.closed:
                return
            try:
                while self._rows:
                    self._write(len(self._rows))
                self._put(END_OF_STREAM)
                os.fsync(self._file.fileno())
            finally:
                self._file.close()

    def take_longest_ns(self) -> int:
        """Give `longest_ns`, and begin again from 0."""
        longest_ns, self.longest_ns = self.longest_ns, 0
        return longest_ns

    def _write(self, rows: int) -> None:
        while rows > 0:
            began_ns = time.perf_counter_ns()
            size = min(rows, SLICE_ROWS)
            try:
                self._put(self._batch(self._rows[:size]).serialize())
            finally:
                self.longest_ns = max(self.longest_ns, time.perf_counter_ns() - began_ns)
            del self._rows[:size]
            self.written += size
            rows -= size
            if rows:
                gevent.sleep(_PAUSE_S)

    def _batch(self, rows: list[Sequence[Any]]) -> pa.RecordBatch:
        columns = [
            _column(values, field.type)
            for values, field in zip(zip(*rows, strict=True), self._schema, strict=True)
        ]
        return pa.record_batch(columns, schema=self._schema)

    def _put(self, message: pa.Buffer | bytes) -> None:
        """Append one whole message of the stream, or nothing."""
        left = memoryview(message)
        at = self._end
        try:
            while left:
                count = os.pwrite(self._file.fileno(), left, at)
                at, left = at + count, left[count:]
        except OSError as error:
            error.filename = self._file.name
            # A full disk takes the beginning of a message: a part left there would hide the rest.
            with contextlib.suppress(OSError):
                self._file.truncate(self._end)
            raise
        self._end = at


class _NoPandas:
    """An import hook by which pyarrow, which imports pandas at its first array, finds none.

    That would take 0.3 s and 40 MB, to tell values of pandas from others; there are none here.
    """

    @staticmethod
    def find_spec(name: str, *_: object) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(name)


if "pandas" not in sys.modules:
    sys.meta_path.insert(0, _NoPandas)
    try:
        pa.array([None])
    finally:
        sys.meta_path.remove(_NoPandas)


def counter(path: Path) -> memoryview:
    """Make a file of one number, and give that number: what is set is in the file, without a call.

    Like what was written, it is the kernel's to keep when this process is killed.
    """
    path.write_bytes(bytes(8))
    with path.open("r+b") as file:
        return memoryview(mmap(file.fileno(), 8)).cast("q")


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
