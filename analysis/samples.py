"""From a run's records to the samples that are judged: two arms' latencies, pairs and failures."""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.noise import Refusal, Signs
from analysis.read import Run
from analysis.render.format import counted
from analysis.results.values import Measure
from analysis.swap import Swap, beyond, swap_ratio
from analysis.windows import (
    WINDOWS,
    Floats,
    Rates,
    Sample,
    Totals,
    WindowedArm,
    Windows,
    windowed_arm,
    windows_of,
)
from experiments.plan import Plan
from experiments.units import is_of_first_byte, quantile_of

LONGER_THAN_ANY_MS = 1e15
"""Stands for the latency of a request that timed out: longer than any threshold that is tried."""
_TIMED_OUT = ("timeout", "model_timeout")
_WORTH_A_THREAD = 400_000
_SLICE = 1 << 20
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Latencies:
    """Two arms' latencies in milliseconds; a timeout stands among them as longer than any answer.

    `known_to_ms` is the shortest that a timeout was waited for. `timed_out` says how many did,
    and where; it is empty where none did. `unnamed` of them may be either arm's. `names` are those
    of the baseline and of the arm.
    """

    sample: Sample
    known_to_ms: float
    timed_out: str
    unnamed: int
    names: tuple[str, str] = ("the baseline", "the arm")

    def hidden(self, quantile: float | None) -> Refusal | None:
        """Say why a quantile, or the mean for None, is not known, as where it hangs on timeouts."""
        arms = self.sample.baseline, self.sample.arm
        if empty := nothing_of(self.sample, self.names):
            return Refusal(reason=empty)
        if not self.timed_out:
            return None
        values = [self._known(arm, quantile) for arm in arms]
        if quantile is not None and None not in values:
            return None
        return Refusal(
            reason=f"{self.timed_out} timed out, and it hangs on how long they would have taken.",
            tail_requests=self.sample.smaller
            if quantile is None
            else beyond(self.sample, quantile),
            baseline_value=values[0],
            arm_value=values[1],
        )

    def _known(self, arm: WindowedArm, quantile: float | None) -> float | None:
        if quantile is None:
            has_timeouts = self.unnamed or arm.ordered[-1] >= LONGER_THAN_ANY_MS
            return None if has_timeouts else arm.mean
        among = quantile * (arm.size + self.unnamed) / arm.size
        value = arm.quantile(among) if among <= 1 else math.inf
        return arm.quantile(quantile) if value < self.known_to_ms else None

    def ratio(self, metric: str, signs: Signs, memory_s: float) -> Swap | Refusal:
        """Give the ratio of the arms at a metric, or why there is none."""
        quantile = quantile_of(metric)
        refusal = self.hidden(quantile)
        return refusal or swap_ratio(self.sample, quantile, signs=signs, memory_s=memory_s)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pairs:
    """The latencies of complete pairs; `incomplete` ones are left out."""

    latencies: Latencies
    incomplete: int


def nothing_of(sample: Rates, names: tuple[str, str]) -> str | None:
    """Say which of two arms has nothing to judge; `None`: both have."""
    sizes = zip(names, (sample.baseline.size, sample.arm.size), strict=True)
    empty = [name for name, size in sizes if not size]
    return f"No request of {' or '.join(empty)} can be judged." if empty else None


def measures_of(run: Run) -> tuple[Measure, ...]:
    """Give the latencies that a run has; the first is the one that a verdict is about.

    Of streams it is about the time to the first byte, too, which comes last.
    """
    of_streams: tuple[Measure, ...] = ("first_byte",) if run.plan.is_streamed else ()
    if run.plan.traffic.is_closed:
        return ("service", *of_streams)
    return ("response", "service", *of_streams)


def measure_of(plan: Plan, metric: str) -> Measure:
    """Name what a metric of a plan is judged by."""
    if metric == "error_rate":
        return "outcome"
    if is_of_first_byte(metric):
        return "first_byte"
    return "service" if plan.traffic.is_closed else "response"


def column_of(measure: Measure) -> str:
    """Name the column of a run's requests that holds a latency."""
    return "ttfb_ms" if measure == "first_byte" else f"{measure}_ms"


def until_good_ms(rows: pd.DataFrame, column: str) -> Floats:
    """Give how long each request took to a good answer, or to its first part: for ever without."""
    is_good = rows["outcome"] == "ok"
    if column == "ttfb_ms":
        is_good &= rows["first_byte_ms"].notna()
    return np.where(is_good, rows[column], np.inf)


def latencies_ms(rows: pd.DataFrame, measure: Measure) -> tuple[Floats, float]:
    """Give the latencies that are known, if only from below, and below which every one is.

    Those are of the requests that were answered and of those that timed out, which lasted at least
    as long as they were waited for; what failed otherwise says nothing of latency. Of a stream
    without a part the first is taken for later than any where it was answered all the same.
    """
    lasting = _lasting(rows, measure)
    return lasting.taken(lasting.is_known), lasting.known_to_ms()


