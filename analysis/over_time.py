"""How did the run go on: latency, rate and failures by the time, and which variants answered.

What is kept has a bounded size however many requests there are, and is counted slice by slice, so
that nothing of the records is copied whole.
"""

import math
from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.read import Run
from analysis.results.seen import Asked, Heat, OverTime, Routed, WhoAnswered
from analysis.results.values import Measure
from analysis.samples import measures_of
from analysis.windows import Ints
from experiments.plan import Plan

MOST_STEPS = 120
BINS = 48
LEAST_MS = 0.001
_STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)
_SLICE = 1 << 20
_BAND = 0.99


def over_time(run: Run) -> OverTime | None:
    """Count a run's requests by time step, latency and outcome; `None` where there is none."""
    rows, end_s = run.requests, run.end_s
    if rows.empty or end_s <= 0:
        return None
    measure = measures_of(run)[0]
    step_s = _step_s(end_s, _STEPS_S)
    steps = _how_many(end_s, step_s)
    low_ms, high_ms = _reach_ms(rows, measure)
    arms, outcomes = list(run.plan.arms), list(_categories(rows, "outcome"))
    heat = np.zeros((len(arms), steps, BINS), dtype=np.int64)
    due, left = np.zeros((2, steps), dtype=np.int64)
    ended = np.zeros((len(outcomes), steps), dtype=np.int64)
    for part in _slices(rows):
        step = _steps(part["scheduled_ms"], step_s, end_s)
        outcome = _codes(part, "outcome", outcomes)
        is_due = step >= 0
        due += np.bincount(step[is_due], minlength=steps)
        started = _steps(part["started_ms"], step_s, end_s)
        left += np.bincount(started[started >= 0], minlength=steps)
        ended += _counts((outcome[is_due], step[is_due]), ended.shape)
        arm = _codes(part, "arm", arms)
        good = is_due & (arm >= 0) & _is_ok(part)
        took_ms = np.maximum(part[f"{measure}_ms"].to_numpy()[good], LEAST_MS)
        place = np.log(took_ms / low_ms) * (BINS / math.log(high_ms / low_ms))
        heat += _counts(
            (arm[good], step[good], place.astype(np.int64).clip(0, BINS - 1)), heat.shape
        )
    lengths_s = np.diff([*(step_s * np.arange(steps)), end_s])
    traffic = run.plan.traffic
    planned = (
        (due / lengths_s).tolist()
        if traffic.trace is not None
        else [_planned_rps(run.plan, (i + 0.5) * step_s) for i in range(steps)]
    )
    return OverTime(
        step_s=step_s,
        measure=measure,
        low_ms=low_ms,
        high_ms=high_ms,
        arms=tuple(
            Heat(arm=name, counts=tuple(map(tuple, own.tolist())))
            for name, own in zip(arms, heat, strict=True)
        ),
        planned_rps=tuple(planned),
        achieved_rps=tuple((left / lengths_s).tolist()),
        errors={
            name: tuple(own.tolist())
            for name, own in zip(outcomes, ended, strict=True)
            if name != "ok" and own.any()
        },
        phases={phase.name: phase.start_s for phase in traffic.phases if phase.start_s < end_s},
    )


def who_answered(run: Run, rows: pd.DataFrame) -> WhoAnswered | None:
    """Count which variants answered the measured `rows`; `None` where no answer names one.

    Bands are those of the binomial distribution, exact.
    """
    shares = {run.plan.variant_of(name) or name: arm.share for name, arm in run.plan.arms.items()}
    seen = {*_categories(rows, "variant_invoked"), *_categories(rows, "variant_asked")}
    variants = [*(name for name in shares if name in seen), *sorted(seen - set(shares))]
    # A stretch is a minute, or less in a short run and more in a long one.
    length_s = run.end_s - run.start_s
    step_s = _step_s(length_s, (10,) if run.end_s < 600 else _STEPS_S[6:])
    steps = _how_many(length_s, step_s)
    n = len(variants)
    asked, routed = np.zeros((n, n + 1), dtype=np.int64), np.zeros((n, steps), dtype=np.int64)
    for part in _slices(rows):
        wanted, got = (_codes(part, f"variant_{of}", variants) for of in ("asked", "invoked"))
        is_pinned = wanted >= 0
        # The last column counts those that no variant answered.
        asked += _counts((wanted[is_pinned], np.where(got < 0, n, got)[is_pinned]), asked.shape)
        step = _steps(part["scheduled_ms"] - run.start_s * 1e3, step_s, length_s)
        kept = ~is_pinned & (got >= 0) & (step >= 0)
        routed += _counts((got[kept], step[kept]), routed.shape)
    if not (asked[:, :n].any() or routed.any()):
        return None
    weights = {name: share / sum(shares.values()) for name, share in shares.items()}
    is_weighted = run.plan.traffic.routing == "weighted"
    return WhoAnswered(
        asked=tuple(
            Asked(
                asked=name,
                answered={v: int(c) for v, c in zip(variants, row[:n], strict=True) if c},
                unanswered=int(row[n]),
            )
            for name, row in zip(variants, asked, strict=True)
            if row.any()
        ),
        routed=tuple(
            _routed(name, weights.get(name, 0.0), own, routed.sum(axis=0))
            for name, own in zip(variants, routed, strict=True)
            if is_weighted and (own.any() or name in weights)
        ),
        start_s=run.start_s,
        step_s=step_s,
    )


