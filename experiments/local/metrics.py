"""What CloudWatch knows of the traffic served: a row a request, and statistics of their samples."""

import struct
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from math import nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float64]
STATISTICS: dict[str, Callable[[Samples], Any]] = {
    "SampleCount": np.size,
    "Average": np.mean,
    "Sum": np.sum,
    "Minimum": np.min,
    "Maximum": np.max,
}

_ROW = struct.Struct("<IIifff??")
_FIELDS = np.dtype("<u4,<u4,<i4,<f4,<f4,<f4,?,?")
_FIELDS.names = (
    "at", "instances", "status", "overhead_us", "model_us", "first_chunk_us", "is_streamed",
    "is_broken",
)  # fmt: skip
_NOT_ASKED = -1
_SAMPLES: dict[str, Callable[[NDArray[np.void]], NDArray[Any]]] = {
    "ModelLatency": lambda rows: rows["model_us"],
    "OverheadLatency": lambda rows: rows["overhead_us"],
    "FirstChunkLatency": lambda rows: rows["first_chunk_us"],
    "Invocations": lambda rows: np.ones(rows.size),
    "InvocationsPerInstance": lambda rows: 1.0 / rows["instances"],
    "Invocation4XXErrors": lambda rows: rows["status"] // 100 == 4,
    "Invocation5XXErrors": lambda rows: rows["status"] >= 500,
    "InvocationModelErrors": lambda rows: (
        (rows["status"] != _NOT_ASKED) & (rows["status"] // 100 != 2)
    ),
    "MidStreamErrors": lambda rows: np.where(rows["is_streamed"], rows["is_broken"], nan),
}
"""A sample a request of each metric; NaN where it is none."""

UNITS = {name: "Microseconds" if name.endswith("Latency") else "None" for name in _SAMPLES}


class Metrics:
    """The requests of one endpoint, kept as long as it runs, in 26 bytes each.

    A request is of the second in which it ended, on the wall clock.
    """

    def __init__(self) -> None:
        self._rows: dict[str, bytearray] = defaultdict(bytearray)

    def add(
        self,
        variant: str,
        instances: int,
        status: int | None,
        times_s: tuple[float | None, float | None, float | None],
        is_streamed: bool,
        is_broken: bool,
    ) -> None:
        """Count one request that has ended; streams count as such that have begun.

        `status` is the model's: 0 where it gave no answer, `None` where it was not asked. The times
        are those of overhead, model and first chunk, `None` where they are not known.
        """
        asked = _NOT_ASKED if status is None else status
        times_us = (nan if time_s is None else time_s * 1e6 for time_s in times_s)
        self._rows[variant] += _ROW.pack(
            int(time.time()), instances, asked, *times_us, is_streamed, is_broken
        )

    def samples(
        self,
        metric: str,
        variants: Iterable[str],
        period_s: int,
        *,
        start_s: float,
        end_s: float,
        known_until_s: float,
    ) -> list[tuple[int, Samples]]:
        """Return the samples of each period that begins from `start_s` on and before `end_s`.

        Periods count from the whole minute of `start_s`; those without samples are left out, as is
        what ended at `known_until_s` or later.
        """
        first = int(start_s) // 60 * 60
        rows = np.frombuffer(b"".join(self._rows.get(one, b"") for one in variants), _FIELDS)
        rows = rows[(rows["at"] >= first) & (rows["at"] < min(end_s + period_s, known_until_s))]
        at = rows["at"].astype(np.int64)
        values = _SAMPLES[metric](rows).astype(np.float64)
        begins = at - (at - first) % period_s
        counts = (first <= begins) & (begins < end_s) & ~np.isnan(values)
        begins, values = begins[counts], values[counts]
        return [(int(one), values[begins == one]) for one in np.unique(begins)]


def statistic(name: str, samples: Samples) -> float:
    """Return one statistic by CloudWatch's name for it.

    Raises:
        ValueError: CloudWatch has it not, or this endpoint does not.
    """
    if name in STATISTICS:
        return float(STATISTICS[name](samples))
    try:
        if name[:1] == "p":
            return float(np.percentile(samples, float(name[1:])))
    except ValueError:
        pass
    raise ValueError(
        f'The statistic "{name}" is none of {", ".join(STATISTICS)} and percentiles such as p99.'
    )
