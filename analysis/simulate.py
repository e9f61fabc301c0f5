"""Latency streams of two arms whose true ratio is known, to try a method on before believing it.

Both arms are sent requests at the same times of day, by independent Poisson processes unless told
otherwise. Noise that is `shared` moves both arms alike, as a busy network would; noise that is
`own` moves one arm only, and is what makes a verdict hard. Spreads are standard deviations of log
latency.
"""

import heapq
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.signal import lfilter

Floats = NDArray[np.float64]

_MEDIAN_MS = 100.0
_REQUEST_SPREAD = 0.5
_GRID_S = 0.1
_SERVERS_PER_RPS = 4 / 33.3
_MEAN_SERVICE = math.exp(_REQUEST_SPREAD**2 / 2) * 1.04
"""Of a lognormal of median 1, of which one in a hundred is five times as long."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TwoArms:
    """Start times in seconds (ascending) and latencies in milliseconds of two arms."""

    baseline_at_s: Floats
    baseline_ms: Floats
    arm_at_s: Floats
    arm_ms: Floats


Arrivals = Callable[[Generator, float, float], tuple[Floats, Floats]]
"""Draws when each arm's requests arrive, in seconds, ascending: the baseline's, the arm's.

From how long, in seconds, and about how many requests a second for each arm.
"""


def independent(rng: Generator, duration_s: float, rate_rps: float) -> tuple[Floats, Floats]:
    """Draw a Poisson process for each arm."""
    return _poisson(rng, duration_s, rate_rps), _poisson(rng, duration_s, rate_rps)


class _Asked(NamedTuple):
    duration_s: float
    rate_rps: float
    arrivals: Arrivals

    def times(self, rng: Generator) -> tuple[Floats, Floats]:
        return self.arrivals(rng, self.duration_s, self.rate_rps)


_Drawn = tuple[tuple[Floats, Floats], list[Floats]]
"""When each arm's requests arrive, and the logs of their latencies over the median."""


@dataclass(frozen=True, slots=True)
class Stream:
    """Draws runs of two arms."""

    draw: Callable[[Generator, _Asked], _Drawn]

    def __call__(
        self,
        rng: Generator,
        *,
        duration_s: float,
        rate_rps: float,
        effect: float = 1.0,
        arrivals: Arrivals = independent,
    ) -> TwoArms:
        """Draw two arms of `rate_rps` requests a second each, for `duration_s` seconds.

        `effect` multiplies every latency of the arm, so it is the true ratio.
        """
        times, logs = self.draw(rng, _Asked(duration_s, rate_rps, arrivals))
        baseline, arm = (_MEDIAN_MS * np.exp(log) for log in logs)
        return TwoArms(
            baseline_at_s=times[0], baseline_ms=baseline, arm_at_s=times[1], arm_ms=arm * effect
        )


def _iid(rng: Generator, asked: _Asked) -> _Drawn:
    """Independent lognormal latencies: the world that request-level tests assume."""
    times = asked.times(rng)
    return times, [_request_noise(rng, at_s.size) for at_s in times]


def _slow_noise(rng: Generator, asked: _Asked, *, shared_memory_s: float) -> _Drawn:
    """Slow noise: 10 % shared by the arms, and 5 % of each arm's own, of 10 s memory."""
    shared = _wander(rng, asked.duration_s, spread=0.10, memory_s=shared_memory_s)
    times = asked.times(rng)
    logs = []
    for at_s in times:
        own = _wander(rng, asked.duration_s, spread=0.05, memory_s=10.0)
        logs.append(_request_noise(rng, at_s.size) + _at(shared, at_s) + _at(own, at_s))
    return times, logs


def _burst(rng: Generator, asked: _Asked) -> _Drawn:
    """A slow mode of four times the latency, rare but for episodes of about 5 s.

    1 % of requests are slow; 12 points more in a shared episode, 12 more in an arm's own.
    """
    shared = _episodes(rng, asked.duration_s)
    times = asked.times(rng)
    logs = []
    for at_s in times:
        own = _episodes(rng, asked.duration_s)
        slow_share = 0.01 + 0.12 * _is_on(shared, at_s) + 0.12 * _is_on(own, at_s)
        slow = rng.random(at_s.size) < slow_share
        logs.append(_request_noise(rng, at_s.size) + math.log(4.0) * slow)
    return times, logs


