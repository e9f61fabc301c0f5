"""When request i is due: arrival times as pure functions of (seed, i).

Poisson arrivals are drawn in fixed blocks, each from a stream of its own, so that a longer run
begins with the very arrivals of a shorter one, and no process needs another's state.
"""

import numpy as np
from numpy.typing import NDArray

from experiments.plan import Traffic

BLOCK = 4096
_STREAM = 0x5C4ED


def due_times_ns(traffic: Traffic, seed: int) -> NDArray[np.int64]:
    """Give the due time of every request of the run, in ns from its start, ascending.

    Shape (n,): n is random for Poisson arrivals and fixed for constant ones.
    """
    length_s = traffic.warmup + traffic.duration
    if traffic.arrivals == "constant":
        count = int(np.ceil(length_s * traffic.rate - 1e-9))
        times_s = np.arange(count) / traffic.rate
    else:
        times_s = _poisson(traffic.rate, length_s, seed)
    return np.asarray(np.rint(times_s * 1e9), dtype=np.int64)


def _poisson(rate_rps: float, length_s: float, seed: int) -> NDArray[np.float64]:
    blocks: list[NDArray[np.float64]] = []
    end_s = 0.0
    while end_s < length_s:
        rng = np.random.default_rng([seed, _STREAM, len(blocks)])
        block = end_s + np.cumsum(rng.exponential(1 / rate_rps, BLOCK))
        end_s = float(block[-1])
        blocks.append(block)
    times_s = np.concatenate(blocks)
    return times_s[: np.searchsorted(times_s, length_s)]