class _Lasting(NamedTuple):
    """How long requests took, of which it is known, and of which it is known from below only."""

    took_ms: Floats
    is_known: Flags
    is_open: Flags
    timed_out: Flags

    def known_to_ms(self) -> float:
        """Below what every latency is known: the least that an open one was waited for."""
        waited_ms, timed_out = self.took_ms[self.is_open], self.timed_out[self.is_open]
        return float(np.where(timed_out, waited_ms, LONGER_THAN_ANY_MS).min(initial=math.inf))

    def taken(self, wanted: Flags) -> Floats:
        """Give the wanted ones' latencies, the open ones as longer than any."""
        took_ms = self.took_ms[wanted]
        took_ms[self.is_open[wanted]] = LONGER_THAN_ANY_MS
        return took_ms


def _lasting(rows: pd.DataFrame, measure: Measure) -> _Lasting:
    timed_out = (rows["outcome"].isin(_TIMED_OUT) & rows["ended_ms"].notna()).to_numpy()
    is_known = (rows["outcome"] == "ok").to_numpy() | timed_out
    is_open = timed_out
    if measure == "first_byte":
        is_open = is_known & rows["first_byte_ms"].isna().to_numpy()
    took_ms = rows[column_of(measure)].to_numpy(dtype=np.float64)
    return _Lasting(took_ms, is_known, is_open, timed_out)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Measured:
    """What was measured of a run, `rows` in the order of the schedule, each with its window."""

    run: Run
    rows: pd.DataFrame
    window: Windows

    def latencies(self, baseline: str, arm: str, measure: Measure) -> Latencies:
        """Give the latencies of two arms."""
        return self._latencies((baseline, arm), _lasting(self.rows, measure))

    def pairs(self, baseline: str, arm: str, measure: Measure) -> Pairs:
        """Give the latencies of the pairs of which both requests have one."""
        lasting = _lasting(self.rows, measure)
        is_own = lasting.is_known & self.rows["arm"].isin([baseline, arm]).to_numpy()
        group = self.rows["group"]
        begun = int(group.notna().sum()) - int(_goes_on(group.to_numpy()).sum())
        is_second = _goes_on(group.to_numpy()[is_own])
        is_either = is_second.copy()
        is_either[:-1] |= is_second[1:]
        is_complete = is_own.copy()
        is_complete[is_own] = is_either
        complete = lasting._replace(is_known=is_complete, is_open=lasting.is_open & is_complete)
        return Pairs(
            latencies=self._latencies((baseline, arm), complete),
            incomplete=begun - int(is_second.sum()),
        )

    def failures(self, baseline: str, arm: str, kind: str | None) -> Rates:
        """Count what two arms were sent, and how much of it failed, or in one way."""
        outcome = self.rows["outcome"]
        is_failed = (outcome != "ok" if kind is None else outcome == kind).to_numpy()
        is_sent = (outcome != "dropped").to_numpy()
        arms = []
        for name in (baseline, arm):
            is_own = is_sent & self._is_of(name)
            sent, failed = (
                np.bincount(self.window[of], minlength=WINDOWS).astype(np.float64)
                for of in (is_own, is_own & is_failed)
            )
            arms.append(Totals(counts=sent, sums=failed))
        return Rates(baseline=arms[0], arm=arms[1], span_s=self.run.end_s - self.run.start_s)

    def _latencies(self, arms: tuple[str, str], lasting: _Lasting) -> Latencies:
        def of_arm(name: str) -> WindowedArm:
            wanted = lasting.is_known & self._is_of(name)
            return windowed_arm(lasting.taken(wanted), self.window[wanted])

        if len(self.rows) < _WORTH_A_THREAD:
            found = [of_arm(name) for name in arms]
        else:
            with ThreadPoolExecutor(2) as threads:  # sorting leaves the other core free
                found = list(threads.map(of_arm, arms))
        of_open = self.rows["arm"][lasting.is_open]
        by_arm = {name: int((of_open == name).sum()) for name in arms}
        unnamed = int(of_open.isna().sum())
        named = [f"{counted(n, 'request')} of {name}" for name, n in by_arm.items() if n]
        if unnamed:
            named.append(f"{counted(unnamed, 'request')} of no known arm")
        span_s = self.run.end_s - self.run.start_s
        return Latencies(
            sample=Sample(baseline=found[0], arm=found[1], span_s=span_s),
            known_to_ms=lasting.known_to_ms(),
            timed_out=" and ".join(named),
            unnamed=unnamed,
            names=arms,
        )

    def _is_of(self, arm: str) -> Flags:
        return (self.rows["arm"] == arm).to_numpy() & (self.window < WINDOWS)


def measured(run: Run, rows: pd.DataFrame) -> Measured:
    """Cut the measured `rows` into windows by when they were due, those of a pair by its first.

    `rows` are in the order of the schedule, where the requests of a pair are neighbours.
    """
    window = np.empty(len(rows), dtype=np.uint8)
    due_ms = rows["scheduled_ms"].to_numpy(dtype=np.float64)
    for first in range(0, len(rows), _SLICE):  # so that no copy of the times is made
        part = slice(first, first + _SLICE)
        window[part] = windows_of(due_ms[part] / 1e3, run.start_s, run.end_s)
    goes_on = _goes_on(rows["group"].to_numpy())
    for _ in range(len(run.plan.arms) - 1):  # a group has a request for each arm
        window[goes_on] = window[:-1][goes_on[1:]]
    return Measured(run=run, rows=rows, window=window)


def _goes_on(group: NDArray[Any]) -> Flags:
    """Whether each request is of the same group as the one before."""
    goes_on = np.zeros(group.size, dtype=bool)
    goes_on[1:] = group[1:] == group[:-1]
    return goes_on
