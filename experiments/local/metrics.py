"""What CloudWatch knows of the traffic served: a row a request, and statistics of their samples."""

import struct
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from math import nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

UNITS = dict.fromkeys(("ModelLatency", "OverheadLatency", "FirstChunkLatency"), "Microseconds")
UNITS |= dict.fromkeys(
    (
        "Invocations",
        "InvocationsPerInstance",
        "Invocation4XXErrors",
        "Invocation5XXErrors",
        "InvocationModelErrors",
        "MidStreamErrors",
    ),
    "None",
)
Samples = NDArray[np.float64]
STATISTICS: dict[str, Callable[[Samples], Any]] = {
    "SampleCount": np.size,
    "Average": np.mean,
    "Sum": np.sum,
    "Minimum": np.min,
    "Maximum": np.max,
}

_ROW = struct.Struct("<IIifff??")
_FIELDS = np.dtype(
    [
        ("at", "<u4"),
        ("instances", "<u4"),
        ("status", "<i4"),
        ("overhead_us", "<f4"),
        ("model_us", "<f4"),
        ("first_chunk_us", "<f4"),
        ("is_streamed", "?"),
        ("is_broken", "?"),
    ]
)
_NOT_ASKED = -1


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
        overhead_s: float | None,
        model_s: float | None,
        model_status: int | None,
        *,
        first_chunk_s: float | None = None,
        is_streamed: bool = False,
        is_broken: bool = False,
    ) -> None:
        """Count one request that has ended.

        `model_s` is `None` where no model was asked; its status is 0 where it gave no answer.
        `overhead_s` is `None` where it is not known. Streams count that have begun.
        """
        status = _NOT_ASKED if model_status is None else model_status
        times_us = (nan if s is None else s * 1e6 for s in (overhead_s, model_s, first_chunk_s))
        self._rows[variant] += _ROW.pack(
            int(time.time()), instances, status, *times_us, is_streamed, is_broken
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
        at, values = rows["at"].astype(np.int64), _values(metric, rows)
        begins = at - (at - first) % period_s
        counts = (first <= begins) & (begins < end_s) & ~np.isnan(values)
        begins, values = begins[counts], values[counts]
        return [(int(one), values[begins == one]) for one in np.unique(begins)]


def _values(metric: str, rows: NDArray[np.void]) -> Samples:
    """Return a sample a request; NaN where it is none."""
    status = rows["status"]
    match metric:
        case "ModelLatency":
            values = rows["model_us"]
        case "OverheadLatency":
            values = rows["overhead_us"]
        case "FirstChunkLatency":
            values = rows["first_chunk_us"]
        case "Invocations":
            values = np.ones(rows.size)
        case "InvocationsPerInstance":
            values = 1.0 / rows["instances"]
        case "Invocation4XXErrors":
            values = status // 100 == 4
        case "Invocation5XXErrors":
            values = status >= 500
        case "InvocationModelErrors":
            values = (status != _NOT_ASKED) & (status // 100 != 2)
        case _:
            values = np.where(rows["is_streamed"], rows["is_broken"], nan)
    return np.asarray(values, dtype=np.float64)


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