def _queues(
    rng: Generator, asked: _Asked, *, load: float, shared_spread: float, own_spread: float
) -> _Drawn:
    """Each arm a queue before several servers, with own pauses and 1 % long jobs."""
    duration_s, rate_rps = asked.duration_s, asked.rate_rps
    shared = _wander(rng, duration_s, spread=shared_spread, memory_s=10.0)
    times = asked.times(rng)
    logs = []
    servers = max(1, round(_SERVERS_PER_RPS * rate_rps))
    for at_s in times:
        own = _wander(rng, duration_s, spread=own_spread, memory_s=10.0)
        service_s = np.exp(_request_noise(rng, at_s.size) + _at(shared, at_s) + _at(own, at_s))
        service_s *= np.where(rng.random(at_s.size) < 0.01, 5.0, 1.0)
        service_s *= load * servers / rate_rps / _MEAN_SERVICE
        latency_s = _first_come_first_served(at_s, service_s, servers, _pauses(rng, duration_s))
        logs.append(np.log(latency_s * 1e3 / _MEDIAN_MS))
    return times, logs


STREAMS: Mapping[str, Stream] = {
    "iid": Stream(_iid),
    "ar": Stream(partial(_slow_noise, shared_memory_s=10.0)),
    # The shared noise wanders over 90 s.
    "drift": Stream(partial(_slow_noise, shared_memory_s=90.0)),
    "burst": Stream(_burst),
    "queue2": Stream(partial(_queues, load=0.6, shared_spread=0.1, own_spread=0.0)),
    # Near 80 % load and with stronger noise, p99 hangs on a handful of overloads.
    "queue": Stream(partial(_queues, load=0.77, shared_spread=0.15, own_spread=0.05)),
}


def _poisson(rng: Generator, duration_s: float, rate_rps: float) -> Floats:
    count = rng.poisson(duration_s * rate_rps)
    return np.sort(rng.uniform(0.0, duration_s, count))


def _request_noise(rng: Generator, count: int) -> Floats:
    return rng.normal(0.0, _REQUEST_SPREAD, count)


def _wander(rng: Generator, duration_s: float, *, spread: float, memory_s: float) -> Floats:
    """Draw an Ornstein-Uhlenbeck path at the points of a fine grid."""
    keep = math.exp(-_GRID_S / memory_s)
    steps = rng.normal(0.0, spread * math.sqrt(1 - keep**2), math.ceil(duration_s / _GRID_S) + 1)
    steps[0] = rng.normal(0.0, spread)
    return np.asarray(lfilter([1.0], [1.0, -keep], steps))


def _at(path: Floats, at_s: Floats) -> Floats:
    return path[(at_s / _GRID_S).astype(np.int64)]


def _episodes(rng: Generator, duration_s: float) -> Floats:
    """Draw the times at which a state goes on for about 5 s and off for about 45 s, in turn."""
    pairs = math.ceil(duration_s / 50.0 * 3) + 20
    lengths_s = rng.exponential(np.tile([45.0, 5.0], pairs))
    return np.cumsum(lengths_s) - rng.uniform(0.0, 50.0)


def _is_on(switches_s: Floats, at_s: Floats) -> NDArray[np.bool_]:
    return np.asarray(np.searchsorted(switches_s, at_s) % 2 == 1)


def _pauses(rng: Generator, duration_s: float) -> list[tuple[float, float]]:
    starts_s = np.cumsum(rng.exponential(20.0, math.ceil(duration_s / 20.0 * 3) + 20))
    ends_s = starts_s + rng.uniform(0.1, 0.3, starts_s.size)
    return list(zip(starts_s.tolist(), ends_s.tolist(), strict=True))


def _first_come_first_served(
    at_s: Floats, service_s: Floats, servers: int, pauses: list[tuple[float, float]]
) -> Floats:
    """Time in the system of each request; nothing starts during a pause."""
    free_at = [0.0] * servers
    waiting_pauses = iter(pauses)
    pause_start, pause_end = next(waiting_pauses)
    ended = []
    for arrived, service in zip(at_s.tolist(), service_s.tolist(), strict=True):
        start = max(arrived, free_at[0])
        while start >= pause_end:
            pause_start, pause_end = next(waiting_pauses, (math.inf, math.inf))
        if start >= pause_start:
            start = pause_end
        heapq.heapreplace(free_at, start + service)
        ended.append(start + service)
    return np.array(ended) - at_s
