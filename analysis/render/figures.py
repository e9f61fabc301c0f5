"""Where is the difference, how is it distributed, where does the SLO break? Figures, as SVG."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from analysis.render import capacity as capacities
from analysis.render import figures_canvas as canvas
from analysis.render import format as write
from analysis.render import tables
from analysis.results.capacity import Capacity, RateCall
from analysis.results.comparison import ShiftPoint
from analysis.results.report import Report
from experiments.units import is_of_first_byte, quantile_of

_LEAST_MS = 0.001
"""A log axis has no 0."""


def shift_function(report: Report, *, width_px: int = canvas.WIDE_PX) -> str:
    """Draw each arm's change in percent at each percentile, with its interval, as SVG.

    Percentiles stand at equal distances (Doksum's shift function, 1974, of relative changes).
    Grey boxes are the margins of the guarded percentiles. Points without an interval are not drawn.
    """
    known = shown_shifts(report)
    place = {q: float(i) for i, q in enumerate(sorted({point.quantile for point in known}))}
    points = {name: [p for p in known if p.arm == name] for name in (p.arm for p in known)}
    lines = [
        canvas.Line(
            tables.colour(report, name), name,
            [place[p.quantile] for p in own], [_percent(p.ratio) for p in own],
        )
        for name, own in points.items()
    ]  # fmt: skip
    margins = margins_percent(report)
    baseline = write.plain(tables.baseline(report), 18 if width_px < canvas.WIDE_PX else 40)

    def dress(axes: Axes) -> None:
        axes.set_xlim(-0.5, len(place) - 0.5)
        bottom, top = axes.set_ylim(*_shift_limits(known, list(margins.values())))
        for q in margins.keys() & place.keys():
            across = place[q] - 0.5, place[q] + 0.5
            axes.fill_between(across, -margins[q], margins[q], color=canvas.SHADE, lw=0)
        axes.axhline(0, color=canvas.INK, lw=1)
        for line in lines:
            intervals = [point.interval for point in points[line.name] if point.interval]
            low = [bottom if each.low is None else _percent(each.low) for each in intervals]
            high = [top if each.high is None else _percent(each.high) for each in intervals]
            canvas.band(axes, line, low, high)
        ticks = MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(bottom, top)
        canvas.y_ticks(axes, ticks, sign=True)
        canvas.quantile_ticks(axes, place)
        canvas.above(axes, f"▲ slower than {baseline}, %")
        canvas.below(axes, f"▼ faster than {baseline}, %", is_left=True)

    return canvas.chart("shift", width_px, lines, dress, markers=True)


def shown_shifts(report: Report) -> list[ShiftPoint]:
    """Give the points of the shift function that have an interval."""
    return [point for point in report.shifts if point.interval]


def margins_percent(report: Report) -> dict[float, float]:
    """Return the margin in percent of the baseline at each guarded percentile."""
    return {
        quantile: 100 * d.margin
        for d in report.differences
        if d.margin and not is_of_first_byte(d.metric)
        if (quantile := quantile_of(d.metric))
    }


def _shift_limits(points: Sequence[ShiftPoint], margins: Sequence[float]) -> tuple[float, float]:
    """Return the ends of the vertical axis in percent.

    Intervals may reach three times as far as the widest estimate or margin before they are cut.
    """
    values = [0.0, *(_percent(p.ratio) for p in points), *margins, *(-m for m in margins)]
    reach = 3 * max(map(abs, values)) or 1.0
    ends = [end for p in points if p.interval for end in (p.interval.low, p.interval.high)]
    values += [max(-reach, min(reach, _percent(end))) for end in ends if end is not None]
    bottom, top = min(values), max(values)
    room = 0.08 * (top - bottom) or 1.0
    return bottom - room, top + room


def _percent(ratio: float) -> float:
    return 100 * (ratio - 1)


def percentiles(report: Report, *, width_px: int = canvas.WIDE_PX) -> str:
    """Draw the latency of every arm at each percentile, as SVG.

    Each further nine of the percentile axis has the same width, as in HdrHistogram's plots, and
    the latency axis is logarithmic. Each limit of the SLO goes up to its percentile: a line that
    passes below its end keeps it.
    """
    lines = []
    for i, arm in enumerate(report.arms):
        if shown := [p for p in arm.percentiles if p.quantile < 1]:
            y = [max(tables.latency_ms(p), _LEAST_MS) for p in shown]
            lines.append(canvas.Line(i, arm.name, [_nines(p.quantile) for p in shown], y))
    slo = limits(report)

    def dress(axes: Axes) -> None:
        values = [*slo.values(), *(ms for line in lines for ms in line.y)]
        room = 1.05 * max(max(values) / min(values), 1.02) ** 0.04
        axes.set_yscale("log")
        axes.set_ylim(min(values) / room, max(values) * room)
        first, last = min(line.x[0] for line in lines), max(line.x[-1] for line in lines)
        axes.set_xlim(first - 0.05, max(last, first + 0.1) + 0.02)
        _draw_limits(axes, slo)
        canvas.y_ticks(axes, canvas.log_ticks(axes))
        known = (0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999)
        canvas.quantile_ticks(axes, {q: _nines(q) for q in known})
        canvas.above(axes, f"{tables.judged(report)} time, ms")
        canvas.below(axes, "percentile of requests")

    return canvas.chart("percentiles", width_px, lines, dress)


def limits(report: Report) -> dict[tuple[str, float], float]:
    """Give each latency that the SLO allows over the whole run, by what it is called."""
    whole = [
        (quantile, result.limit_ms, result.arm)
        for result in report.slo
        if result.phase is None and result.window_s is None and result.measure != "first_byte"
        if result.limit_ms and (quantile := quantile_of(result.metric))
    ]
    found = {}
    for quantile, limit_ms, arm in whole:
        is_own = len({ms for q, ms, _ in whole if q == quantile}) > 1
        whose = f" of {write.plain(arm, 12)}" if is_own else ""
        found[f"SLO: {write.quantile(quantile)}{whose}", quantile] = limit_ms
    return found


def _draw_limits(axes: Axes, limits: dict[tuple[str, float], float]) -> None:
    left, right = axes.get_xlim()
    for (_, quantile), limit_ms in limits.items():
        end = min(_nines(quantile), right)
        axes.plot([left, end], [limit_ms] * 2, color=canvas.BAD, lw=1.2, linestyle=(0, (1, 2)))
        axes.plot(end, limit_ms, "v", color=canvas.BAD)
    named = canvas.spaced(
        (limit_ms, name, canvas.pixel(axes, left, limit_ms)[1], 0.65 * canvas.FONT_PX)
        for (name, _), limit_ms in limits.items()
    )
    for limit_ms, name in named.items():
        axes.annotate(name, (left, limit_ms), (4, 6), "data", "offset pixels", color=canvas.BAD)


def _nines(q: float) -> float:
    return -math.log10(1 - q)


def load_curve(report: Report, *, width_px: int = canvas.WIDE_PX) -> str:
    """Draw what each rate showed of the SLO's first latency against the rate, both log, as SVG.

    Bars are intervals, of which a missing end runs out of the figure; the dashed line is the limit,
    the grey band the interval of the highest rate that keeps it. Crosses broke it, rings could not
    be told. Without a capacity there is none.
    """
    seen = report.capacity
    if seen is None:
        return ""
    points = _points(seen)
    x, y = [p.rate_rps for p in points], [p.value for p in points]
    limit = points[0].limit
    lines = [
        canvas.Line(0, seen.arm, x, y),
        canvas.Line(1, "SLO", (x[0], x[-1]), (limit, limit)),
    ]

    def dress(axes: Axes) -> None:
        axes.set(xscale="log", yscale="log")
        left, right = axes.set_xlim(x[0] / 1.1, x[-1] * 1.1)
        bottom, top = axes.set_ylim(min(*y, limit) / 1.5, max(*y, limit) * 1.5)
        if seen.interval is not None:
            low, high = seen.interval.low or left, seen.interval.high or right
            axes.axvspan(low, high, color=canvas.SHADE, lw=0)
            axes.axvline(low, color=canvas.INK, lw=1)
        for p in points:
            ends = max(p.low, bottom), min(p.high, top)
            axes.plot([p.rate_rps] * 2, ends, color=canvas.ARMS[0], lw=3, alpha=0.4)
            face = canvas.ARMS[0] if p.call == "pass" else canvas.PAPER
            kind = "x" if p.call == "fail" else "o"
            axes.plot(p.rate_rps, p.value, kind, color=canvas.ARMS[0], mfc=face, zorder=3)
        canvas.y_ticks(axes, canvas.log_ticks(axes))
        words = {rate: write.rate(rate).removesuffix(" req/s") for rate in x}
        canvas.x_ticks(axes, words, lambda _: 5)
        canvas.above(axes, points[0].unit)
        canvas.below(axes, "requests a second")

    return canvas.chart("load", width_px, lines, dress)


def has_load_curve(report: Report) -> bool:
    """Say whether there are two rates to draw."""
    return report.capacity is not None and len(_points(report.capacity)) > 1


class _Point(NamedTuple):
    rate_rps: float
    call: RateCall
    value: float
    low: float
    high: float
    limit: float
    unit: str


def _points(seen: Capacity) -> list[_Point]:
    """Give each rate's latency, or its failures in percent where the SLO limits only those."""
    points = []
    for found in seen.rates:
        at = capacities.drawn_limit(found)
        if at is None:
            continue
        if at.limit_ms is None:
            value, interval, scale = 100 * at.missed / at.requests, at.interval, 100.0
            unit, limit = "failures, %", 100 * at.allowed
        elif at.value_ms is not None and at.value_interval is not None:
            value, interval, scale = at.value_ms, at.value_interval, 1.0
            unit, limit = f"{capacities.latency_word(at.metric)}, ms", at.limit_ms
        else:
            continue  # failures reach the percentile, so there is no latency to draw
        low = max(scale * (interval.low or 0), _LEAST_MS)
        high = math.inf if interval.high is None else scale * interval.high
        value = max(value, _LEAST_MS)
        points.append(_Point(found.rate_rps, found.call, value, low, high, limit, unit))
    return points
