"""What do the rows, sentences and interval drawings of a report say, in whichever renderer."""

import math
from dataclasses import dataclass, replace
from itertools import groupby

from analysis.differences import is_kind
from analysis.render import capacity
from analysis.render import format as write
from analysis.results import (
    Answers,
    AnswersDifference,
    Call,
    Difference,
    Measure,
    Percentile,
    Report,
    RunValues,
    ShiftPoint,
    SloResult,
)

LATENCY: dict[Measure, str] = {
    "response": "response time, from when each request was due",
    "service": "service time, from when each request left",
}
_NINES = (0.999, 0.9999, 0.99999)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class SmoothedRow:
    """A smoothed percentile as words: which, over what, its change, and what contradicts it."""

    label: str
    band: str
    change: write.Change
    conflict: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SloRow:
    """One limit of the SLO, as words: what it asks, where, and what was found."""

    source: SloResult
    asks: str
    where: str
    value: str
    missed: str
    interval: str
    allowed: str
    word: str


def slo_rows(report: Report) -> tuple[SloRow, ...]:
    """Word every limit of the SLO, in the plan's order."""
    return tuple(
        SloRow(
            source=result,
            asks=f"{result.metric} \u2264 {write.latency(result.limit_ms)}"
            if result.limit_ms is not None
            else "failures",
            where=_slo_scope(result),
            value=write.DASH if result.value_ms is None else write.latency(result.value_ms),
            missed=write.share(result.missed / result.requests) if result.requests else write.DASH,
            interval=write.share_interval(result.interval),
            allowed=write.share(result.allowed),
            word=write.SLO_WORDS[result.call],
        )
        for result in report.slo
    )


def _slo_scope(result: SloResult) -> str:
    where = write.plain(result.phase, 24) if result.phase else "whole run"
    if result.window_s is None:
        return where
    each = f"any {write.duration(result.window_s)} of {where}"
    if result.at_s is None or not result.missed:
        return each
    return f"{each}, worst at {write.duration(result.at_s)}"


def slo_notes(report: Report) -> tuple[str, ...]:
    """Say why limits have no verdict, or what settled them; a reason that many share once."""
    return tuple(dict.fromkeys(result.reason for result in report.slo if result.reason))


def state(report: Report) -> tuple[str, str]:
    """Give the verdict's sign and its word; a gate's are PASS and FAIL."""
    found = report.verdict.state
    if report.question == "regression" and found in _GATE_STATES:
        return _GATE_STATES[found]
    if report.capacity is not None and found in capacity.STATES:
        return capacity.STATES[found]
    return write.STATE_SYMBOLS[found], write.STATE_WORDS[found]


def run_metrics(report: Report) -> tuple[str, ...]:
    """List the metrics of which each of several runs gives a number."""
    return tuple(report.runs[0].values) if report.runs else ()


def run_value(run: RunValues, metric: str) -> str:
    """Write one run's number."""
    value = run.values.get(metric)
    return write.share(value) if metric == "error_rate" else write.latency(value)


