"""Where is the difference, how is it distributed, where does the SLO break? Figures, as SVG.

One SVG serves light and dark: it is drawn in sentinel colours, which become CSS variables of the
page. Text stays text, so it is selectable and takes the page's font; matplotlib's own font is
wider than a system font, so what fits here fits there. The same report gives the same bytes.
"""

import io
import math
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from analysis.render import capacity as capacities
from analysis.render import format as write
from analysis.render import tables
from analysis.results import Capacity, Interval, Report, ShiftPoint

WIDE_PX, NARROW_PX = 736, 343
_HEIGHT_PX = 300
_TOP_PX, _BOTTOM_PX, _LEFT_PX = 30, 44, 58
_LEAST_MS = 0.001
_FONT_PX, _BOLD_CHARACTER_PX = 12, 8.6

_INK, _MUTED, _RULE, _SHADE, _PAPER = "#010101", "#020202", "#030303", "#040404", "#050505"
_ARMS = ("#0a0a0a", "#0b0b0b", "#0c0c0c", "#0d0d0d")
_DASHES: tuple[object, ...] = ("solid", (0, (5, 2)), (0, (1.5, 1.5)), (0, (7, 2, 1.5, 2)))
_VARIABLES = {
    _INK: "var(--ink)",
    _MUTED: "var(--muted)",
    _RULE: "var(--rule)",
    _SHADE: "var(--shade)",
    _PAPER: "var(--paper)",
    **dict(zip(_ARMS, ("var(--a)", "var(--b)", "var(--c)", "var(--d)"), strict=True)),
}
_NAMESPACES = (
    'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
    'stroke-linejoin="round"'
)
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "abreast",
    "font.size": _FONT_PX,
    "text.color": _INK,
    "text.parse_math": False,
    "axes.unicode_minus": True,
    "lines.linewidth": 1.8,
    "lines.markersize": 4.5,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """One arm's line in data units; `arm` counts from the baseline, which is 0."""

    arm: int
    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]


def shift_function(report: Report, *, width_px: int = WIDE_PX) -> str:
    """Draw each arm's change in percent at each percentile, with its interval, as SVG.

    Percentiles stand at equal distances (Doksum's shift function, 1974, of relative changes).
    Grey boxes are the margins of the guarded percentiles. Raises ValueError without any shift
    point.
    """
    names = [arm.name for arm in report.arms]
    quantiles = sorted({point.quantile for point in report.shifts})
    place = {q: float(i) for i, q in enumerate(quantiles)}
    lines = []
    for name in dict.fromkeys(point.arm for point in report.shifts):
        points = [point for point in report.shifts if point.arm == name]
        lines.append(
            _Line(
                arm=names.index(name) if name in names else 1,
                name=name,
                x=tuple(place[point.quantile] for point in points),
                y=tuple(_percent(point.ratio) for point in points),
            )
        )
    if not lines:
        raise ValueError("the report has no shift points")
    margins = margins_percent(report)
    with style.context(["default", _STYLE]):
        figure, axes = _canvas(lines, width_px)
        axes.set_xlim(-0.5, len(quantiles) - 0.5)
        bottom, top = _shift_limits(report.shifts, list(margins.values()))
        axes.set_ylim(bottom, top)
        for q, margin in margins.items():
            if q in place:
                left, right = place[q] - 0.5, place[q] + 0.5
                axes.fill_between([left, right], -margin, margin, color=_SHADE, lw=0)
        axes.axhline(0, color=_INK, lw=1)
        for line in lines:
            _band(axes, line, [p for p in report.shifts if p.arm == line.name])
            _draw(axes, line, markers=True)
        _y_ticks(axes, MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(bottom, top), sign=True)
        _x_ticks(axes, place)
        baseline = write.plain(tables.baseline(report), 18 if width_px < WIDE_PX else 40)
        axes.text(0, 1.07, f"▲ slower than {baseline}, %", color=_MUTED, transform=axes.transAxes)
        _below(axes, f"▼ faster than {baseline}, %", 0, "left")
        _name_ends(figure, axes, lines, width_px)
        return _svg(figure, f"shift-{width_px}")


