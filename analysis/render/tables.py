"""What do the rows, sentences and interval drawings of a report say, in whichever renderer."""

import math
from dataclasses import dataclass, replace

from analysis.differences import is_kind
from analysis.render import capacity
from analysis.render import format as write
from analysis.results.comparison import Difference
from analysis.results.report import Report
from analysis.results.run import Percentile, RunInfo, RunValues
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
_GATE_STATES = {"worse": ("✗", "FAIL"), "same": ("✓", "PASS")}
NOT_TO_BE_RELIED_ON = "This run cannot be trusted; its numbers are shown for diagnosis only."


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """An interval on an axis from -1 to 1 with 0, no difference, in the middle.

    Latency is on a log axis, so that half and double lie equally far out. An end at -1 or 1 goes
    on beyond the drawing where `open_low` or `open_high` says so. `margin` is the half-width of
    what does not matter.
    """

    value: float
    low: float
    high: float
    open_low: bool
    open_high: bool
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
    change: write.Change | None
    absolute: str | None
    word: str
    drawing: Drawing | None


def state(report: Report) -> tuple[str, str]:
    """Give the verdict's sign and its word; a gate's are PASS and FAIL."""
    found = report.verdict.state
    if report.question == "regression" and found in _GATE_STATES:
        return _GATE_STATES[found]
    if report.capacity is not None and found in capacity.STATES:
        return capacity.STATES[found]
    return write.STATE_SYMBOLS[found], write.STATE_WORDS[found]


def shade(report: Report, found: str) -> str:
    """Name what colours a state or a call; what passes a gate is as good as what meets an SLO."""
    return "met" if report.question == "regression" and found == "same" else found


def run_metrics(report: Report) -> tuple[str, ...]:
    """List the metrics of which each of several runs gives a number."""
    return tuple(report.runs[0].values) if report.runs else ()


def run_value(run: RunValues, metric: str) -> str:
    """Write one run's number."""
    value = run.values.get(metric)
    return write.share(value) if metric == "error_rate" else write.latency(value)


def runs(report: Report) -> capacity.Table:
    """Line up the numbers of each of several runs."""
    metrics = run_metrics(report)
    rows = tuple(
        (
            f"{write.plain(run.run)}\n{run.started_at}",
            write.plain(run.arm, 24),
            write.count(run.requests),
            *(run_value(run, metric) for metric in metrics),
        )
        for run in report.runs
    )
    head = ("run", "arm", "requests", *map(write.metric_word, metrics))
    caption = f"The numbers that each run gives: {LATENCY[judged(report)]}, and failures"
    return capacity.Table(caption, head, rows, ends_in_words=False, left=2)


def run_sentences(report: Report) -> tuple[str, ...]:
    """List each metric's numbers side by side, in the order of the runs."""
    sides = dict.fromkeys(run.arm for run in report.runs)
    return tuple(
        f"{write.metric_word(metric)}, run by run: "
        + "; ".join(
            f"{write.name(side)} "
            + ", ".join(run_value(run, metric) for run in report.runs if run.arm == side)
            for side in sides
        )
        + "."
        for metric in run_metrics(report)
    )


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
        change=write.ratio_change(difference.ratio)
        if is_latency
        else write.points_change(difference.difference),
        absolute=write.latency(after - before, sign=True)
        if is_latency and before is not None and after is not None and difference.call != "refused"
        else None,
        word=write.DASH if is_kind(difference) else write.call_word(difference),
        drawing=_drawing(difference, span),
    )


def _axis(difference: Difference) -> tuple[float | None, float | None, float | None, float | None]:
    """Place value, low, high and margin on an additive axis: log for latency, plain for shares."""

    def log(ratio: float | None) -> float | None:
        return math.log(ratio) if ratio is not None and ratio > 0 else None

    if difference.unit == "ms":
        e, m = difference.ratio, difference.margin
        if e is None:
            return None, None, None, None
        return log(e.value), log(e.interval.low), log(e.interval.high), log(1 + (m or 0)) or None
    e = difference.difference
    if e is None:
        return None, None, None, None
    return e.value, e.interval.low, e.interval.high, difference.margin


def _span(differences: list[Difference]) -> float:
    """Return what the drawn half-axis holds: every guarded metric, or all where none is."""
    guarded = [d for d in differences if d.margin is not None]
    reach = [abs(x) for d in guarded or differences for x in _axis(d) if x is not None]
    return 1.15 * max(reach, default=0) or 1.0


def _drawing(difference: Difference, span: float) -> Drawing | None:
    value, low, high, margin = _axis(difference)
    if value is None:
        return None

    def clip(x: float) -> float:
        return max(-1.0, min(1.0, x / span))

    return Drawing(
        value=clip(value),
        low=-1.0 if low is None else clip(low),
        high=1.0 if high is None else clip(high),
        open_low=low is None or low < -span,
        open_high=high is None or high > span,
        margin=None if margin is None else clip(margin),
    )


def smoothed_sentence(shown: tuple[Row, ...]) -> str:
    """Say what smoothed percentiles rest on, and that they do not decide."""
    found = next((row.source.smoothed for row in shown if row.source.smoothed), None)
    if found is None:
        return ""
    return (
        f"Percentiles smoothed over their neighbours, from {write.counted(found.pairs, 'pair')} "
        f"({write.count(found.incomplete_pairs)} incomplete left out); those above decide"
    )


def smoothed(shown: tuple[Row, ...], level: str) -> capacity.Table:
    """Line up the smoothed percentiles that stand beside those of the rows."""
    rows = tuple(
        (
            f"{row.label} over {write.DASH.join(map(write.quantile, found.band))}",
            change.value,
            change.interval_unit,
            f"conflict with {row.label}: {found.conflict}" if found.conflict else "",
        )
        for row in shown
        if (found := row.source.smoothed)
        for change in (write.ratio_change(found.ratio) or write.NO_CHANGE,)
    )
    caption = "Change of each percentile smoothed over a band of its neighbours"
    return capacity.Table(caption, ("smoothed", "change", f"{level} interval", ""), rows)


def behind(shown: tuple[Row, ...]) -> capacity.Table:
    """Line up what the findings rest on."""
    rows = tuple(
        (
            row.label, of.measure, write.margin(of) or write.DASH, write.count(of.tail_requests),
            write.p_value(of.p_value), write.p_value(of.p_value_holm),
            write.coefficient(of.autocorrelation),
        )
        for row in shown
        for of in (row.source,)
    )  # fmt: skip
    head = ("metric", "measure", "margin", "beyond", "p", "p, Holm", "autocorrelation")
    caption = (
        "Requests beyond the percentile (or failed), the two-sided p-value, the same after Holm, "
        "and the autocorrelation of the windows"
    )
    return capacity.Table(caption, head, rows, ends_in_words=False, left=2)


def notes(shown: tuple[Row, ...]) -> tuple[str, ...]:
    """Say why rows have no call; rows with the same reason share a line."""
    labels: dict[str, list[str]] = {}
    for row in shown:
        if row.source.reason:
            labels.setdefault(row.source.reason, []).append(row.label)
    return tuple(f"{', '.join(named)}: {reason}" for reason, named in labels.items())


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