def run_sentences(report: Report) -> tuple[str, ...]:
    """List each metric's numbers side by side, in the order of the runs."""
    sides = dict.fromkeys(run.arm for run in report.runs)
    return tuple(
        f"{write.metric_word(metric)}, run by run: "
        + "; ".join(
            f"{_name(side)} "
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


def level(report: Report) -> str:
    """Write the level of the report's intervals: "95%"."""
    for difference in report.differences:
        estimate = difference.ratio or difference.difference
        if estimate:
            return f"{100 * estimate.interval.level:.10g}%"
    return "95%"


def rows(report: Report, arm: str, *measures: Measure) -> tuple[Row, ...]:
    """Word every metric of one arm that has one of the measures, in the report's order."""
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


def smoothed_rows(shown: tuple[Row, ...]) -> tuple[SmoothedRow, ...]:
    """Word the smoothed percentiles that stand beside those of the rows."""
    return tuple(
        SmoothedRow(
            label=row.label,
            band=write.DASH.join(write.quantile(q) for q in found.band),
            change=write.ratio_change(found.ratio) or write.NO_CHANGE,
            conflict=f"conflict with {row.label}: {found.conflict}" if found.conflict else "",
        )
        for row in shown
        if (found := row.source.smoothed)
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


def answer_sentences(answers: Answers | None) -> tuple[str, ...]:
    """Say for each arm whether it answers like the baseline, and which is right more often."""
    if answers is None:
        return ()
    shares = tuple(
        f"{_name(a.arm)} is right on {write.share(a.share)} of "
        f"{write.counted(a.payloads, 'payload')} ({write.share_interval(a.interval)})."
        for a in answers.arms
        if a.share is not None
    )
    rights = tuple(_right(d) for d in answers.differences)
    return (*agreement_sentences(answers), *filter(None, rights), *shares)


def agreement_sentences(answers: Answers | None) -> tuple[str, ...]:
    """Say for each arm how often it answers like the baseline."""
    return tuple(_agreement(d) for d in answers.differences) if answers else ()


def _name(arm: str) -> str:
    return write.plain(arm, 40)


def _agreement(d: AnswersDifference) -> str:
    arm, baseline = _name(d.arm), _name(d.baseline)
    if d.agreement is None:
        return f"{arm} and {baseline}: {d.reason or 'no payload was answered by both'}."
    said = (
        f"{arm} and {baseline} agree on {write.share(d.agreement)} of "
        f"{write.counted(d.payloads, 'payload')} ({write.share_interval(d.agreement_interval)})"
    )
    if d.unstable:
        said += f"; {write.counted(d.unstable, 'payload')} got more than one answer from one arm"
    return f"{said}."


def _right(d: AnswersDifference) -> str:
    if d.only_arm_right is None or d.only_baseline_right is None:
        return ""
    arm, baseline = _name(d.arm), _name(d.baseline)
    finding = {
        "better": f"{arm} is right more often",
        "worse": f"{arm} is right less often",
        "same": "No difference in being right that matters",
        "undecided": "Which is right more often cannot be told yet",
        "refused": "Too few payloads to tell which is right more often",
    }[d.call]
    p = "" if d.p_value is None else f" (p {_equals(write.p_value(d.p_value))})"
    return (
        f"{finding}: only {arm} right on {write.count(d.only_arm_right)}, "
        f"only {baseline} on {write.count(d.only_baseline_right)}{p}."
    )


def errors_sentence(report: Report) -> str:
    """Count the failures by arm and kind."""
    said = (
        f"{_name(error.arm or 'no arm')} {write.count(error.count)} {error.outcome}"
        for error in report.errors
    )
    return f"Errors: {', '.join(said)}." if report.errors else ""


def _equals(p: str) -> str:
    return p if p.startswith("<") else f"= {p}"


def shift_sentence(report: Report) -> str:
    """Say where each arm is slower or faster than the baseline, and where the most."""
    arms = dict.fromkeys(point.arm for point in report.shifts)
    return " ".join(_shift([p for p in report.shifts if p.arm == arm]) for arm in arms)


def _shift(points: list[ShiftPoint]) -> str:
    arm = _name(points[0].arm)
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
        values = [f"{write.quantile(p.quantile)} {write.latency(latency_ms(p))}" for p in shown]
        said.append(f"{_name(arm.name)}: {', '.join(values) or write.DASH}.")
    return f"{judged(report).capitalize()} time. " + " ".join(said)


def percentile_rows(report: Report) -> tuple[tuple[str, tuple[Percentile | None, ...]], ...]:
    """Line the arms' percentiles up, at the whole and half percents and the nines.

    Arms with different numbers of requests have their own grids; these points they share.
    """
    of_arms = [{round(p.quantile, 9): p for p in arm.percentiles} for arm in report.arms]
    round_ones = sorted(
        {q for arm in of_arms for q in arm if q in _NINES or round(200 * q, 6).is_integer()}
    )
    return tuple((write.quantile(q), tuple(arm.get(q) for arm in of_arms)) for q in round_ones)
