"""Reads a trace of arrivals: when requests came, to be sent again at the same distances.

Parquet or CSV with one of the columns `at_s` (seconds, from any zero), `timestamp` (date and time)
or `scheduled_ns` (the `requests.parquet` of another run).
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from experiments.errors import PlanError

_NS = {"at_s": 1e9, "scheduled_ns": 1.0}


def read_trace(path: Path) -> NDArray[np.float64]:
    """Give the seconds from the first arrival to each, ascending; shape (n,)."""
    import pandas as pd  # which takes longer than all else of a plan without a trace

    try:
        table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise PlanError(
            f"traffic.trace: {path} cannot be read: {error}.", "Give a Parquet or CSV file."
        ) from None
    column = next((name for name in (*_NS, "timestamp") if name in table), None)
    if column is None:
        raise PlanError(
            f"traffic.trace: {path} has the columns {', '.join(map(str, table.columns))}.",
            "One of them must be at_s (seconds), timestamp, or scheduled_ns.",
        )
    try:
        if column == "timestamp":
            moments = pd.to_datetime(table[column], utc=True, format="ISO8601")
            at_ns = (moments - moments.min()).dt.total_seconds().to_numpy() * 1e9
        else:
            at_ns = pd.to_numeric(table[column]).to_numpy(float) * _NS[column]
    except (ValueError, TypeError) as error:
        raise PlanError(
            f"traffic.trace: {path}, column {column}: {error}.", "Give times only."
        ) from None
    if len(at_ns) < 2 or not np.isfinite(at_ns).all():
        raise PlanError(
            f"traffic.trace: {path}, column {column}, must hold two times or more, and no gap.",
            "Give a time for each request.",
        )
    return np.asarray(np.sort(at_ns - at_ns.min()) / 1e9, dtype=np.float64)


def span_s(times_s: NDArray[np.float64]) -> float:
    """Give how long a trace lasts: to its last arrival, and a mean gap after it."""
    last_s = float(times_s[-1])
    return last_s + max(last_s / (len(times_s) - 1), 1e-3)
