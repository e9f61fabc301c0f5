"""What the endpoint knows of each request, in a file, to check a client's records against."""

import csv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

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
    """The HTTP status of the answer; empty where the client had gone or the endpoint stopped."""
    fault: str
    stream_error: str
    """The error in which a streamed answer ended."""


Write = Callable[[Line], Any]


@contextmanager
def opened(path: Path) -> Iterator[Write]:
    """Yield what writes a line a request to a CSV file, at once.

    Raises:
        EndpointError: the file cannot be written.
    """
    try:
        file = path.open("w", buffering=1, newline="", encoding="utf-8")
    except OSError as error:
        raise EndpointError(
            f"served_log: {path} cannot be written: {error.strerror}.", "Give another file."
        ) from None
    with file:
        rows = csv.writer(file)
        rows.writerow(Line._fields)
        yield rows.writerow
