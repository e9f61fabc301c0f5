"""The probes of a search: each read from its run folder, and all at a rate judged together."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from analysis.noise import memory_of
from analysis.rates import Observed, judge_rate
from analysis.read import JUDGED, Run, read_run
from analysis.results.capacity import RateCall, RateFound
from analysis.results.run import Check
from analysis.samples import until_good_ms
from analysis.validity import check_run
from experiments.slo import slowest_ms

_GENERATORS_OWN = ("generator", "in_flight")
_TAKEN_BY_THE_ENDPOINT = "slots"


class Probe(NamedTuple):
    """One probe, what came of its requests, and whether it can be trusted."""

    run: Run
    rate_rps: float
    observed: Observed
    checks: tuple[Check, ...]
    left_out: Check | None
    """What shows that the generator was in the way, where it was."""

    @property
    def is_invalid(self) -> bool:
        """Whether the endpoint was not the same throughout, or records are lost."""
        outside = (*_GENERATORS_OWN, _TAKEN_BY_THE_ENDPOINT)
        return any(c.state == "fail" and c.name not in outside for c in self.checks)


def judge_probes(paths: Iterable[Path]) -> dict[float, RateCall]:
    """Say of each rate what all probes at it show together; a probe is read once."""
    probes = [probe for path in paths if (probe := _judged(path)) is not None]
    return {found.rate_rps: found.call for found in judge_rates(probes)}


@cache
def _judged(path: Path) -> Probe | None:
    """Keep what was judged of a probe, without its records."""
    probe = read_probe(path)
    if probe is None:
        return None
    return probe._replace(run=replace(probe.run, requests=probe.run.requests.head(0).copy()))


def read_probe(path: Path) -> Probe | None:
    """Read a run as a probe; `None`: it is none, or was not made whole."""
    run = read_run(path, JUDGED)
    if run.plan.traffic.is_closed or run.manifest["ended_as"] in ("interrupted", "running"):
        return None
    rows = run.measured
    checks = check_run(run)
    rate_rps = run.plan.traffic.rate or 0.0
    # Slots enough for all that a kept limit has in flight are full only where the endpoint breaks
    # it (Little's law); fewer may be full of requests that it answers in time.
    longest_ms = slowest_ms(run.plan.thresholds) or np.inf
    has_slots = run.manifest.get("slots", 0) >= rate_rps * longest_ms / 1e3
    own = _GENERATORS_OWN if has_slots else (*_GENERATORS_OWN, _TAKEN_BY_THE_ENDPOINT)
    in_the_way = (c for c in checks if c.name in own and c.state != "ok")
    return Probe(
        run=run,
        rate_rps=rate_rps,
        observed=_observed(run, rows),
        checks=checks,
        left_out=next(in_the_way, None),
    )


def _observed(run: Run, rows: pd.DataFrame) -> Observed:
    at_s = rows["scheduled_ms"].to_numpy() / 1e3 - run.start_s
    ended_s = rows["ended_ms"].to_numpy() / 1e3 - run.start_s
    return Observed(
        at_s=at_s,
        latency_ms=until_good_ms(rows, "response_ms"),
        ended_s=np.where(np.isnan(ended_s), at_s, ended_s),
        length_s=run.end_s - run.start_s,
        ttfb_ms=until_good_ms(rows, "ttfb_ms") if run.plan.is_streamed else np.empty(0),
    )


def judge_rates(probes: Sequence[Probe]) -> tuple[RateFound, ...]:
    """Judge every rate by those of its probes in which the generator was not in the way.

    It is the generator's limit where that leaves none, or half at most of what breaks the SLO.
    """
    by_rate: dict[float, list[Probe]] = {}
    for probe in probes:
        by_rate.setdefault(probe.rate_rps, []).append(probe)
    rates = []
    for rate_rps, own in sorted(by_rate.items()):
        kept = [probe.observed for probe in own if probe.left_out is None]
        plan = own[0].run.plan
        found = judge_rate(rate_rps, kept, plan.thresholds, memory_of(plan))
        if any(probe.is_invalid for probe in own):
            found = replace(found, call="invalid")
        elif not kept or (found.call == "fail" and 2 * len(kept) <= len(own)):
            found = replace(found, call="client")
        rates.append(found)
    return tuple(rates)
