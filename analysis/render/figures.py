"""Where is the difference, how is it distributed, where does the SLO break? Figures, as SVG."""

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from analysis.render import capacity as capacities
from analysis.render import figures_canvas as canvas
from analysis.render import format as write
from analysis.render import tables
from analysis.results.capacity import Capacity
from analysis.results.comparison import ShiftPoint
from analysis.results.report import Report
from experiments.units import is_of_first_byte, quantile_of

_LEAST_MS = 0.001


def shift_function(report: Report, *, width_px: int = canvas.WIDE_PX) -> str:
    """Draw each arm's change in percent at each percentile, with its interval, as SVG.

    Percentiles stand at equal distances (Doksum's shift function, 1974, of relative changes).
    Grey boxes are the margins of the guarded percentiles. Points without an interval are not drawn.
    """
    known = shown_shifts(report)
    quantiles = sorted({point.quantile for point in known})
    place = {q: float(i) for i, q in enumerate(quantiles)}
    lines = []
    for name in dict.fromkeys(point.arm for point in known):
        points = [point for point in known if point.arm == name]
        lines.append(
            canvas.Line(
                arm=tables.colour(report, name),
                name=name,
                x=tuple(place[point.quantile] for point in points),
                y=tuple(_percent(point.ratio) for point in points),
            )
        )
    margins = margins_percent(report)
    with canvas.styled():
        figure, axes = canvas.axes_for(lines, width_px)
        axes.set_xlim(-0.5, len(quantiles) - 0.5)
        bottom, top = _shift_limits(known, list(margins.values()))
        axes.set_ylim(bottom, top)
        for q, margin in margins.items():
            if q in place:
                left, right = place[q] - 0.5, place[q] + 0.5
                axes.fill_between([left, right], -margin, margin, color=canvas.SHADE, lw=0)
        axes.axhline(0, color=canvas.INK, lw=1)
        for line in lines:
            _band(axes, line, [p for p in known if p.arm == line.name])
            canvas.draw(axes, line, markers=True)
        canvas.y_ticks(
            axes, MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(bottom, top), sign=True
        )
        canvas.quantile_ticks(axes, place)
        baseline = write.plain(tables.baseline(report), 18 if width_px < canvas.WIDE_PX else 40)
        canvas.above(axes, f"▲ slower than {baseline}, %")
        canvas.below(axes, f"▼ faster than {baseline}, %", 0, "left")
        canvas.name_ends(figure, axes, lines, width_px)
        return canvas.svg(figure, f"shift-{width_px}")


def shown_shifts(report: Report) -> list[ShiftPoint]:
    """Give the points of the shift function that have an interval."""
    return [point for point in report.shifts if point.interval]


def percentiles(report: Report, *, width_px: int = canvas.WIDE_PX) -> str:
    """Draw the latency of every arm at each percentile, as SVG.

    Each further nine of the percentile axis has the same width, as in HdrHistogram's plots, and
    the latency axis is logarithmic. Each limit of the SLO goes up to its percentile: a line that
    passes below its end keeps it.
    """
    lines = []
    for i, arm in enumerate(report.arms):
        shown = [p for p in arm.percentiles if p.quantile < 1]
        if shown:
            x = tuple(_nines(p.quantile) for p in shown)
            y = tuple(max(tables.latency_ms(p), _LEAST_MS) for p in shown)
            lines.append(canvas.Line(arm=i, name=arm.name, x=x, y=y))
    with canvas.styled():
        figure, axes = canvas.axes_for(lines, width_px)
        slo = limits(report)
        low = min(*(min(line.y) for line in lines), *slo.values(), math.inf)
        high = max(*(max(line.y) for line in lines), *slo.values(), 0)
        room = 1.05 * max(high / low, 1.02) ** 0.04
        axes.set_yscale("log")
        axes.set_ylim(low / room, high * room)
        first, last = min(line.x[0] for line in lines), max(line.x[-1] for line in lines)
        axes.set_xlim(first - 0.05, max(last, first + 0.1) + 0.02)
        for line in lines:
            canvas.draw(axes, line, markers=False)
        _draw_limits(axes, slo)
        canvas.y_ticks(axes, canvas.log_ticks(axes))
        canvas.quantile_ticks(
            axes, {q: _nines(q) for q in (0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999)}
        )
        canvas.above(axes, f"{tables.judged(report)} time, ms")
        canvas.below(axes, "percentile of requests", 1, "right")
        canvas.name_ends(figure, axes, lines, width_px)
        return canvas.svg(figure, f"percentiles-{width_px}")


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
        axes.annotate(name, (left, limit_ms), (4, 4), "data", "offset pixels", color=canvas.BAD)


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
    x, y = tuple(p.rate_rps for p in points), tuple(p.value for p in points)
    limit = points[0].limit
    lines = [
        canvas.Line(arm=0, name=seen.arm, x=x, y=y),
        canvas.Line(arm=1, name="SLO", x=(x[0], x[-1]), y=(limit, limit)),
    ]
    with canvas.styled():
        figure, axes = canvas.axes_for(lines, width_px)
        axes.set(xscale="log", yscale="log")
        axes.set_xlim(x[0] / 1.1, x[-1] * 1.1)
        bottom, top = min(*y, limit) / 1.5, max(*y, limit) * 1.5
        axes.set_ylim(bottom, top)
        if seen.interval is not None:
            low, high = seen.interval.low or x[0] / 1.1, seen.interval.high or x[-1] * 1.1
            axes.axvspan(low, high, color=canvas.SHADE, lw=0)
            axes.axvline(low, color=canvas.INK, lw=1)
        for line in lines:
            canvas.draw(axes, line, markers=False)
        for p in points:
            ends = max(p.low, bottom), min(p.high, top)
            axes.plot([p.rate_rps] * 2, ends, color=canvas.ARMS[0], lw=3, alpha=0.4)
            face = canvas.ARMS[0] if p.call == "pass" else canvas.PAPER
            marker = "x" if p.call == "fail" else "o"
            axes.plot(p.rate_rps, p.value, marker, color=canvas.ARMS[0], markerfacecolor=face)
        canvas.y_ticks(axes, canvas.log_ticks(axes))
        words = [write.rate(rate_rps).removesuffix(" req/s") for rate_rps in x]
        kept = canvas.spaced(
            (rate, word, canvas.pixel(axes, rate, bottom)[0], 0.3 * canvas.FONT_PX * len(word) + 5)
            for rate, word in zip(x, words, strict=True)
        )
        axes.set_xticks(list(kept), list(kept.values()))
        axes.set_xticks([], minor=True)
        canvas.above(axes, points[0].unit)
        canvas.below(axes, "requests a second", 1, "right")
        canvas.name_ends(figure, axes, lines, width_px)
        return canvas.svg(figure, f"load-{width_px}")


