"""What a server's arrival log says of a generator's schedule, and what an open-loop user feels."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def late_on_grid_ms(arrived_ns: NDArray[np.int64], index: NDArray[np.int64], rate: float) -> Floats:
    """Say how late each request came, in ms, where request i is due at t0 + i / rate.

    t0 is the earliest that any of them allows, so that a constant delay is hidden.
    """
    after_due_ns = (arrived_ns - arrived_ns.min()) - (index - index.min()) * (1e9 / rate)
    return np.asarray((after_due_ns - after_due_ns.min()) / 1e6)


def late_by_user_ms(arrived_ns: NDArray[np.int64], user: NDArray[Any], period_s: float) -> Floats:
    """Say how late each request came, in ms, where each user's are due a period apart.

    Each user has a t0 of its own, the earliest that any of its requests allows. Requests are in
    the order of arrival.
    """
    frame = pd.DataFrame({"arrived_ns": arrived_ns - arrived_ns.min(), "user": user})
    by_user = frame.groupby("user")
    frame["after_due_ns"] = frame["arrived_ns"] - by_user.cumcount() * (period_s * 1e9)
    first_ns = frame.groupby("user")["after_due_ns"].transform("min")
    return np.asarray((frame["after_due_ns"] - first_ns) / 1e6, dtype=np.float64)


def open_loop_ms(due_s: Floats, *, delay_s: float, period_s: float, stall_s: float) -> Floats:
    """Give the response time in ms of requests that are sent when due, whatever the server does.

    `due_s` counts from the start of a stall. The server takes `delay_s` for each and any number at
    once, and stops for the first `stall_s` of each `period_s`.
    """
    phase_s = due_s % period_s
    begun_s = np.maximum(phase_s, stall_s)
    ended_s = begun_s + delay_s
    ended_s = np.where(ended_s > period_s, ended_s + stall_s, ended_s)
    return np.asarray((ended_s - phase_s) * 1000)


def quantile(values: Any, q: float) -> float:
    """Give the smallest value that at least a share `q` of the values do not exceed."""
    if len(values) == 0:
        return float("nan")
    return float(np.quantile(np.asarray(values), q, method="inverted_cdf"))
