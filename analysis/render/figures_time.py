"""How did the run go on, and which variants answered? Figures over the time, as SVG."""

import base64
import io
import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imsave
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from analysis.render import figures_canvas as canvas
from analysis.render import findings
from analysis.render import format as write
from analysis.results.report import Report
from analysis.results.seen import Heat, OverTime

_TITLE_PX, _GAP_PX, _AXIS_PX, _RIGHT_PX = 22, 8, 40, 14
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
    over_px = _TITLE_PX + _GAP_PX
    top_px = 2 * _TITLE_PX if _inner(report, found) else _TITLE_PX
    height_px = top_px + sum(heights_px) + over_px * len(heights_px) - _TITLE_PX + _AXIS_PX
    with canvas.styled():
        figure = canvas.blank(width_px, height_px)
        panels = [
            canvas.panel(figure, top_px + sum(heights_px[:i]) + over_px * i, tall_px, _RIGHT_PX)
            for i, tall_px in enumerate(heights_px)
        ]
        for axes in panels:
            _begin(axes, report, found)
        _name_phases(panels[0], report, found)
        most = max((n for arm in found.arms for row in arm.counts for n in row), default=0)
        images = [_heat(panels[i], found, i, most, height_px) for i in range(len(found.arms))]
        _rate(panels[len(found.arms)], found)
        for axes, (kind, counts) in zip(panels[len(found.arms) + 1 :], errors.items(), strict=True):
            _errors(axes, kind, counts, found.step_s)
        _time_axis(figure, panels[-1], width_px)
        prefix = f"time-{width_px}"
        svg = canvas.svg(figure, prefix)
    for i, image in enumerate(images):
        svg = _masked(svg, f"{prefix}-heat-{i}", image)
    return svg


def who_answered(report: Report, *, width_px: int = canvas.WIDE_PX) -> str:
    """Draw each variant's share of the answers over the time, with where chance keeps it, as SVG.

    Without answers that were routed by weight there is none.
    """
    found = report.who_answered
    if found is None:
        return ""
    lines, bands = [], []
    for i, each in enumerate(found.routed):
        at = [
            (found.start_s + (k + 0.5) * found.step_s, 100 * share, band)
            for k, (share, band) in enumerate(zip(each.shares, each.band, strict=True))
            if share is not None and band is not None
        ]
        x, y = tuple(at_s for at_s, *_ in at), tuple(share for _, share, _ in at)
        lines.append(canvas.Line(arm=i, name=each.variant, x=x, y=y))
        bands.append([(100 * low, 100 * high) for *_, (low, high) in at])
    with canvas.styled():
        figure, axes = canvas.axes_for(lines, width_px)
        ends = [end for band in bands for pair in band for end in pair]
        values = [*ends, *(y for line in lines for y in line.y)]
        room = 0.06 * (max(values) - min(values)) or 1.0
        axes.set_ylim(min(values) - room, max(values) + room)
        axes.set_xlim(0, report.run.warmup_s + report.run.measured_s)
        for line, band, each in zip(lines, bands, found.routed, strict=True):
            colour = canvas.ARMS[line.arm % len(canvas.ARMS)]
            axes.fill_between(
                line.x, [b[0] for b in band], [b[1] for b in band], color=colour, alpha=0.18, lw=0
            )
            axes.axhline(100 * each.weight, color=canvas.INK, lw=0.8, alpha=0.5)
            canvas.draw(axes, line, markers=True)
        canvas.y_ticks(axes, list(MaxNLocator(6).tick_values(*axes.get_ylim())))
        canvas.above(axes, "share of the answers, %")
        _time_axis(figure, axes, width_px)
        canvas.name_ends(figure, axes, lines, width_px)
        return canvas.svg(figure, f"who-{width_px}")


def _begin(axes: Axes, report: Report, found: OverTime) -> None:
    """Set the time's ends, grey the warm-up and rule where phases begin."""
    axes.set_xlim(0, report.run.warmup_s + report.run.measured_s)
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


def _title(axes: Axes, text: str, colour: str = canvas.MUTED) -> None:
    axes.annotate(text, (0, 1), (0, 6), "axes fraction", "offset pixels", color=colour)


def _heat(axes: Axes, found: OverTime, arm: int, most: int, height_px: float) -> str:
    """Fill the axes with the arm's colour, and give the image that masks it."""
    each = found.arms[arm]
    axes.set_yscale("log")
    axes.set_ylim(found.low_ms, found.high_ms)
    end_s = found.step_s * len(each.counts)
    colour = canvas.ARMS[arm % len(canvas.ARMS)]
    size = (end_s, found.high_ms - found.low_ms)
    axes.add_patch(Rectangle((0, found.low_ms), *size, color=colour, lw=0, gid=f"heat-{arm}"))
    canvas.y_ticks(axes, canvas.log_ticks(axes))
    (left, low), (right, high) = (
        canvas.pixel(axes, *at) for at in ((0, found.low_ms), (end_s, found.high_ms))
    )
    name = write.plain(each.arm, 40 if right > canvas.NARROW_PX else 16)
    _title(axes, f"{name}: {found.measure} time, ms", canvas.INK)
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
    planned = [rate for rate in found.planned_rps if rate is not None]
    axes.set_ylim(0, 1.15 * max([*found.achieved_rps, *planned, 1e-9]))
    axes.stairs(found.achieved_rps, starts_s, color=canvas.INK, lw=1.2, baseline=None)
    if planned:
        rates = [math.nan if rate is None else rate for rate in found.planned_rps]
        axes.plot(
            starts_s[:-1] + found.step_s / 2, rates, color=canvas.MUTED, lw=1.2, ls=(0, (4, 2))
        )
    canvas.y_ticks(axes, list(MaxNLocator(3).tick_values(*axes.get_ylim())))
    _title(axes, "req/s: sent" + (" (line), planned (dashed)" if planned else ""))


def _errors(axes: Axes, kind: str, counts: tuple[int, ...], step_s: float) -> None:
    """Rule each step that has failures of a kind, the taller the more."""
    most, steps = max(counts), np.array(counts)
    places = np.flatnonzero(steps)
    axes.set_ylim(0, 1)
    axes.axhline(0, color=canvas.RULE, lw=1)
    heights = 0.3 + 0.7 * np.sqrt(steps[places] / most)
    axes.bar(places * step_s, heights, step_s, align="edge", color=canvas.BAD, lw=0)
    _title(axes, f"{kind}: {write.count(sum(counts))}")


def _time_axis(figure: Figure, axes: Axes, width_px: int) -> None:
    end_s = axes.get_xlim()[1]
    unit_s, unit = next((u for u in reversed(_UNITS) if end_s >= 3 * u[0]), _UNITS[0])
    locator = MaxNLocator(4 if width_px < canvas.WIDE_PX else 8, steps=[1, 2, 3, 5, 6, 10])
    ticks = [tick for tick in locator.tick_values(0, end_s / unit_s) if 0 <= tick * unit_s <= end_s]
    axes.set_xticks([tick * unit_s for tick in ticks], [f"{tick:g}" for tick in ticks])
    right = canvas.pixel(axes, end_s, 0)[0]
    figure.text(
        right / width_px, 7 / (72 * figure.get_size_inches()[1]), f"{unit} since the start",
        color=canvas.MUTED, ha="right",
    )  # fmt: skip
