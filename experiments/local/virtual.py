"""The local endpoint in virtual time: Poisson arrivals at the code that also serves."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf, sqrt

import numpy as np
from numpy.typing import NDArray

from experiments.local import config
from experiments.local.faults import FAILING, NOT_SERVED
from experiments.local.instance import simulated
from experiments.local.routing import Router
from experiments.local.seeded import generator

REPLICATES = 10
_WARMUP_SHARE = 0.1
_CYCLES = 5
_MOST_TIMES = 10
_TO_SETTLE = 100
"""Relaxation times of M/M/1 that a replicate lasts at least; a tenth of it is the warm-up."""


Replicate = tuple[NDArray[np.float64], int]
"""The response times in seconds of requests that were answered well, and how many were not."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Simulation:
    """Independent replicates of one variant's traffic."""

    replicates: tuple[Replicate, ...]
    is_settled: bool = True
    """Whether each replicate was long enough for the queues to forget that they began empty."""

    @property
    def requests(self) -> int:
        """All that were simulated, without the warm-ups."""
        return sum(response_s.size + failed for response_s, failed in self.replicates)

    @property
    def error_rate(self) -> float:
        """The share of requests that were left without their answer."""
        return sum(failed for _, failed in self.replicates) / max(self.requests, 1)

    def quantile(self, level: float) -> tuple[float, float]:
        """Return a quantile of the response time and its standard error, from the replicates.

        Both are infinite where no request was answered.
        """
        times = [response_s for response_s, _ in self.replicates if response_s.size]
        if not times:
            return inf, inf
        each = [float(np.quantile(one, level)) for one in times]
        error_s = float(np.std(each, ddof=1)) / len(each) ** 0.5 if len(each) > 1 else inf
        return float(np.quantile(np.concatenate(times), level)), error_s


def requests_to_settle(variant: config.Variant, load: float) -> float:
    """Return how many requests a replicate needs for a variant's queues to forget their start.

    The relaxation time of M/M/1 is 1 / (1 - sqrt(load))^2 of its mean service times.
    """
    return _TO_SETTLE * _queues(variant) * load / (1 - sqrt(load)) ** 2


def highest_settled_load(variant: config.Variant, requests: int) -> float:
    """Return the load at which a variant needs all that its replicates may have."""
    return (1 + sqrt(_TO_SETTLE * _queues(variant) / (_MOST_TIMES * requests))) ** -2


def simulate(
    endpoint: config.Endpoint,
    rates_rps: Mapping[str, float],
    *,
    requests: int,
    loads: Mapping[str, float] | None = None,
    body_bytes: int = 0,
) -> dict[str, Simulation]:
    """Send each variant its rate, and return what came of it.

    A replicate has `requests` for the variant that gets fewest. It has more where a variant at one
    of the `loads` needs more to settle, or where it would see fewer than five rounds of the
    endpoint's slowest schedule; but over all variants at most ten times as many. A tenth is cut as
    a warm-up.
    """
    slowest_s = max(_rounds_s(endpoint), default=0.0)
    settling_s = {
        name: requests_to_settle(endpoint.variants[name], load) / rates_rps[name]
        for name, load in (loads or {}).items()
    }
    length_s = max(requests / min(rates_rps.values()), _CYCLES * slowest_s, *settling_s.values())
    length_s = min(length_s, _MOST_TIMES * requests / sum(rates_rps.values()))
    replicates = [
        _replicate(
            endpoint.model_copy(update={"seed": endpoint.seed + number}),
            rates_rps, length_s, slowest_s, body_bytes,
        )
        for number in range(1, REPLICATES + 1)
    ]  # fmt: skip
    return {
        name: Simulation(
            replicates=tuple(replicate[name] for replicate in replicates),
            is_settled=settling_s.get(name, 0.0) <= length_s,
        )
        for name in rates_rps
    }


def _replicate(
    endpoint: config.Endpoint,
    rates_rps: Mapping[str, float],
    length_s: float,
    slowest_s: float,
    body_bytes: int,
) -> dict[str, Replicate]:
    draws = generator(endpoint.seed, "truth")
    # Regular schedules are in another phase in each replicate.
    begins_s = draws.uniform(0.0, slowest_s)
    measured_from_s = begins_s + _WARMUP_SHARE * length_s
    instances = simulated(endpoint)
    router = Router(endpoint, instances)
    response_s: dict[str, list[float]] = {name: [] for name in rates_rps}
    failed = dict.fromkeys(rates_rps, 0)
    for at_s, name in _arrivals(rates_rps, length_s, draws):
        at_s += begins_s  # noqa: PLW2901
        _, number, fault = router.route(at_s, name)
        kind, delay_s = (fault.kind, fault.delay or 0.0) if fault is not None else (None, 0.0)
        fails = kind in FAILING
        took_s = 0.0
        if kind not in NOT_SERVED:
            extra_s = delay_s if kind == "spike" else 0.0
            took_s = instances[name][number].arrives(at_s, body_bytes, extra_s).ends_at_s - at_s
            fails = fails or took_s > endpoint.model_timeout
            took_s += delay_s if kind == "slow_body" else 0.0
        if at_s >= measured_from_s and fails:
            failed[name] += 1
        elif at_s >= measured_from_s:
            response_s[name].append(took_s)
    return {name: (np.array(response_s[name]), failed[name]) for name in rates_rps}


def _arrivals(
    rates_rps: Mapping[str, float], length_s: float, draws: np.random.Generator
) -> Iterable[tuple[float, str]]:
    """Draw the Poisson arrivals of all variants, in the order of their times."""
    names = list(rates_rps)
    counts = [draws.poisson(rates_rps[name] * length_s) for name in names]
    at_s = draws.uniform(0.0, length_s, sum(counts))
    of = np.repeat(np.arange(len(names)), counts)
    order = np.argsort(at_s)
    return zip(at_s[order].tolist(), (names[place] for place in of[order]), strict=True)


def _queues(variant: config.Variant) -> int:
    """Count the queues that share a variant's traffic; the shortest of several is as one."""
    return variant.instances if variant.routing == "RANDOM" else 1


def _rounds_s(endpoint: config.Endpoint) -> Iterable[float]:
    """Give how long a round of each schedule and each drift takes, in seconds."""
    for table in (endpoint, *endpoint.variants.values()):
        yield from (one.every for one in (*table.pauses, *table.episodes) if one.every)
        yield from (drift.memory for drift in table.drifts)
    yield from (fault.every for fault in endpoint.faults if fault.every)
