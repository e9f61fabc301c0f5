"""What a number in a report may be: an estimate with its intervals, or a call.

A missing number is `None` with a reason beside it, never a number that looks like an answer.
Times are in milliseconds, shares are fractions of 1.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Call = Literal["worse", "better", "same", "undecided", "refused"]
"""worse: slower, or more errors. refused: too few requests or too short a run for any statement."""

SloCall = Literal["met", "broken", "undecided", "refused"]

Measure = Literal["response", "service", "first_byte", "outcome"]
"""response: from the scheduled start. service: from the real start. first_byte: of a stream, to its
first part, from where the run's latency counts. outcome: failed or not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A confidence interval; a side that is `None` is unbounded."""

    low: float | None
    high: float | None
    level: float


def of_logs(low: float | None, high: float | None, level: float) -> Interval:
    """Give the interval of a ratio from that of its logarithm."""
    low, high = (None if end is None else math.exp(end) for end in (low, high))
    return Interval(low=low, high=high, level=level)


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """An estimate with its intervals: 95 % to call a difference, 90 % to call it irrelevant."""

    value: float
    interval: Interval
    interval_90: Interval


def estimate(value: float, ends: Callable[[float], tuple[float, float]]) -> Estimate:
    """Give an estimate with its intervals; `ends` gives the two of a level."""

    def interval(level: float) -> Interval:
        low, high = ends(level)
        return Interval(low=low, high=high, level=level)

    return Estimate(value=value, interval=interval(0.95), interval_90=interval(0.90))
