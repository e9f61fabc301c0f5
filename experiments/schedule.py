"""When request i is due: arrival times as pure functions of (seed, i).

Arrivals of a changing rate are those of a rate of 1, moved to where the rate's integral reaches
them: exact for ramps and fractional rates, with nothing left over between stages. Cinlar, E.
(1975), Introduction to Stochastic Processes, chapter 4.7.

Poisson arrivals are drawn in fixed blocks, each from a stream of its own, so that a longer run
begins with the very arrivals of a shorter one, and no process needs another's state.
"""

import numpy as np
from numpy.typing import NDArray

from experiments.arrivals import Stage, Traffic

BLOCK = 4096
_STREAM = 0x5C4ED


def due_times_ns(
    traffic: Traffic, seed: int, trace_s: NDArray[np.float64] | None = None
) -> NDArray[np.int64]:
    """Give the due time of every request of the run, in ns from its start, ascending.

    Shape (n,): n is random for Poisson arrivals and fixed for others. `trace_s` holds the times of
    the plan's trace, in seconds from its first.
    """
    if trace_s is not None:
        times_s = trace_s[trace_s < traffic.planned_s]
    else:
        stages = _stages(traffic)
        expected = float(sum(stage.expected_requests for stage in stages))
        if traffic.arrivals == "constant":
            # The tolerance keeps 0.1 s at 30/s from being one request more than three.
            ranks = np.arange(int(np.ceil(expected - 1e-9)), dtype=np.float64)
        else:
            ranks = _unit_poisson(expected, seed)
        times_s = _when(ranks, stages)
    return np.asarray(np.rint(times_s * 1e9), dtype=np.int64)


def _stages(traffic: Traffic) -> list[Stage]:
    """Give the whole run as stages; the warm-up has the rate that measuring begins with."""
    stages = traffic.stages or [Stage(rate=traffic.rate or 0.0, length=traffic.measured_s)]
    before = [Stage(rate=stages[0].rate, length=traffic.warmup)] if traffic.warmup else []
    return [*before, *stages]


def _unit_poisson(length: float, seed: int) -> NDArray[np.float64]:
    """Give the arrivals of a Poisson process of rate 1 on [0, length)."""
    blocks: list[NDArray[np.float64]] = []
    end = 0.0
    while end < length:
        rng = np.random.default_rng([seed, _STREAM, len(blocks)])
        block = end + np.cumsum(rng.exponential(1.0, BLOCK))
        end = float(block[-1])
        blocks.append(block)
    ranks = np.concatenate(blocks) if blocks else np.empty(0)
    return ranks[: np.searchsorted(ranks, length)]


def _when(ranks: NDArray[np.float64], stages: list[Stage]) -> NDArray[np.float64]:
    """Invert the integral of the rate: the time by which `ranks` requests are expected."""
    begins = np.cumsum([0.0, *(stage.length for stage in stages)])
    reached = np.cumsum([0.0, *(stage.expected_requests for stage in stages)])
    index = np.searchsorted(reached[1:-1], ranks, side="right")
    # Within a stage the integral is rate t + slope/2 t^2; this root is stable at slope 0.
    rate = np.array([stage.rate for stage in stages])[index]
    slope = np.array([(s.end_rate - s.rate) / s.length for s in stages])[index]
    more = ranks - reached[index]
    root = np.sqrt(np.maximum(rate**2 + 2 * slope * more, 0.0))
    return np.asarray(begins[index] + 2 * more / np.maximum(rate + root, 1e-300))
