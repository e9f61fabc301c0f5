"""What does each figure show, in a sentence for who cannot see it, and in numbers?"""

import math
from collections.abc import Sequence
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from analysis.render import format as write
from analysis.render import tables
from analysis.render.tables import Table
from analysis.results.comparison import ShiftPoint
from analysis.results.report import Report
from analysis.results.run import Percentile
from analysis.results.seen import Heat, OverTime, Routed

Floats = NDArray[np.float64]
_NINES = (0.999, 0.9999, 0.99999)
_MOST_KINDS = 5
_ROWS = 12


def shift_sentence(report: Report) -> str:
    """Say where each arm is slower or faster than the baseline, and where the most."""
    arms = dict.fromkeys(point.arm for point in report.shifts)
    return " ".join(_shift([p for p in report.shifts if p.arm == arm]) for arm in arms)


def _shift(points: list[ShiftPoint]) -> str:
    said = []
    for state, run in groupby(points, key=_state):
        words = [write.quantile(point.quantile) for point in run]
        if state:
            where = f"at {words[0]}" if len(words) == 1 else f"from {words[0]} to {words[-1]}"
            said.append(f"{state} {where}")
    found = " and ".join(said) or "not told apart from the baseline at any percentile"
    if known := [point for point in points if point.interval]:
        most = max(known, key=lambda point: abs(point.ratio - 1))
        change = write.percent_change(most.ratio, None).value
        found += f"; the largest change is {change} at {write.quantile(most.quantile)}"
    return f"{write.plain(points[0].arm)} is {found}."


def _state(point: ShiftPoint) -> str | None:
    interval = point.interval
    if interval and interval.low is not None and interval.low > 1:
        return "slower"
    if interval and interval.high is not None and interval.high < 1:
        return "faster"
    return None


def percentiles_sentence(report: Report) -> str:
    """Say how slow every arm is for a typical request and in its tail."""
    said = []
    for arm in report.arms:
        shown = [p for p in arm.percentiles if p.quantile in (0.5, 0.9, 0.99, 0.999)]
        values = [
            f"{write.quantile(p.quantile)} {write.latency(tables.latency_ms(p))}" for p in shown
        ]
        said.append(f"{write.plain(arm.name)}: {', '.join(values) or write.DASH}.")
    return f"{tables.judged(report).capitalize()} time. " + " ".join(said)


def shifts(report: Report) -> Table:
    """Word the change at each percentile; without an interval there is none."""
    rows = []
    for at in report.shifts:
        change = write.percent_change(at.ratio, at.interval) if at.interval else write.NO_CHANGE
        by = f"\n{write.latency(at.arm_ms - at.baseline_ms, sign=True)}" if at.interval else ""
        values = (write.latency(at.baseline_ms), write.latency(at.arm_ms), change.value + by)
        rows.append(
            (write.quantile(at.quantile), write.plain(at.arm, 24), *values, change.interval_unit)
        )
    baseline = write.plain(tables.baseline(report), 24)
    head = ("percentile", "arm", baseline, "this arm", "change", "interval")
    caption = f"Change of {tables.judged(report)} time at each percentile"
    return Table(caption, head, tuple(rows), ends_in_words=False, left=2)


def percentiles(report: Report) -> Table:
    """Line the arms' percentiles up, at the whole and half percents and the nines; and the means.

    Arms with different numbers of requests have their own grids; these points they share.
    """
    of_arms = [{round(p.quantile, 9): p for p in arm.percentiles} for arm in report.arms]
    round_ones = sorted(
        {q for arm in of_arms for q in arm if q in _NINES or round(200 * q, 6).is_integer()}
    )
    rows = [(write.quantile(q), *(_latencies(arm.get(q)) for arm in of_arms)) for q in round_ones]
    means = [_both(arm.mean_response_ms, arm.mean_service_ms) for arm in report.arms]
    is_response = tables.judged(report) == "response"
    caption = "Response time, and below it service time" if is_response else "Service time"
    head = ("percentile", *(write.plain(arm.name, 24) for arm in report.arms))
    return Table(caption, head, (*rows, ("mean", *means)), ends_in_words=False)


def _latencies(at: Percentile | None) -> str:
    return write.DASH if at is None else _both(at.response_ms, at.service_ms)


def _both(response_ms: float | None, service_ms: float | None) -> str:
    if response_ms is None:
        return write.latency(service_ms)
    return f"{write.latency(response_ms)}\n{write.latency(service_ms)}"


def errors_over_time(found: OverTime) -> dict[str, tuple[int, ...]]:
    """Give the failures of each step by kind, the most frequent first; rare kinds as one."""
    kinds = sorted(found.errors.items(), key=lambda kind: -sum(kind[1]))
    shown = {write.metric_word(name): counts for name, counts in kinds[:_MOST_KINDS]}
    if rare := [counts for _, counts in kinds[_MOST_KINDS:]]:
        shown["other kinds"] = tuple(map(sum, zip(*rare, strict=True)))
    return shown