def has_load_curve(report: Report) -> bool:
    """Say whether there are two rates to draw."""
    return report.capacity is not None and len(_points(report.capacity)) > 1


class _Point(NamedTuple):
    rate_rps: float
    value: float
    low: float
    high: float
    limit: float
    unit: str
    call: str


def _points(seen: Capacity) -> list[_Point]:
    """Give each rate's latency, or its failures in percent where the SLO limits only those."""
    points = []
    for found in seen.rates:
        limit = capacities.drawn_limit(found)
        if limit is None:
            continue
        if limit.limit_ms is None:
            value, interval, most = 100 * limit.missed / limit.requests, limit.interval, 100.0
            unit, bound = "failures, %", 100 * limit.allowed
        elif limit.value_ms is not None and limit.value_interval is not None:
            value, interval, most = limit.value_ms, limit.value_interval, 1.0
            of_whole = "" if is_of_first_byte(limit.metric) else " response time"
            unit, bound = f"{write.metric_word(limit.metric)}{of_whole}, ms", limit.limit_ms
        else:
            continue  # failures reach the percentile, so there is no latency to draw
        low, high = (None if end is None else most * end for end in (interval.low, interval.high))
        # A log axis has no 0.
        least = _LEAST_MS if low is None else max(low, _LEAST_MS)
        points.append(
            _Point(
                found.rate_rps, max(value, _LEAST_MS), least,
                math.inf if high is None else high, bound, unit, found.call,
            )
        )  # fmt: skip
    return points


def _nines(q: float) -> float:
    return -math.log10(1 - q)


def _percent(ratio: float) -> float:
    return 100 * (ratio - 1)


def margins_percent(report: Report) -> dict[float, float]:
    """Return the margin in percent of the baseline at each guarded percentile."""
    found = {}
    for d in report.differences:
        match = re.fullmatch(r"p(\d+(?:\.\d+)?)", d.metric)
        if match and d.margin:
            found[round(float(match[1]) / 100, 9)] = 100 * d.margin
    return found


def _band(axes: Axes, line: canvas.Line, points: Sequence[ShiftPoint]) -> None:
    """Shade the interval of each point; an unbounded side runs out of the figure."""
    bottom, top = axes.get_ylim()
    intervals = [point.interval for point in points if point.interval]
    low = [bottom if each.low is None else _percent(each.low) for each in intervals]
    high = [top if each.high is None else _percent(each.high) for each in intervals]
    axes.fill_between(
        line.x, low, high, color=canvas.ARMS[line.arm % len(canvas.ARMS)], alpha=0.18, lw=0
    )


def _shift_limits(points: Sequence[ShiftPoint], margins: Sequence[float]) -> tuple[float, float]:
    """Return the ends of the vertical axis in percent.

    Intervals may reach three times as far as the widest estimate or margin before they are cut.
    """
    values = [0.0, *(_percent(p.ratio) for p in points), *margins, *(-m for m in margins)]
    reach = 3 * max(map(abs, values)) or 1.0
    for interval in (point.interval for point in points if point.interval):
        ends = (interval.low, interval.high)
        values += [max(-reach, min(reach, _percent(end))) for end in ends if end is not None]
    bottom, top = min(values), max(values)
    room = 0.08 * (top - bottom) or 1.0
    return bottom - room, top + room
