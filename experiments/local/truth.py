"""What a simulated variant truly does: its quantiles at a rate, its highest rate within an SLO.

By theory where there is one, which is for exponential and constant service times without anything
that bends them; otherwise by simulation with the code that serves.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from pydantic import ValidationError

from experiments.errors import PlanError
from experiments.local import config, queueing, virtual
from experiments.local.faults import NOT_SERVED
from experiments.local.windows import Schedule
from experiments.slo import ERROR_RATE, Objectives
from experiments.units import is_of_first_byte, quantile_of

LEVELS = (0.5, 0.9, 0.99, 0.999)
_REQUESTS = 20_000
_REQUESTS_OF_A_PROBE = 5_000
_RESOLUTION = 0.01
_RESOLUTION_BY_THEORY = 0.001
_SELDOM = 1e-5
_FULL = "full: its queue grows without end"


class Truth(NamedTuple):
    """One variant at one rate; times in seconds, of requests that were answered well.

    `errors_s` are the standard errors of the quantiles, which are 0 by theory.
    """

    rate_rps: float
    load: float
    quantiles_s: tuple[float, ...]
    errors_s: tuple[float, ...]
    error_rate: float
    method: str


def at_rates(
    endpoint: config.Endpoint,
    rates_rps: Mapping[str, float],
    *,
    body_bytes: int = 0,
    levels: Sequence[float] = LEVELS,
    requests: int = _REQUESTS,
) -> dict[str, Truth]:
    """Return the truth of each simulated variant that gets a rate.

    Where more arrives than a variant can do, its times grow without end: they are infinite.
    """
    truths: dict[str, Truth] = {}
    unsettled = {}
    without_end = (math.inf,) * len(levels), (0.0,) * len(levels), math.nan
    for name, rate_rps in rates_rps.items():
        capacity = capacity_rps(endpoint, name, body_bytes)
        reached = _let_through_rps(endpoint, name, rate_rps) / capacity
        truths[name] = Truth(rate_rps, rate_rps / capacity, *without_end, _FULL)
        if reached >= 1:
            continue
        if (survival := theory(endpoint, name, rate_rps)) is None:
            unsettled[name] = reached
            continue
        one = _simulated(endpoint.variants[name])
        kind = "M" if one.distribution == "exponential" else "D"
        truths[name] = truths[name]._replace(
            quantiles_s=tuple(queueing.quantile(survival, p, one.mean_s) for p in levels),
            error_rate=0.0,
            method=f"theory, M/{kind}/{one.workers}",
        )
    if unsettled:
        found = virtual.simulate(
            endpoint, rates_rps, requests=requests, loads=unsettled, body_bytes=body_bytes
        )
        for name, simulation in ((name, found[name]) for name in unsettled):
            quantiles_s = [simulation.quantile(level) for level in levels]
            too_close = "" if simulation.is_settled else ", too close to full to settle"
            truths[name] = truths[name]._replace(
                quantiles_s=tuple(value for value, _ in quantiles_s),
                errors_s=tuple(error for _, error in quantiles_s),
                error_rate=simulation.error_rate,
                method=f"simulation of {simulation.requests:,} requests{too_close}",
            )
    return truths


def _let_through_rps(endpoint: config.Endpoint, name: str, rate_rps: float) -> float:
    """Return how much of a variant's rate can reach its instances, at most and in the long run.

    Faults that come and go, or are of one instance only, are taken to answer none of it.
    """
    served_rps = 0.0
    for fault in endpoint.faults:
        if fault.variant not in (None, name):
            continue
        struck_rps = (fault.share or 1.0) * max(0.0, rate_rps - (fault.above or 0.0))
        if fault.kind not in NOT_SERVED:
            served_rps += struck_rps  # of the faults after this one, none strikes it any more
            rate_rps -= struck_rps
        elif not fault.at and fault.length is None and fault.instance is None:
            rate_rps -= struck_rps
    return served_rps + rate_rps


def theory(endpoint: config.Endpoint, name: str, rate_rps: float) -> queueing.Survival | None:
    """Return the survival of a variant's response time where theory gives it, else None."""
    variant = endpoint.variants[name]
    simulated = _simulated(variant)
    alone = variant.routing == "RANDOM" or variant.instances == 1
    bent = any(table.pauses or table.episodes or table.drifts for table in (endpoint, variant))
    struck = any(fault.variant in (None, name) for fault in endpoint.faults)
    known = {"exponential": queueing.mmc, "constant": queueing.mdc}.get(simulated.distribution)
    if known is None or bent or struck or not alone or simulated.per_kb or not simulated.mean_s:
        return None
    capacity = capacity_rps(endpoint, name, 0)
    too_many = simulated.workers > queueing.MDC_MOST_WORKERS
    too_close = rate_rps > capacity * queueing.MDC_HIGHEST_LOAD
    if rate_rps >= capacity or (known is queueing.mdc and (too_many or too_close)):
        return None
    # Poisson arrivals divided at random are Poisson arrivals at each.
    each = [
        known(rate_rps / variant.instances, simulated.mean_s * factor, simulated.workers)
        for factor in variant.factors[: variant.instances]
    ]

    def survival(t: float) -> float:
        return sum(one(t) for one in each) / len(each)

    return survival if survival(endpoint.model_timeout) < _SELDOM else None