def over_time(report: Report) -> Table | None:
    """Line up rate, latencies and failures in a dozen stretches of the run."""
    found = report.over_time
    if found is None:
        return None
    errors, starts = errors_over_time(found), _starts(found)
    # A run ends within or soon after its last step, which therefore weighs less or more.
    ends_s = report.run.warmup_s + report.run.measured_s
    steps_s = found.step_s * np.arange(len(found.achieved_rps))
    lengths_s = np.diff([*steps_s, ends_s])
    columns = [
        map(write.duration, steps_s[starts]),
        map(write.rate, _means(found.planned_rps, lengths_s, starts)),
        map(write.rate, _means(found.achieved_rps, lengths_s, starts)),
        *(
            map(write.latency, _quantiles_ms(found, arm, starts, q))
            for arm in found.arms
            for q in (0.5, 0.99)
        ),
        *(map(write.count, np.add.reduceat(counts, starts)) for counts in errors.values()),
    ]
    names = [write.plain(arm.arm, 24) for arm in found.arms]
    head = [f"{name} {q}" for name in names for q in ("p50", "p99")]
    caption = (
        f"By when requests were due, warm-up included; {found.measure} times to the nearest step "
        f"of {write.share(_bin_ratio(found) - 1)}"
    )
    rows = tuple(zip(*columns, strict=True))
    return Table(caption, ("from", "planned", "sent", *head, *errors), rows, ends_in_words=False)


def over_time_sentence(report: Report) -> str:
    """Say between what the arms' medians moved, and when there were failures."""
    found = report.over_time
    if found is None:
        return ""
    said = [f"{found.measure.capitalize()} time over the run."]
    for arm in found.arms:
        medians_ms = _quantiles_ms(found, arm, _starts(found), 0.5)
        if np.isfinite(medians_ms).any():
            ends = write.latency(np.nanmin(medians_ms)), write.latency(np.nanmax(medians_ms))
            name = write.plain(arm.arm, 40)
            said.append(f"{name}: the median of a stretch lay between {ends[0]} and {ends[1]}.")
    for kind, counts in errors_over_time(found).items():
        at = np.flatnonzero(counts)
        first, last = (write.duration(found.step_s * i) for i in (at[0], at[-1] + 1))
        said.append(f"{kind}: {write.count(sum(counts))} between {first} and {last}.")
    return " ".join(said)


def _starts(found: OverTime) -> NDArray[np.int64]:
    """Give the steps with which the stretches begin."""
    steps = len(found.achieved_rps)
    return np.arange(0, steps, math.ceil(steps / _ROWS))


def _means(
    rates_rps: Sequence[float | None], lengths_s: Floats, starts: NDArray[np.int64]
) -> Floats:
    """Give the rate over each stretch, of the steps where it is known, or else nan."""
    rates = np.array(rates_rps, dtype=np.float64)
    weights = np.where(np.isnan(rates), 0.0, lengths_s)
    known_s = np.add.reduceat(weights, starts)
    requests = np.add.reduceat(weights * np.nan_to_num(rates), starts)
    means: Floats = np.full(starts.size, np.nan)
    return np.divide(requests, known_s, out=means, where=known_s > 0)


def _bin_ratio(found: OverTime) -> float:
    """Give the ratio of a bin's upper end to its lower."""
    return float((found.high_ms / found.low_ms) ** (1 / len(found.arms[0].counts[0])))


def _quantiles_ms(found: OverTime, arm: Heat, starts: NDArray[np.int64], quantile: float) -> Floats:
    """Give the middle of the bin that a quantile falls into in each stretch; nan without one."""
    upto = np.add.reduceat(np.array(arm.counts), starts, axis=0).cumsum(axis=1)
    place = (upto < quantile * upto[:, -1:]).sum(axis=1)
    middle_ms: Floats = found.low_ms * _bin_ratio(found) ** (place + 0.5)
    middle_ms[upto[:, -1] == 0] = np.nan
    return middle_ms


def who_answered_sentence(report: Report) -> str:
    """Say each variant's share, and how often it left the band of chance."""
    return " ".join(map(_routed, report.who_answered.routed if report.who_answered else ()))


def _routed(each: Routed) -> str:
    known = [
        (share, band)
        for share, band in zip(each.shares, each.band, strict=True)
        if share is not None and band is not None
    ]
    outside = sum(not low <= share <= high for share, (low, high) in known)
    return (
        f"{write.plain(each.variant, 40)}, at a weight of {write.share(each.weight)}, lay outside "
        f"its band in {outside} of {write.counted(len(known), 'stretch', 'stretches')}."
    )


def who_answered(report: Report) -> Table | None:
    """Line up each variant's share of the answers over the time; `None` where none was routed."""
    found = report.who_answered
    if found is None or not found.routed:
        return None
    rows = [
        (
            write.duration(found.start_s + i * found.step_s),
            *(
                word
                for each in found.routed
                for word in (write.share(each.shares[i]), _band(each.band[i]))
            ),
        )
        for i in range(len(found.routed[0].shares))
    ]
    names = [write.plain(each.variant, 24) for each in found.routed]
    head = ("from", *(word for name in names for word in (name, "by chance")))
    caption = "Share of the answers, and where routing by weight keeps 99 in 100 of such stretches"
    return Table(caption, head, tuple(rows), ends_in_words=False)


def _band(band: tuple[float, float] | None) -> str:
    return write.DASH if band is None else " to ".join(map(write.share, band))
