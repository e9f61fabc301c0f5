"""How did it go on, and which variants answered? Figures over the time, as SVG."""

import base64
import io
import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imsave
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from analysis.render import figures_canvas as canvas
from analysis.render import findings, runs
from analysis.render import format as write
from analysis.results.report import Report
from analysis.results.seen import Heat, OverTime

_TITLE_PX, _GAP_PX, _AXIS_PX, _RIGHT_PX = 22, 8, 44, 14
_HEAT_PX, _RATE_PX, _ERRORS_PX = 96, 56, 12
_MOST_PHASES = 40
_FAINTEST = 0.15
_UNITS = ((1, "seconds"), (60, "minutes"), (3600, "hours"))


def over_time(report: Report, *, width_px: int = canvas.WIDE_PX) -> str:
    """Draw each arm's latency as a heat map, the rate, and failures by kind, as SVG.

    The deeper the colour, the more good answers; the scale is logarithmic and that of all arms.
    Without a course of time there is none.
    """
    found = report.over_time
    if found is None:
        return ""
    errors = findings.errors_over_time(found)
    heights_px = [*([_HEAT_PX] * len(found.arms)), _RATE_PX, *([_ERRORS_PX] * len(errors))]
    top_px = 2 * _TITLE_PX if _inner(report, found) else _TITLE_PX
    with canvas.styled():
        figure, panels = _stacked(width_px, heights_px, top_px)
        for axes in panels:
            _begin(axes, report, found)
        _name_phases(panels[0], report, found)
        most = max((n for arm in found.arms for row in arm.counts for n in row), default=0)
        images = [_heat(panels[i], found, i, most) for i in range(len(found.arms))]
        _rate(panels[len(found.arms)], found)
        for axes, (kind, counts) in zip(panels[len(found.arms) + 1 :], errors.items(), strict=True):
            _errors(axes, kind, counts, found.step_s)
        _time_axis(panels[-1], width_px)
        prefix = f"time-{width_px}"
        svg = canvas.svg(figure, prefix)
    for i, image in enumerate(images):
        svg = _masked(svg, f"{prefix}-heat-{i}", image)
    return svg


def run_by_run(report: Report, *, width_px: int = canvas.WIDE_PX) -> str:
    """Draw the numbers of several runs, or of a search's probes, in the order of time, as SVG.

    A ring is a run that does not count, and the dashed line what the SLO allows.
    """
    found = runs.courses(report)
    last = max(point.place for each in found for point in each.points)
    with canvas.styled():
        lines = [_lines(each, last) for each in found]
        right_px = max(canvas.room_px(of, width_px) for of in lines)
        figure, panels = _stacked(width_px, [_HEAT_PX] * len(found), _TITLE_PX, right_px)
        for axes, each, of in zip(panels, found, lines, strict=True):
            axes.set_xlim(0.8, last + 0.2)
            axes.set_xticks([])
            values = [value for line in of for value in line.y]
            if each.is_log:
                axes.set_yscale("log")
                axes.set_ylim(min(values) / 1.3, max(values) * 1.3)
            else:
                axes.set_ylim(0, 1.15 * max(values))
            for line in of:
                canvas.draw(axes, line, markers=False)
            for line, own in zip(of, filter(None, each.sides.values()), strict=False):
                for point in own:
                    face = line.colour if point.is_counted else canvas.PAPER
                    axes.plot(*point[:2], "o", color=line.colour, mfc=face, zorder=3)
            ticks = canvas.log_ticks if each.is_log else _few_ticks
            canvas.y_ticks(axes, ticks(axes))
            canvas.above(axes, each.title, up_px=6)
            canvas.name_ends(axes, of if len(of) > 1 else [], width_px)
        words = {float(i): f"{i}" for i in range(1, last + 1)}
        canvas.x_ticks(panels[-1], words, lambda _: 4)
        what = "probes" if report.capacity else "runs"
        canvas.below(panels[-1], f"{what}, in the order of time")
        return canvas.svg(figure, f"runs-{width_px}")


def _lines(course: runs.Course, last: int) -> list[canvas.Line]:
    lines = [
        canvas.Line(i, side, [p.place for p in own], [p.value for p in own])
        for i, (side, own) in enumerate(course.sides.items())
        if own
    ]
    if course.limit is not None:
        lines.append(canvas.Line(1, "SLO", (1, last), (course.limit,) * 2))
    return lines


