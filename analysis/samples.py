"""From a run's records to the samples that are judged: two arms' latencies, pairs and failures."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.noise import Refusal, Signs
from analysis.read import Run
from analysis.render.format import counted
from analysis.results.values import Measure
from analysis.swap import Swap, beyond, mean_ratio, quantile_ratio
from analysis.windows import Floats, Sample, WindowedArm, windowed
from experiments.plan import Plan
from experiments.units import is_of_first_byte, quantile_of

LONGER_THAN_ANY_MS = 1e15
"""Stands for the latency of a request that timed out: longer than any threshold that is tried."""
_TIMED_OUT = ("timeout", "model_timeout")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Latencies:
    """Two arms' latencies in milliseconds; a timeout stands among them as longer than any answer.

    `known_to_ms` is the shortest that a timeout was waited for. `timed_out` says how many did,
    and where; it is empty where none did. `unnamed` of them may be either arm's.
    """

    sample: Sample
    known_to_ms: float
    timed_out: str
    unnamed: int

    def hidden(self, quantile: float | None) -> Refusal | None:
        """Say why a quantile, or the mean for None, hangs on how long timeouts would have taken."""
        arms = self.sample.baseline, self.sample.arm
        if not self.timed_out or self.sample.smaller == 0:
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
        if refusal := self.hidden(quantile):
            return refusal
        if quantile is None:
            return mean_ratio(self.sample, signs=signs, memory_s=memory_s)
        return quantile_ratio(self.sample, quantile, signs=signs, memory_s=memory_s)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pairs:
    """The latencies of complete pairs; `incomplete` ones are left out."""

    latencies: Latencies
    incomplete: int


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


def latency_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """Give the requests whose latency is known, if only from below.

    Those are the answered ones and those that timed out, which lasted at least as long as they
    were waited for; what failed otherwise says nothing of latency. `rows` are in the order of the
    schedule. The columns are arm, group, at_s, response_ms, service_ms and timed_out; of streams
    also ttfb_ms and is_silent, which are those without a part: where they were answered all the
    same, their first is taken for later than any.
    """
    timed_out = (rows["outcome"].isin(_TIMED_OUT) & rows["ended_ms"].notna()).to_numpy()
    kept = (rows["outcome"] == "ok").to_numpy() | timed_out
    columns = {
        name: rows[name].array[kept] for name in ("arm", "group", "response_ms", "service_ms")
    }
    if "ttfb_ms" in rows:
        is_silent = rows["first_byte_ms"].isna().to_numpy()
        ttfb_ms = np.where(is_silent & ~timed_out, LONGER_THAN_ANY_MS, rows["ttfb_ms"])
        columns |= {"ttfb_ms": ttfb_ms[kept], "is_silent": is_silent[kept]}
    at_s, timed_out = decisive_s(rows)[kept], timed_out[kept]
    return pd.DataFrame({**columns, "at_s": at_s, "timed_out": timed_out}, copy=False)


def until_good_ms(rows: pd.DataFrame, column: str) -> Floats:
    """Give how long each request took to a good answer, or to its first part: for ever without."""
    is_good = rows["outcome"] == "ok"
    if column == "ttfb_ms":
        is_good &= rows["first_byte_ms"].notna()
    return np.where(is_good, rows[column], np.inf)


def outcome_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """Give arm, at_s and outcome of the requests that were sent."""
    sent = (rows["outcome"] != "dropped").to_numpy()
    columns = {name: rows[name].array[sent] for name in ("arm", "outcome")}
    return pd.DataFrame({**columns, "at_s": decisive_s(rows)[sent]}, copy=False)


def decisive_s(rows: pd.DataFrame) -> Floats:
    """Say which moment of the run each request belongs to: of a pair, that of the pair's first.

    `rows` are in the order of the schedule, where the requests of a pair are neighbours.
    """
    at_s = rows["scheduled_ms"].to_numpy(dtype=np.float64) / 1e3
    group = rows["group"].to_numpy(dtype=np.float64)
    firsts = np.arange(len(group))
    firsts[1:][group[1:] == group[:-1]] = 0
    return np.asarray(at_s[np.maximum.accumulate(firsts)])


def latencies_ms(known: pd.DataFrame, measure: Measure) -> tuple[Floats, float]:
    """Give the latencies of `latency_rows`, and below which of them every one is known."""
    values = known[column_of(measure)].to_numpy(dtype=np.float64)
    timed_out = known[_unanswered(measure)].to_numpy(dtype=bool)
    known_to_ms = float(values[timed_out].min(initial=math.inf))
    return np.where(timed_out, LONGER_THAN_ANY_MS, values), known_to_ms


def _unanswered(measure: Measure) -> str:
    return "is_silent" if measure == "first_byte" else "timed_out"


def latencies(
    run: Run, known: pd.DataFrame, baseline: str, arm: str, measure: Measure
) -> Latencies:
    """Give the latencies of two arms among the `latency_rows` of what was measured."""
    values, known_to_ms = latencies_ms(known, measure)
    timed_out = known.loc[known[_unanswered(measure)], "arm"]
    by_arm = {name: int((timed_out == name).sum()) for name in (baseline, arm)}
    unnamed = int(timed_out.isna().sum())
    named = [f"{counted(n, 'request')} of {name}" for name, n in by_arm.items() if n]
    if unnamed:
        named.append(f"{counted(unnamed, 'request')} of no known arm")
    return Latencies(
        sample=_sample(run, known, values, baseline, arm),
        known_to_ms=known_to_ms,
        timed_out=" and ".join(named),
        unnamed=unnamed,
    )


def pairs(run: Run, known: pd.DataFrame, baseline: str, arm: str, measure: Measure) -> Pairs:
    """Give the latencies of the pairs of which both requests have one."""
    is_own = (known["arm"] == baseline) | (known["arm"] == arm)
    own = known if is_own.all() else known[is_own]
    group = own["group"].to_numpy(dtype=np.float64)
    is_second, is_first = np.zeros((2, len(own)), dtype=bool)
    is_second[1:] = is_first[:-1] = group[1:] == group[:-1]
    complete = own[is_first | is_second]
    sent = run.measured["group"].to_numpy(dtype=np.float64)
    sent = sent[~np.isnan(sent)]
    return Pairs(
        latencies=latencies(run, complete, baseline, arm, measure),
        incomplete=int((sent[1:] != sent[:-1]).sum()) + bool(sent.size) - int(is_second.sum()),
    )


def failures(run: Run, sent: pd.DataFrame, baseline: str, arm: str, kind: str | None) -> Sample:
    """Give 1 for each of the `outcome_rows` of two arms that failed, or in one way, else 0."""
    failed = sent["outcome"] != "ok" if kind is None else sent["outcome"] == kind
    return _sample(run, sent, failed.to_numpy(dtype=bool), baseline, arm)


def _sample(
    run: Run, rows: pd.DataFrame, values: Floats | NDArray[np.bool_], baseline: str, arm: str
) -> Sample:
    at_s = rows["at_s"].to_numpy()
    of_baseline, of_arm = ((rows["arm"] == name).to_numpy() for name in (baseline, arm))
    return windowed(
        values[of_baseline],
        at_s[of_baseline],
        values[of_arm],
        at_s[of_arm],
        start_s=run.start_s,
        end_s=run.end_s,
    )