def _routed(variant: str, weight: float, own: Ints, all_of: Ints) -> Routed:
    from scipy.stats import binom  # slow to import, and for weighted routing only

    low, high = (
        np.asarray(binom.ppf(q, all_of, weight)) for q in ((1 - _BAND) / 2, (1 + _BAND) / 2)
    )
    pairs = zip(own.tolist(), low.tolist(), high.tolist(), all_of.tolist(), strict=True)
    found = [(o / n, (a / n, b / n)) if n else (None, None) for o, a, b, n in pairs]
    return Routed(
        variant=variant,
        weight=weight,
        shares=tuple(share for share, _ in found),
        band=tuple(band for _, band in found),
    )


def _step_s(length_s: float, choices: tuple[int, ...]) -> float:
    """Give the shortest of the steps of which so long a run has few enough."""
    return next((s for s in choices if length_s <= MOST_STEPS * s), length_s / MOST_STEPS)


def _how_many(length_s: float, step_s: float) -> int:
    """Count steps; what is left of less than half a step goes to the last, as it shows no rate."""
    return max(math.floor(length_s / step_s + 0.5), 1)


def _planned_rps(plan: Plan, at_s: float) -> float | None:
    traffic = plan.traffic
    if not traffic.stages:
        return traffic.rate
    begins_s = traffic.warmup
    for stage in traffic.stages:
        if at_s < begins_s:
            return stage.rate  # the warm-up, at the rate of the first
        if at_s < begins_s + stage.length:
            return stage.rate + (stage.end_rate - stage.rate) * (at_s - begins_s) / stage.length
        begins_s += stage.length
    return None


def _reach_ms(rows: pd.DataFrame, measure: Measure) -> tuple[float, float]:
    """Give the shortest and the longest latency of the good answers."""
    low, high = math.inf, LEAST_MS
    for part in _slices(rows):
        took_ms, good = part[f"{measure}_ms"].to_numpy(), _is_ok(part)
        low = min(low, float(np.min(took_ms, initial=math.inf, where=good)))
        high = max(high, float(np.max(took_ms, initial=LEAST_MS, where=good)))
    low = max(min(low, high), LEAST_MS)
    return low, max(high, 1.01 * low)


def _slices(rows: pd.DataFrame) -> Iterator[pd.DataFrame]:
    for first in range(0, len(rows), _SLICE):
        yield rows.iloc[first : first + _SLICE]


def _categories(rows: pd.DataFrame, name: str) -> list[str]:
    return [str(value) for value in rows[name].dropna().unique()]


def _codes(part: pd.DataFrame, name: str, values: list[str]) -> NDArray[np.int64]:
    """Number each text by its place among the values; -1 is none of them."""
    return pd.Categorical(part[name], categories=values).codes.astype(np.int64)


def _is_ok(part: pd.DataFrame) -> NDArray[np.bool_]:
    return (part["outcome"] == "ok").to_numpy()


def _steps(at_ms: "pd.Series[float]", step_s: float, end_s: float) -> Ints:
    """Number the time step of each moment; -1 is none of them, as before 0 and behind the end.

    A run that was decided ends within a step, whose rate would hold what came later too.
    """
    at_s = np.asarray(at_ms, dtype=np.float64) / 1e3
    step = np.minimum(at_s // step_s, _how_many(end_s, step_s) - 1)
    return np.where((at_s >= 0) & (at_s <= end_s), step, -1).astype(np.int64)


def _counts(places: tuple[Ints, ...], shape: tuple[int, ...]) -> Ints:
    """Count how often each cell is named."""
    flat = np.ravel_multi_index(places, shape)
    return np.bincount(flat, minlength=math.prod(shape)).reshape(shape)
