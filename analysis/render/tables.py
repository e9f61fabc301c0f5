"""What do the rows, sentences and interval drawings of a report say, in whichever renderer."""

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

from analysis.differences import is_kind
from analysis.render import format as write
from analysis.results.comparison import Difference
from analysis.results.report import Report
from analysis.results.run import Percentile, RunInfo
from analysis.results.values import Call, Measure

LATENCY: dict[Measure, str] = {
    "response": "response time, from when each request was due",
    "service": "service time, from when each request left",
    "first_byte": "time to the first byte (TTFB)",
}
GATE_WORDS: dict[Call, str] = {
    "worse": "✗ FAIL",
    "better": "✓ PASS",
    "same": "✓ PASS",
    "undecided": "? undecided",
    "refused": f"{write.DASH} no verdict",
}
_STATES = {
    "regression": {"worse": "✗ FAIL", "same": "✓ PASS"},
    "capacity": {"met": "✓ Capacity found", "broken": "✗ No rate keeps the SLO"},
}
"""What a question calls a state in words of its own."""
_FAR = 9.0
"""Stands for where an unbounded interval ends, far beyond the axis."""
NOT_TO_BE_RELIED_ON = "This run cannot be trusted; its numbers are shown for diagnosis only."


class Table(NamedTuple):
    """Words in rows: the first `left` columns name the row, and the last may say what was found.

    A line break in a word begins a second, smaller line. `calls` colour the second column.
    """

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    ends_in_words: bool = True
    left: int = 1
    calls: tuple[str, ...] = ()


class Drawing(NamedTuple):
    """An interval on an axis drawn from -1 to 1, with no difference in the middle.

    Latency is on a log axis, so that half and double lie equally far out. What lies beyond the axis
    is not drawn but as an open end. `margin` is the half-width of what does not matter.
    """

    value: float
    low: float
    high: float
    margin: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One metric of one arm, as words.

    `change` is relative, or in points for error rates; `absolute` is the point difference in time.
    """

    source: Difference
    label: str
    baseline: str
    arm: str
    change: write.Change
    absolute: str | None
    word: str
    drawing: Drawing | None


def state(report: Report) -> str:
    """Give the verdict's sign and its word; a gate's are PASS and FAIL."""
    found = report.verdict.state
    return _STATES.get(report.question, {}).get(found, write.STATE_WORDS[found])


def shade(report: Report, found: str) -> str:
    """Name what colours a state or a call; what passes a gate is as good as what meets an SLO."""
    return "met" if report.question == "regression" and found == "same" else found


def subject(report: Report) -> dict[str, str]:
    """Say what was compared; of several runs, by side where the sides differ."""
    found: dict[str, dict[str, dict[str, None]]] = {}
    for run in report.runs:
        for key, value in run.subject.items():
            found.setdefault(key, {}).setdefault(run.arm, {})[value] = None
    said = {}
    for key, by_side in found.items():
        if len({tuple(values) for values in by_side.values()}) == 1:
            said[key] = " / ".join(next(iter(by_side.values())))
        else:
            said |= {f"{key}, {side}": " / ".join(values) for side, values in by_side.items()}
    return said or report.run.subject


def beside_conditions(run: RunInfo) -> dict[str, str]:
    """Say of the machine and the versions what the conditions do not."""
    said = {key.removeprefix("client ").lower() for key in run.conditions}
    found = run.host | run.versions
    return {key: value for key, value in found.items() if key.lower() not in said}


def judged(report: Report) -> Measure:
    """Give the latency that the verdict is about: service time in a closed loop."""
    return "service" if report.run.arrivals == "closed" else "response"


def beside(report: Report, arm: str) -> tuple[Row, ...]:
    """Word the service times that stand beside response times."""
    return rows(report, arm, "service") if judged(report) == "response" else ()


def latency_ms(at: Percentile) -> float:
    """Give the latency that the verdict is about."""
    return at.service_ms if at.response_ms is None else at.response_ms


def compared(report: Report) -> tuple[tuple[str, str], ...]:
    """List each (arm, baseline) once, in the report's order."""
    return tuple(dict.fromkeys((d.arm, d.baseline) for d in report.differences))


def baseline(report: Report) -> str:
    """Name the arm that the others are compared with."""
    return next((d.baseline for d in report.differences), report.arms[0].name)


def colour(report: Report, arm: str) -> int:
    """Number an arm's colour: its place among the arms."""
    names = [each.name for each in report.arms]
    return names.index(arm) if arm in names else 1


def level(report: Report) -> str:
    """Write the level of the report's intervals: "95%"."""
    for difference in report.differences:
        estimate = difference.ratio or difference.difference
        if estimate:
            return f"{100 * estimate.interval.level:.10g}%"
    return "95%"


def rows(report: Report, arm: str, *measures: Measure) -> tuple[Row, ...]:
    """Word every metric of one arm that has one of the measures, in the report's order.

    The time to a stream's first byte stands with the latency that is judged.
    """
    if judged(report) in measures:
        measures = (*measures, "first_byte")
    chosen = [d for d in report.differences if d.arm == arm and d.measure in measures]
    latency_span = _span([d for d in chosen if d.unit == "ms"])
    made = (_row(d, latency_span if d.unit == "ms" else _span([d])) for d in chosen)
    if report.question != "regression":
        return tuple(made)
    return tuple(replace(row, word=GATE_WORDS[row.source.call]) for row in made)


