"""What the endpoint knows of each request, in a file, to check a client's records against."""

import csv
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from experiments.errors import EndpointError


class Line(NamedTuple):
    """One request; times in ns on `time.perf_counter_ns()`, which on Linux all processes share.

    A simulated request was due at arrived_ns + wait_ns + service_ns, and was answered at ended_ns.
    The two lengths are empty where they are not known: the request was refused, or took too long.
    """

    inference_id: str
    attempt: int
    variant: str
    instance: int | None
    arrived_ns: int
    wait_ns: int | None
    service_ns: int | None
    ended_ns: int
    status: int | None
    """The HTTP status of the answer; empty where the client had gone."""
    fault: str
    stream_error: str
    """The error in which a streamed answer ended."""


class ServedLog:
    """A CSV file, a line a request, in the order of their ends. Without a path it is none.

    Raises:
        EndpointError: the file cannot be written.
    """

    def __init__(self, path: Path | None) -> None:
        self._file = None
        if path is not None:
            try:
                self._file = path.open("w", newline="", encoding="utf-8")
            except OSError as error:
                raise EndpointError(
                    f"served_log: {path} cannot be written: {error.strerror}.",
                    "Give another file.",
                ) from None
            self._rows = csv.writer(self._file)
            self._rows.writerow(Line._fields)

    @property
    def is_kept(self) -> bool:
        """Whether there is a file."""
        return self._file is not None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()

    def write(self, line: Line) -> None:
        """Write one line; it is in the file when that is closed, at the latest."""
        if self._file is not None:
            self._rows.writerow(line)