def capacity_rps(endpoint: config.Endpoint, name: str, body_bytes: int) -> float:
    """Return the rate at which a variant's instances are busy all the time.

    Of the faults, spikes count as the work that they are; what the others answer is left aside.
    """
    variant = endpoint.variants[name]
    simulated = _simulated(variant)
    work_s = simulated.mean_s + simulated.per_kb * body_bytes / 1024
    each_s = [
        work_s * factor + _spikes_s(endpoint, name, number)
        for number, factor in enumerate(variant.factors[: variant.instances], start=1)
    ]
    each = [simulated.workers / mean_s if mean_s else math.inf for mean_s in each_s]
    # At random each gets as much, and the slowest is the first that is full.
    total = min(each) * len(each) if variant.routing == "RANDOM" else sum(each)
    for table in (endpoint, variant):
        for pause in table.pauses:
            total *= 1 - _share_of_time(pause)
        for episode in table.episodes:
            share = _share_of_time(episode)
            total *= 1 - share + share / episode.factor
        for drift in table.drifts:
            total /= math.exp(drift.spread**2 / 2)
    return total


def _spikes_s(endpoint: config.Endpoint, name: str, instance: int) -> float:
    """Return the work that spikes add to the mean request of an instance, counted from 1."""
    return sum(
        (fault.delay or 0.0) * (fault.share or 1.0) * _share_of_time(fault)
        for fault in endpoint.faults
        if fault.kind == "spike"
        and fault.variant in (None, name)
        and fault.instance in (None, instance)
    )


def _share_of_time(schedule: Schedule) -> float:
    """Return the share of time that something is on, in the long run."""
    if schedule.every is None:
        return 1.0 if schedule.length is None else 0.0
    return (schedule.length or 0.0) / schedule.every


def highest_rate_rps(
    endpoint: config.Endpoint,
    name: str,
    slo: Mapping[str, float],
    *,
    body_bytes: int = 0,
    requests: int = _REQUESTS_OF_A_PROBE,
) -> tuple[float, float, str]:
    """Return the highest rate seen to keep the SLO, the lowest that does not, and what says so.

    Only this variant gets traffic. `slo` is as `read_slo` gives it. The two rates are 1 % apart at
    most, 0.1 % by theory. Both are 0 where no rate keeps it. Where all do of which theory or a
    simulation can tell, the first is the highest of those, and the second the capacity.
    """
    levels = [level for metric in slo if (level := quantile_of(metric)) is not None]
    limits_s = [limit for metric, limit in slo.items() if metric != ERROR_RATE]

    def keeps(rate_rps: float) -> bool:
        found = at_rates(
            endpoint, {name: rate_rps}, body_bytes=body_bytes, levels=levels, requests=requests
        )[name]
        return found.error_rate <= slo.get(ERROR_RATE, 1.0) and all(
            value <= limit for value, limit in zip(found.quantiles_s, limits_s, strict=True)
        )

    capacity = capacity_rps(endpoint, name, body_bytes)
    if not math.isfinite(capacity):
        return capacity, capacity, "theory"
    top = capacity * virtual.highest_settled_load(endpoint.variants[name], requests)
    resolution = _RESOLUTION
    for load in (queueing.MDC_HIGHEST_LOAD, 1 - _RESOLUTION_BY_THEORY / 10):
        if theory(endpoint, name, capacity * load) is not None:
            top, resolution = capacity * load, _RESOLUTION_BY_THEORY
    low, high = capacity / 1000, top
    if keeps(high):
        low, high = high, capacity
    elif not keeps(low):
        low = high = 0.0
    else:
        while high - low > resolution * high:
            middle = (low + high) / 2
            low, high = (middle, high) if keeps(middle) else (low, middle)
    method = "simulation" if theory(endpoint, name, low) is None else "theory"
    return low, high, method


def read_slo(texts: Iterable[str]) -> dict[str, float]:
    """Read ["p99=300ms", "error_rate=1%"]: limits by metric, in seconds or as a share.

    Raises:
        PlanError: one of them is not such a text.
    """
    slo: dict[str, float] = {}
    for text in texts:
        metric, _, limit = text.partition("=")
        try:
            if metric != ERROR_RATE and (quantile_of(metric) is None or is_of_first_byte(metric)):
                raise ValueError("the metric must be a percentile of the whole, or error_rate")
            slo |= Objectives.model_validate({metric: limit}).by_metric
        except ValueError as error:
            said = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
            raise PlanError(
                f"--slo {text}: {said.removeprefix('Value error, ')}.",
                "Give one such as p99=300ms or error_rate=1%.",
            ) from None
    return slo


def _simulated(variant: config.Variant) -> config.Simulated:
    assert variant.simulated is not None
    return variant.simulated