def percentiles(report: Report, *, width_px: int = WIDE_PX) -> str:
    """Draw the latency of every arm at each percentile, as SVG.

    Each further nine of the percentile axis has the same width, as in HdrHistogram's plots, and
    the latency axis is logarithmic. Raises ValueError where no arm has a percentile below the
    maximum.
    """
    lines = []
    for i, arm in enumerate(report.arms):
        shown = [p for p in arm.percentiles if p.quantile < 1]
        if shown:
            x = tuple(_nines(p.quantile) for p in shown)
            y = tuple(max(tables.latency_ms(p), _LEAST_MS) for p in shown)
            lines.append(_Line(arm=i, name=arm.name, x=x, y=y))
    if not lines:
        raise ValueError("the report has no percentiles")
    with style.context(["default", _STYLE]):
        figure, axes = _canvas(lines, width_px)
        low = min(min(line.y) for line in lines)
        high = max(max(line.y) for line in lines)
        room = 1.05 * max(high / low, 1.02) ** 0.04
        axes.set_yscale("log")
        axes.set_ylim(low / room, high * room)
        first, last = min(line.x[0] for line in lines), max(line.x[-1] for line in lines)
        axes.set_xlim(first - 0.05, max(last, first + 0.1) + 0.02)
        for line in lines:
            _draw(axes, line, markers=False)
        _y_ticks(axes, _log_ticks(axes))
        _x_ticks(axes, {q: _nines(q) for q in (0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999)})
        axes.text(
            0, 1.07, f"{tables.judged(report)} time, ms", color=_MUTED, transform=axes.transAxes
        )
        _below(axes, "percentile of requests", 1, "right")
        _name_ends(figure, axes, lines, width_px)
        return _svg(figure, f"percentiles-{width_px}")


def load_curve(report: Report, *, width_px: int = WIDE_PX) -> str:
    """Draw what each rate showed of the SLO's first latency against the rate, both log, as SVG.

    Bars are intervals, of which a missing end runs out of the figure; the dashed line is the limit,
    the grey band the interval of the highest rate that keeps it. Crosses broke it, rings could not
    be told. Raises ValueError without a capacity that has two rates to draw.
    """
    seen = report.capacity
    points = [] if seen is None else _points(seen)
    if seen is None or len(points) < 2:
        raise ValueError("the report has no load curve")
    x, y = tuple(p.rate_rps for p in points), tuple(p.value for p in points)
    limit = points[0].limit
    lines = [
        _Line(arm=0, name=seen.arm, x=x, y=y),
        _Line(arm=1, name="SLO", x=(x[0], x[-1]), y=(limit, limit)),
    ]
    with style.context(["default", _STYLE]):
        figure, axes = _canvas(lines, width_px)
        axes.set(xscale="log", yscale="log")
        axes.set_xlim(x[0] / 1.1, x[-1] * 1.1)
        bottom, top = min(*y, limit) / 1.5, max(*y, limit) * 1.5
        axes.set_ylim(bottom, top)
        if seen.interval is not None:
            low, high = seen.interval.low or x[0] / 1.1, seen.interval.high or x[-1] * 1.1
            axes.axvspan(low, high, color=_SHADE, lw=0)
            axes.axvline(low, color=_INK, lw=1)
        for line in lines:
            _draw(axes, line, markers=False)
        for p in points:
            ends = max(p.low, bottom), min(p.high, top)
            axes.plot([p.rate_rps] * 2, ends, color=_ARMS[0], lw=3, alpha=0.4)
            face = _ARMS[0] if p.call == "pass" else _PAPER
            marker = "x" if p.call == "fail" else "o"
            axes.plot(p.rate_rps, p.value, marker, color=_ARMS[0], markerfacecolor=face)
        _y_ticks(axes, _log_ticks(axes))
        _rate_ticks(axes, _series(x[0] / 1.1, x[-1] * 1.1))
        axes.text(0, 1.07, points[0].unit, color=_MUTED, transform=axes.transAxes)
        _below(axes, "requests a second", 1, "right")
        _name_ends(figure, axes, lines, width_px)
        return _svg(figure, f"load-{width_px}")


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
            unit, bound = f"{limit.metric} response time, ms", limit.limit_ms
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


