"""How far a worker's clocks are from the master's, by messages there and back.

Of several the one that came back soonest tells most: the answer was made somewhere within its way,
so that half of that is how wrong the offset can be. Cristian, F. (1989), Probabilistic clock
synchronization, Distributed Computing 3.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass

from experiments.traffic.messages import Ping, Pong, told


@dataclass(frozen=True, slots=True, kw_only=True)
class Offset:
    """How far ahead a worker's clocks are, in ns, and how long the message was under way."""

    ahead_ns: int
    """Of the clock that requests are timed by, whose zero is any moment of its machine's."""
    wall_ns: int
    round_trip_ns: int


def ping(run_id: str) -> Ping:
    """Give what the master sends."""
    return Ping(run_id=run_id, asked_ns=time.perf_counter_ns(), asked_wall_ns=time.time_ns())


def pong(ping: Ping) -> Pong:
    """Give what a worker sends back, at once."""
    return Pong(**told(ping), at_ns=time.perf_counter_ns(), at_wall_ns=time.time_ns())


def offset(pong: Pong, received_ns: int) -> Offset:
    """Reckon from one answer, that came at `received_ns` of the master's `perf_counter_ns`."""
    round_trip_ns = received_ns - pong.asked_ns
    half_ns = round_trip_ns // 2
    return Offset(
        ahead_ns=pong.at_ns - pong.asked_ns - half_ns,
        wall_ns=pong.at_wall_ns - pong.asked_wall_ns - half_ns,
        round_trip_ns=round_trip_ns,
    )


def best(found: Iterable[Offset]) -> Offset:
    """Give the one that is least wrong."""
    return min(found, key=lambda each: each.round_trip_ns)
