"""Does one rate keep the SLO: what the probes at it show together, and whether a queue grew.

Several probes are judged as one stretch of time, by the intervals that allow for requests that
share their luck: what differs between the probes widens them too.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from analysis.clustered import ClusteredShare, clustered_share
from analysis.noise import MEMORY_S
from analysis.results.capacity import LimitAtRate, RateCall, RateFound
from analysis.results.values import Interval, SloCall
from analysis.windows import Floats
from experiments.slo import Threshold
from experiments.units import is_of_first_byte

LEVEL = 0.95
MOST_GROWTH = 0.02
"""Of the requests that come, so many may stay behind before a queue that grows is saturation."""
_PARTS = 10
_SURE_OF_TREND = 27
"""Of the 45 pairs among ten values, so many more rise than fall by chance in under 1 % (Mann 1945;
Kendall's S)."""


class Observed(NamedTuple):
    """One probe: when each request was due, how long it took (for ever where it failed), its end.

    Times are in seconds from the start of what is measured, which lasts `length_s`. Of streams
    `ttfb_ms` is how long the first byte took.
    """

    at_s: Floats
    latency_ms: Floats
    ended_s: Floats
    length_s: float
    ttfb_ms: Floats = np.empty(0)


def judge_rate(
    rate_rps: float,
    probes: Sequence[Observed],
    asked: Sequence[Threshold],
    memory_s: float = MEMORY_S,
) -> RateFound:
    """Judge every limit over all probes of a rate; without a request nothing is told.

    The rate passes where each limit is met at 95 %, and fails where one is broken at 95 % for all
    together, or where most probes were saturated: a queue that grows breaks any limit in time.
    While a queue grows, met limits are not yet a pass.
    """
    seen = _joined(probes)
    limits = [_limit(each, seen, len(asked), memory_s) for each in asked if seen.at_s.size]
    growth = [_growth(probe) for probe in probes]
    saturated = sum(each is not None and each > MOST_GROWTH for each in growth)
    calls = {limit.call for limit in limits}
    call: RateCall = "unresolved"
    if "broken" in calls or saturated > len(probes) / 2:
        call = "fail"
    elif calls == {"met"} and all(each is None for each in growth):
        call = "pass"
    return RateFound(
        rate_rps=rate_rps,
        call=call,
        probes=len(probes),
        measured_s=seen.length_s,
        requests=seen.at_s.size,
        saturated=saturated,
        limits=tuple(limits),
    )


def _joined(probes: Sequence[Observed]) -> Observed:
    """Put the probes of a rate one after another."""
    starts_s = np.cumsum([0.0, *(probe.length_s for probe in probes)])
    shifted = [p._replace(at_s=p.at_s + s) for p, s in zip(probes, starts_s, strict=False)]
    nothing = Observed(np.empty(0), np.empty(0), np.empty(0), 0.0)
    at_s, latency_ms, ended_s, ttfb_ms = (
        np.concatenate([getattr(probe, name) for probe in (nothing, *shifted)])
        for name in ("at_s", "latency_ms", "ended_s", "ttfb_ms")
    )
    return Observed(at_s, latency_ms, ended_s, starts_s[-1], ttfb_ms)


def _limit(asked: Threshold, seen: Observed, limits: int, memory_s: float) -> LimitAtRate:
    if is_of_first_byte(asked.metric):
        seen = seen._replace(latency_ms=seen.ttfb_ms)
    worst_ms = np.inf if asked.limit_ms is None else asked.limit_ms
    missed = (seen.latency_ms > worst_ms) | np.isinf(seen.latency_ms)
    found = _share(seen, missed, memory_s)
    low, high = found.bounds(LEVEL)
    call: SloCall = "undecided"
    if high <= asked.allowed:
        call = "met"
    elif found.bounds(1 - (1 - LEVEL) / limits)[0] > asked.allowed:
        call = "broken"
    value_ms, value_interval = None, None
    if asked.limit_ms is not None:
        value_ms = quantile_ms(seen.latency_ms, 1 - asked.allowed)
        value_interval = _value_interval(seen, asked.allowed, memory_s)
    return LimitAtRate(
        metric=asked.metric,
        limit_ms=asked.limit_ms,
        allowed=asked.allowed,
        requests=found.requests,
        missed=found.counted,
        interval=Interval(low=low, high=high, level=2 * LEVEL - 1),
        value_ms=value_ms,
        value_interval=value_interval,
        call=call,
    )


def _value_interval(seen: Observed, beyond: float, memory_s: float) -> Interval:
    """Give the interval of the latency that a share lies beyond (Woodruff 1952)."""
    latency_ms = seen.latency_ms
    value_ms = float(np.quantile(latency_ms, 1 - beyond, method="inverted_cdf"))
    is_beyond = (latency_ms > value_ms) | np.isinf(latency_ms)
    low, high = _share(seen, is_beyond, memory_s).bounds(LEVEL)
    return Interval(
        low=quantile_ms(latency_ms, max(1 - high, 0.0)),
        high=quantile_ms(latency_ms, min(1 - low, 1.0)) if low > 0 else None,
        level=2 * LEVEL - 1,
    )


def _share(seen: Observed, counted: NDArray[np.bool_], memory_s: float) -> ClusteredShare:
    return clustered_share(
        seen.at_s, counted.astype(float), start_s=0.0, end_s=seen.length_s, memory_s=memory_s
    )


def quantile_ms(latency_ms: Floats, quantile: float) -> float | None:
    """Give a quantile of latencies of which some may last for ever; `None`: it is one of those."""
    value = float(np.quantile(latency_ms, quantile, method="inverted_cdf"))
    return value if np.isfinite(value) else None


def _growth(probe: Observed) -> float | None:
    """Give what share of the requests stayed behind; `None` unless in flight and time taken rose.

    Both are looked at in ten equal parts of the probe.
    """
    if probe.at_s.size < _PARTS:
        return None
    ends_s = np.linspace(0.0, probe.length_s, _PARTS + 1)[1:]
    begun = np.searchsorted(np.sort(probe.at_s), ends_s)
    in_flight = (begun - np.searchsorted(np.sort(probe.ended_s), ends_s)).astype(float)
    taken_s = probe.ended_s - probe.at_s
    part = np.minimum(np.searchsorted(ends_s, probe.at_s), _PARTS - 1)
    medians = [np.median(taken_s[part == i]) if (part == i).any() else 0.0 for i in range(_PARTS)]
    if min(_trend(in_flight), _trend(np.array(medians))) < _SURE_OF_TREND:
        return None
    return float((in_flight[-1] - in_flight[0]) / max(begun[-1] - begun[0], 1))


def _trend(values: Floats) -> int:
    """Count how many more pairs rise than fall."""
    return int(
        np.sign(values[np.newaxis, :] - values[:, np.newaxis])[np.triu_indices(_PARTS)].sum()
    )
