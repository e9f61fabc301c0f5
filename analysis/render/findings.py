"""What does each figure show, in a sentence for who cannot see it, and in numbers?"""

import math
from collections.abc import Sequence
from itertools import groupby

import numpy as np

from analysis.render import format as write
from analysis.render import tables
from analysis.render.capacity import Table
from analysis.results.comparison import ShiftPoint
from analysis.results.report import Report
from analysis.results.run import Percentile
from analysis.results.seen import Heat, OverTime, Routed

_NINES = (0.999, 0.9999, 0.99999)
_MOST_KINDS = 5
_ROWS = 12


def shift_sentence(report: Report) -> str:
    """Say where each arm is slower or faster than the baseline, and where the most."""
    arms = dict.fromkeys(point.arm for point in report.shifts)
    return " ".join(_shift([p for p in report.shifts if p.arm == arm]) for arm in arms)


def _shift(points: list[ShiftPoint]) -> str:
    arm = write.plain(points[0].arm)
    said = []
    for state, run in groupby(points, key=_state):
        words = [write.quantile(point.quantile) for point in run]
        first, last = words[0], words[-1]
        if state:
            said.append(
                f"{state} at {first}" if first == last else f"{state} from {first} to {last}"
            )
    found = f"{arm} is {' and '.join(said) or 'not told apart from the baseline at any percentile'}"
    known = [point for point in points if point.interval]
    if not known:
        return f"{found}."
    most = max(known, key=lambda point: abs(point.ratio - 1))
    change = write.percent_change(most.ratio, None).value
    return f"{found}; the largest change is {change} at {write.quantile(most.quantile)}."


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
    errors = errors_over_time(found)
    # A run ends within its last step, which therefore weighs less.
    ends_s = report.run.warmup_s + report.run.measured_s
    steps = range(len(found.achieved_rps))
    lengths_s = [min(found.step_s, ends_s - found.step_s * step) for step in steps]
    rows = tuple(
        (
            write.duration(part.start * found.step_s),
            write.rate(_mean(found.planned_rps, part, lengths_s)),
            write.rate(_mean(found.achieved_rps, part, lengths_s)),
            *(
                write.latency(_quantile(found, arm, part, q))
                for arm in found.arms
                for q in (0.5, 0.99)
            ),
            *(write.count(sum(counts[part])) for counts in errors.values()),
        )
        for part in _stretches(found)
    )
    names = [write.plain(arm.arm, 24) for arm in found.arms]
    head = [f"{name} {q}" for name in names for q in ("p50", "p99")]
    caption = (
        f"By when requests were due, warm-up included; {found.measure} times to the nearest step "
        f"of {write.share(_step(found) - 1)}"
    )
    return Table(caption, ("from", "planned", "sent", *head, *errors), rows, ends_in_words=False)


def over_time_sentence(report: Report) -> str:
    """Say between what the arms' medians moved, and when there were failures."""
    found = report.over_time
    if found is None:
        return ""
    said, parts = [], _stretches(found)
    for arm in found.arms:
        medians = [m for part in parts if (m := _quantile(found, arm, part, 0.5)) is not None]
        if medians:
            said.append(
                f"{write.plain(arm.arm, 40)}: the median of a stretch lay between "
                f"{write.latency(min(medians))} and {write.latency(max(medians))}."
            )
    for kind, counts in errors_over_time(found).items():
        at = [i for i, count in enumerate(counts) if count]
        first, last = (write.duration(found.step_s * i) for i in (at[0], at[-1] + 1))
        said.append(f"{kind}: {write.count(sum(counts))} between {first} and {last}.")
    return f"{found.measure.capitalize()} time over the run. {' '.join(said)}".strip()


def _stretches(found: OverTime) -> list[slice]:
    steps = len(found.achieved_rps)
    size = math.ceil(steps / _ROWS)
    return [slice(first, first + size) for first in range(0, steps, size)]


def _mean(rates_rps: Sequence[float | None], part: slice, lengths_s: list[float]) -> float | None:
    """Give the rate over a stretch, of the steps where it is known."""
    pairs = zip(rates_rps[part], lengths_s[part], strict=True)
    known = [(rate, length_s) for rate, length_s in pairs if rate is not None]
    return sum(r * s for r, s in known) / sum(s for _, s in known) if known else None


def _step(found: OverTime) -> float:
    """Give the ratio of a bin's upper end to its lower."""
    return float((found.high_ms / found.low_ms) ** (1 / len(found.arms[0].counts[0])))


def _quantile(found: OverTime, arm: Heat, part: slice, quantile: float) -> float | None:
    """Give the middle of the bin that a quantile falls into."""
    upto = np.array(arm.counts[part]).sum(axis=0).cumsum()
    if not upto[-1]:
        return None
    place = int(np.searchsorted(upto, quantile * upto[-1]))
    return float(found.low_ms * _step(found) ** (place + 0.5))


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