def _row(difference: Difference, span: float) -> Row:
    is_latency = difference.unit == "ms"
    value = write.latency if is_latency else write.share
    before, after = difference.baseline_value, difference.arm_value
    return Row(
        source=difference,
        label=write.metric_word(difference.metric.removeprefix("error_rate.")),
        baseline=value(before),
        arm=value(after),
        change=write.change(difference),
        absolute=write.latency(after - before, sign=True)
        if is_latency and before is not None and after is not None and difference.call != "refused"
        else None,
        word=write.DASH if is_kind(difference) else write.call_word(difference),
        drawing=_drawing(difference, span),
    )


def _axis(difference: Difference) -> list[float | None]:
    """Place value, low, high and margin on an additive axis: log for latency, plain for shares."""
    estimate = difference.ratio if difference.unit == "ms" else difference.difference
    if estimate is None:
        return [None] * 4
    ends = [estimate.value, estimate.interval.low, estimate.interval.high]
    if difference.unit == "share":
        return [*ends, difference.margin]
    logs = [math.log(ratio) if ratio is not None and ratio > 0 else None for ratio in ends]
    return [*logs, math.log1p(difference.margin) if difference.margin else None]


def _span(differences: list[Difference]) -> float:
    """Return what the drawn half-axis holds: every guarded metric, or all where none is."""
    guarded = [d for d in differences if d.margin is not None]
    reach = [abs(x) for d in guarded or differences for x in _axis(d) if x is not None]
    return 1.15 * max(reach, default=0) or 1.0


def _drawing(difference: Difference, span: float) -> Drawing | None:
    value, low, high, margin = (None if x is None else x / span for x in _axis(difference))
    if value is None:
        return None
    return Drawing(value, -_FAR if low is None else low, _FAR if high is None else high, margin)


def smoothed_sentence(shown: tuple[Row, ...]) -> str:
    """Say what smoothed percentiles rest on, and that they do not decide."""
    found = next((row.source.smoothed for row in shown if row.source.smoothed), None)
    if found is None:
        return ""
    return (
        f"Percentiles smoothed over their neighbours, from {write.counted(found.pairs, 'pair')} "
        f"({write.count(found.incomplete_pairs)} incomplete left out); those above decide"
    )


def smoothed(shown: tuple[Row, ...], level: str) -> Table:
    """Line up the smoothed percentiles that stand beside those of the rows."""
    rows = tuple(
        (
            f"{row.label} over {write.DASH.join(map(write.quantile, found.band))}",
            change.value,
            change.interval_unit,
            "disagrees" if found.conflict else "",
        )
        for row in shown
        if (found := row.source.smoothed)
        for change in (write.ratio_change(found.ratio),)
    )
    caption = "Change of each percentile smoothed over a band of its neighbours"
    return Table(caption, ("smoothed", "change", f"{level} interval", ""), rows)


def behind(shown: tuple[Row, ...]) -> Table:
    """Line up what the findings rest on."""
    rows = tuple(
        (
            row.label, of.measure, write.margin(of) or write.DASH, write.count(of.tail_requests),
            write.p_value(of.p_value), write.p_value(of.p_value_holm),
            write.DASH if of.autocorrelation is None else write.number(of.autocorrelation, 2),
        )
        for row in shown
        for of in (row.source,)
    )  # fmt: skip
    head = ("metric", "measure", "margin", "beyond", "p", "p, Holm", "autocorrelation")
    caption = (
        "Requests beyond the percentile (or failed), the two-sided p-value, the same after Holm, "
        "and the autocorrelation of the windows"
    )
    return Table(caption, head, rows, ends_in_words=False, left=2)


def notes(report: Report, shown: tuple[Row, ...]) -> tuple[str, ...]:
    """Say why rows have no call, or what contradicts it; rows with the same reason share a line.

    Of a run that is not trusted only what has no figure: what would settle the others rests on it.
    """
    labels: dict[str, list[str]] = {}
    for row in shown:
        if report.verdict.validity == "INVALID" and row.source.call != "refused":
            continue
        found = row.source.smoothed
        conflict = f"its smoothed change disagrees: {found.conflict}" if found else None
        for said in (row.source.reason, conflict if found and found.conflict else None):
            if said:
                labels.setdefault(said, []).append(row.label)
    return tuple(
        f"{', '.join(named)}: {why[:1].lower()}{why[1:].rstrip('.')}."
        for why, named in labels.items()
    )


def margins_sentence(report: Report) -> str:
    """Name the margins of the guarded metrics, or say that there are none."""
    margins = {
        write.metric_word(d.metric): write.margin(d)
        for d in report.differences
        if d.margin is not None
    }
    if not margins:
        return "No metric has a margin, so none can be called the same."
    listed = ", ".join(f"{metric} {margin}" for metric, margin in margins.items())
    return f"Margins: {listed}. Inside its margin a difference does not matter."


def counts_sentence(report: Report) -> str:
    """Account for every planned request."""
    c = report.run.counts
    return (
        f"{write.count(c.planned)} planned = {write.count(c.ended)} ended + "
        f"{write.count(c.dropped)} dropped + {write.count(c.unsent)} unsent + "
        f"{write.count(c.missing)} missing"
    )