def _rate_ticks(axes: Axes, ticks: Sequence[float]) -> None:
    """Label the rates whose words have room beside each other."""
    kept: list[tuple[float, str, float]] = []
    for tick in ticks:
        word, place = write.number(tick, _places(tick)), _pixel(axes, tick, axes.get_ylim()[0])[0]
        if all(abs(place - other) > _FONT_PX * 0.6 * len(word) + 10 for *_, other in kept):
            kept.append((tick, word, place))
    axes.set_xticks([tick for tick, *_ in kept], [word for _, word, _ in kept])
    axes.set_xticks([], minor=True)


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


def _canvas(lines: Sequence[_Line], width_px: int) -> tuple[Figure, Axes]:
    """Make the axes; the right side keeps room for the names at the line ends."""
    longest = max(len(_name(line, width_px)) for line in lines)
    right = 18 + _BOLD_CHARACTER_PX * longest
    figure = Figure(figsize=(width_px / 72, _HEIGHT_PX / 72), dpi=72)
    figure.patch.set_visible(False)
    axes = figure.add_axes(
        (
            _LEFT_PX / width_px,
            _BOTTOM_PX / _HEIGHT_PX,
            (width_px - _LEFT_PX - right) / width_px,
            (_HEIGHT_PX - _TOP_PX - _BOTTOM_PX) / _HEIGHT_PX,
        )
    )
    axes.patch.set_visible(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelcolor=_MUTED, pad=7, which="both")
    axes.minorticks_off()
    axes.set_axisbelow(True)
    return figure, axes


def _name(line: _Line, width_px: float) -> str:
    return write.plain(line.name, 18 if width_px > NARROW_PX else 10)


def _draw(axes: Axes, line: _Line, *, markers: bool) -> None:
    kind = line.arm % len(_ARMS)
    marker = "o" if markers and len(line.x) <= 25 else None
    axes.plot(line.x, line.y, color=_ARMS[kind], linestyle=_DASHES[kind], marker=marker)


def _band(axes: Axes, line: _Line, points: Sequence[ShiftPoint]) -> None:
    """Shade the interval of each point; an unbounded side runs out of the figure."""
    bottom, top = axes.get_ylim()
    nothing = Interval(low=math.nan, high=math.nan, level=0)
    intervals = [point.interval or nothing for point in points]
    low = [bottom if each.low is None else _percent(each.low) for each in intervals]
    high = [top if each.high is None else _percent(each.high) for each in intervals]
    axes.fill_between(line.x, low, high, color=_ARMS[line.arm % len(_ARMS)], alpha=0.18, lw=0)


def _shift_limits(points: Sequence[ShiftPoint], margins: Sequence[float]) -> tuple[float, float]:
    """Return the ends of the vertical axis in percent.

    Intervals may reach three times as far as the widest estimate or margin before they are cut.
    """
    values = [0.0, *(_percent(p.ratio) for p in points), *margins, *(-m for m in margins)]
    reach = 3 * max(map(abs, values)) or 1.0
    for point in points:
        if point.interval:
            ends = (point.interval.low, point.interval.high)
            values += [max(-reach, min(reach, _percent(end))) for end in ends if end is not None]
    bottom, top = min(values), max(values)
    room = 0.08 * (top - bottom) or 1.0
    return bottom - room, top + room


def _log_ticks(axes: Axes) -> list[float]:
    bottom, top = axes.get_ylim()
    ticks = [tick for tick in _series(bottom, top) if tick >= bottom]
    if len(ticks) >= 3:
        return ticks
    return [float(tick) for tick in MaxNLocator(5).tick_values(bottom, top)]