def who_answered(report: Report, *, width_px: int = canvas.WIDE_PX) -> str:
    """Draw each variant's share of the answers over the time, with where chance keeps it, as SVG.

    Without answers that were routed by weight there is none.
    """
    found = report.who_answered
    if found is None:
        return ""
    lines, bands = [], []
    for i, each in enumerate(found.routed):
        seen = zip(each.shares, each.band, strict=True)
        at = [(k, 100 * s, b) for k, (s, b) in enumerate(seen) if s is not None and b is not None]
        x = [found.start_s + (k + 0.5) * found.step_s for k, *_ in at]
        lines.append(canvas.Line(i, each.variant, x, [share for _, share, _ in at]))
        bands.append([(100 * low, 100 * high) for *_, (low, high) in at])

    def dress(axes: Axes) -> None:
        ends = [end for band in bands for pair in band for end in pair]
        values = [*ends, *(y for line in lines for y in line.y)]
        room = 0.06 * (max(values) - min(values)) or 1.0
        axes.set_ylim(min(values) - room, max(values) + room)
        axes.set_xlim(0, _end_s(report))
        for line, band, each in zip(lines, bands, found.routed, strict=True):
            canvas.band(axes, line, [low for low, _ in band], [high for _, high in band])
            axes.axhline(100 * each.weight, color=canvas.INK, lw=0.8, alpha=0.5)
        canvas.y_ticks(axes, MaxNLocator(6).tick_values(*axes.get_ylim()))
        canvas.above(axes, "share of the answers, %")
        _time_axis(axes, width_px)

    return canvas.chart("who", width_px, lines, dress, markers=True)


def _end_s(report: Report) -> float:
    return report.run.warmup_s + report.run.measured_s


def _stacked(
    width_px: int, heights_px: Sequence[float], top_px: float, right_px: float = _RIGHT_PX
) -> tuple[Figure, list[Axes]]:
    """Put axes below each other, each with room for its title."""
    over_px = _TITLE_PX + _GAP_PX
    tops_px = [top_px + sum(heights_px[:i]) + over_px * i for i in range(len(heights_px))]
    figure = canvas.blank(width_px, tops_px[-1] + heights_px[-1] + _AXIS_PX)
    places = zip(tops_px, heights_px, strict=True)
    return figure, [canvas.panel(figure, top, tall, right_px) for top, tall in places]


def _begin(axes: Axes, report: Report, found: OverTime) -> None:
    """Set the time's ends, grey the warm-up and rule where phases begin."""
    axes.set_xlim(0, _end_s(report))
    axes.set_yticks([])
    axes.set_xticks([])
    axes.axvspan(0, report.run.warmup_s, color=canvas.SHADE, lw=0, zorder=0)
    for start_s in _inner(report, found).values():
        axes.axvline(start_s, color=canvas.MUTED, lw=1, linestyle=(0, (4, 3)))


def _inner(report: Report, found: OverTime) -> dict[str, float]:
    """Give the phases after the first that is measured, unless they are too many to be ruled."""
    later = {name: at_s for name, at_s in found.phases.items() if at_s > report.run.warmup_s}
    return later if len(later) <= _MOST_PHASES else {}


def _name_phases(axes: Axes, report: Report, found: OverTime) -> None:
    """Name phases over the uppermost axes, where the names have room."""
    inner = _inner(report, found)
    if not inner:
        return
    first = {n: at_s for n, at_s in found.phases.items() if at_s == report.run.warmup_s}
    spans = list({**first, **inner}.items())
    ends = [*(at_s for _, at_s in spans[1:]), axes.get_xlim()[1]]
    for (name, at_s), end_s in zip(spans, ends, strict=True):
        room_px = canvas.pixel(axes, end_s, 0)[0] - canvas.pixel(axes, at_s, 0)[0]
        shown = write.plain(name, 24)
        if 0.62 * canvas.FONT_PX * len(shown) < room_px:
            axes.annotate(
                shown, (at_s, 1), (2, 7 + _TITLE_PX), ("data", "axes fraction"), "offset pixels",
                color=canvas.MUTED,
            )  # fmt: skip


def _heat(axes: Axes, found: OverTime, arm: int, most: int) -> str:
    """Fill the axes with the arm's colour, and give the image that masks it."""
    each = found.arms[arm]
    axes.set_yscale("log")
    axes.set_ylim(found.low_ms, found.high_ms)
    end_s = found.step_s * len(each.counts)
    colour = canvas.ARMS[arm % len(canvas.ARMS)]
    size = (end_s, found.high_ms - found.low_ms)
    axes.add_patch(Rectangle((0, found.low_ms), *size, color=colour, lw=0, gid=f"heat-{arm}"))
    canvas.y_ticks(axes, canvas.log_ticks(axes))
    left, low = canvas.pixel(axes, 0, found.low_ms)
    right, high = canvas.pixel(axes, end_s, found.high_ms)
    height_px = axes.figure.bbox.height
    name = write.plain(each.arm, 40 if right > canvas.NARROW_PX else 16)
    canvas.above(axes, f"{name}: {found.measure} time, ms", up_px=6, colour=canvas.INK)
    return (
        f'<image x="{left:.6g}" y="{height_px - high:.6g}" width="{right - left:.6g}" '
        f'height="{high - low:.6g}" preserveAspectRatio="none" '
        'style="image-rendering: pixelated" '
        f'xlink:href="data:image/png;base64,{_png(each, most)}"/>'
    )


def _png(heat: Heat, most: int) -> str:
    """Write counts as a grey PNG, a pixel a count: black for none, white for the most."""
    counts = np.array(heat.counts, dtype=np.float64).T[::-1]
    depth = np.log1p(counts) / math.log1p(max(most, 1))
    grey = np.where(counts > 0, _FAINTEST + (1 - _FAINTEST) * depth, 0)
    out = io.BytesIO()
    imsave(out, grey, cmap="gray", vmin=0, vmax=1, format="png", metadata={"Software": "abreast"})
    return base64.b64encode(out.getvalue()).decode()


def _masked(svg: str, name: str, image: str) -> str:
    """Let a filled area be seen where an image is light: one image for light and for dark."""
    mask = f'<mask id="{name}-mask">{image}</mask><g mask="url(#{name}-mask)" id="{name}">'
    return svg.replace(f'<g id="{name}">', mask, 1)


def _rate(axes: Axes, found: OverTime) -> None:
    starts_s = found.step_s * np.arange(len(found.achieved_rps) + 1)
    planned = np.array(found.planned_rps, dtype=np.float64)
    most = np.nanmax([*found.achieved_rps, *planned, 1e-9])
    axes.set_ylim(0, 1.15 * most)
    axes.stairs(found.achieved_rps, starts_s, color=canvas.INK, lw=1.2, baseline=None)
    axes.plot(starts_s[:-1] + found.step_s / 2, planned, color=canvas.MUTED, lw=1.2, ls=(0, (4, 2)))
    canvas.y_ticks(axes, _few_ticks(axes))
    is_planned = bool(np.isfinite(planned).any())
    canvas.above(axes, "req/s: sent" + (" (line), planned (dashed)" if is_planned else ""), up_px=6)


def _few_ticks(axes: Axes) -> list[float]:
    return [float(tick) for tick in MaxNLocator(3).tick_values(*axes.get_ylim())]


def _errors(axes: Axes, kind: str, counts: tuple[int, ...], step_s: float) -> None:
    """Rule each step that has failures of a kind, the taller the more."""
    steps = np.array(counts)
    heights = np.where(steps > 0, 0.3 + 0.7 * np.sqrt(steps / steps.max()), 0)
    axes.set_ylim(0, 1)
    axes.axhline(0, color=canvas.RULE, lw=1)
    axes.stairs(heights, step_s * np.arange(steps.size + 1), color=canvas.BAD, fill=True, lw=0)
    canvas.above(axes, f"{kind}: {write.count(sum(counts))}", up_px=6)


def _time_axis(axes: Axes, width_px: int) -> None:
    end_s = axes.get_xlim()[1]
    unit_s, unit = next((u for u in reversed(_UNITS) if end_s >= 3 * u[0]), _UNITS[0])
    locator = MaxNLocator(4 if width_px < canvas.WIDE_PX else 8, steps=[1, 2, 3, 5, 6, 10])
    ticks = [tick for tick in locator.tick_values(0, end_s / unit_s) if 0 <= tick * unit_s <= end_s]
    axes.set_xticks([tick * unit_s for tick in ticks], [f"{tick:g}" for tick in ticks])
    canvas.below(axes, f"{unit} since the start")