def _series(low: float, high: float) -> list[float]:
    """List 1, 2 and 5 times the powers of ten from `low` to `high`."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    values = [lead * 10.0**power for power in range(first, last + 1) for lead in (1, 2, 5)]
    return [value for value in values if low * 0.999 <= value <= high]


def _places(tick: float) -> int:
    """Return the fewest decimals that write a tick as it is."""
    return next(n for n in range(16) if math.isclose(round(tick, n), tick, rel_tol=1e-6))


def _y_ticks(axes: Axes, ticks: Sequence[float], *, sign: bool = False) -> None:
    """Rule and label the ticks that lie in the figure, leaving out those too close to another."""
    bottom, top = axes.get_ylim()
    kept: list[tuple[float, float]] = []
    for tick in ticks:
        if bottom <= tick <= top:
            height = _pixel(axes, 0, tick)[1]
            if all(abs(height - other) >= 1.6 * _FONT_PX for _, other in kept):
                kept.append((tick, height))
    words = [write.number(tick, _places(tick), sign=sign) for tick, _ in kept]
    axes.set_yticks([tick for tick, _ in kept], words)
    axes.set_yticks([], minor=True)
    axes.grid(visible=True, axis="y", color=_RULE, lw=1)


def _x_ticks(axes: Axes, places: dict[float, float]) -> None:
    """Label the well-known quantiles, and the deciles where there is room."""
    known = (0.5, 0.99, 0.9, 0.999, 0.95, 0.1, 0.25, 0.75, 0.9999, 0.99999)
    left, right = axes.get_xlim()
    kept: dict[float, tuple[float, str]] = {}
    for q in dict.fromkeys((*known, *(q for q in places if round(10 * q, 6).is_integer()))):
        at, word = places.get(q, -math.inf), write.quantile(q)
        if not left <= at <= right:
            continue
        x, gap = _pixel(axes, at, 1)[0], 5 if q in known else 16
        if all(
            abs(x - other) >= 0.29 * _FONT_PX * (len(word) + len(w)) + gap
            for other, w in kept.values()
        ):
            kept[at] = x, word
    axes.set_xticks(list(kept), [word for _, word in kept.values()])


def _below(axes: Axes, text: str, x: float, align: str) -> None:
    """Write under the tick labels, where no line can reach."""
    height = _HEIGHT_PX - _TOP_PX - _BOTTOM_PX
    y = -(_BOTTOM_PX - 7) / height
    axes.text(x, y, text, color=_MUTED, transform=axes.transAxes, ha=align)


def _name_ends(figure: Figure, axes: Axes, lines: Sequence[_Line], width_px: int) -> None:
    """Write each arm's name beside the end of its line, pushed apart where ends lie close."""
    right = float(axes.transAxes.transform((1, 0))[0])
    ends = [(line, *_pixel(axes, line.x[-1], line.y[-1])) for line in lines]
    ends.sort(key=lambda end: (end[2], -end[0].arm))
    for (line, x, y), label_y in zip(ends, _apart([y for _, _, y in ends]), strict=True):
        figure.text(
            (right + 10) / width_px,
            label_y / _HEIGHT_PX,
            _name(line, width_px),
            color=_INK,
            fontweight="bold",
            va="center_baseline",
        )
        if right - x > 8 or abs(label_y - y) > 4:
            leader = Line2D(
                [x / width_px, (right + 7) / width_px],
                [y / _HEIGHT_PX, label_y / _HEIGHT_PX],
                color=_ARMS[line.arm % len(_ARMS)],
                lw=0.8,
                alpha=0.6,
            )
            figure.add_artist(leader)


def _pixel(axes: Axes, x: float, y: float) -> tuple[float, float]:
    across, up = axes.transData.transform((x, y))
    return float(across), float(up)


def _apart(heights: Sequence[float]) -> list[float]:
    """Move sorted label heights apart until none overlap, as little and as centred as may be."""
    gap = 1.4 * _FONT_PX
    groups: list[tuple[float, int]] = []
    for height in heights:
        centre, size = height, 1
        while groups and centre - groups[-1][0] < gap * (size + groups[-1][1]) / 2:
            other, count = groups.pop()
            centre, size = (centre * size + other * count) / (size + count), size + count
        groups.append((centre, size))
    return [centre + gap * (i - (size - 1) / 2) for centre, size in groups for i in range(size)]


def _svg(figure: Figure, prefix: str) -> str:
    """Write a figure as an SVG element whose ids, fonts and colours are fit for the page."""
    out = io.StringIO()
    metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with warnings.catch_warnings():
        # A name in a script that matplotlib's font lacks is drawn by the browser's font.
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        figure.savefig(out, format="svg", metadata=metadata)
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<svg[^>]*(viewBox=\"[^\"]*\")[^>]*>", rf"<svg {_NAMESPACES} \1>", svg, count=1)
    svg = re.sub(r"font-family: [^;\"]*;? ?", "", svg)
    svg = re.sub(r' transform="rotate\(-0 [^"]*\)"', "", svg)
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{prefix}-", svg)
    svg = re.sub(r"\s*\n\s*", " ", svg)
    return re.sub(
        r"(fill|stroke): (#[0-9a-f]{6})", lambda m: f"{m[1]}: {_VARIABLES.get(m[2], m[2])}", svg
    )
