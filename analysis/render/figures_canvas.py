"""What every figure of the page shares: its axes, ticks, names and colours, and its SVG.

One SVG serves light and dark: it is drawn in sentinel colours, which become CSS variables of the
page. Text stays text, so it is selectable and takes the page's font; matplotlib's own font is
wider than a system font, so what fits here fits there. The same report gives the same bytes.
"""

import io
import math
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator
from matplotlib.transforms import IdentityTransform

from analysis.render import format as write

WIDE_PX, NARROW_PX = 736, 343
HEIGHT_PX = 300
_TOP_PX, _BOTTOM_PX, _LEFT_PX = 30, 44, 58
FONT_PX, _BOLD_CHARACTER_PX = 12, 8.6

INK, MUTED, RULE, SHADE, PAPER, BAD = (f"#{n:02x}{n:02x}{n:02x}" for n in range(1, 7))
ARMS = ("#0a0a0a", "#0b0b0b", "#0c0c0c", "#0d0d0d")
DASHES: tuple[object, ...] = ("solid", (0, (5, 2)), (0, (1.5, 1.5)), (0, (7, 2, 1.5, 2)))
_VARIABLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    RULE: "var(--rule)",
    SHADE: "var(--shade)",
    PAPER: "var(--paper)",
    BAD: "var(--bad)",
    **dict(zip(ARMS, ("var(--a)", "var(--b)", "var(--c)", "var(--d)"), strict=True)),
}
_NAMESPACES = (
    'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
    'stroke-linejoin="round"'
)
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "abreast",
    "font.size": FONT_PX,
    "text.color": INK,
    "text.parse_math": False,
    "axes.unicode_minus": True,
    "lines.linewidth": 1.8,
    "lines.markersize": 4.5,
}


class Line(NamedTuple):
    """One arm's line in data units; `arm` counts from the baseline, which is 0."""

    arm: int
    name: str
    x: Sequence[float]
    y: Sequence[float]

    @property
    def colour(self) -> str:
        """The arm's sentinel colour."""
        return ARMS[self.arm % len(ARMS)]


def styled() -> AbstractContextManager[None]:
    """Draw in the page's style within this context, whatever the surroundings' is."""
    return style.context(["default", _STYLE])


def chart(
    name: str,
    width_px: int,
    lines: Sequence[Line],
    dress: Callable[[Axes], None],
    *,
    markers: bool = False,
) -> str:
    """Draw lines that are named at their ends, as SVG; `name` begins its ids.

    `dress` sets the limits of the axes, labels them, and draws what is not a line.
    """
    with styled():
        figure = blank(width_px, HEIGHT_PX)
        axes = panel(figure, _TOP_PX, HEIGHT_PX - _TOP_PX - _BOTTOM_PX, room_px(lines, width_px))
        dress(axes)
        for line in lines:
            draw(axes, line, markers=markers)
        name_ends(axes, lines, width_px)
        return svg(figure, f"{name}-{width_px}")


def blank(width_px: int, height_px: float) -> Figure:
    """Make a figure without axes."""
    figure = Figure(figsize=(width_px / 72, height_px / 72), dpi=72)
    figure.patch.set_visible(False)
    return figure


def panel(figure: Figure, top_px: float, height_px: float, right_px: float) -> Axes:
    """Put axes into a figure, so far from its top and from its right side."""
    width, height = (72 * inches for inches in figure.get_size_inches())
    left, bottom = _LEFT_PX / width, 1 - (top_px + height_px) / height
    place = (left, bottom, 1 - left - right_px / width, height_px / height)
    axes = figure.add_axes(place)
    axes.patch.set_visible(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelcolor=MUTED, pad=7, which="both")
    axes.minorticks_off()
    axes.set_axisbelow(True)
    return axes


def room_px(lines: Sequence[Line], width_px: int) -> float:
    """Give the room that the names of the lines take at their ends."""
    return 18 + _BOLD_CHARACTER_PX * max(len(_shown_name(line, width_px)) for line in lines)


def _shown_name(line: Line, width_px: float) -> str:
    return write.plain(line.name, 18 if width_px > NARROW_PX else 10)


def draw(axes: Axes, line: Line, *, markers: bool) -> None:
    """Draw an arm's line in its colour and dashes."""
    marker = "o" if markers and len(line.x) <= 25 else None
    dashes = DASHES[line.arm % len(DASHES)]
    axes.plot(line.x, line.y, color=line.colour, linestyle=dashes, marker=marker)


def band(axes: Axes, line: Line, low: Sequence[float], high: Sequence[float]) -> None:
    """Shade what lies about a line."""
    axes.fill_between(line.x, low, high, color=line.colour, alpha=0.18, lw=0)


def log_ticks(axes: Axes) -> list[float]:
    """List ticks of a log axis: 1, 2 and 5 times powers of ten, or more where those are few."""
    bottom, top = axes.get_ylim()
    every = LogLocator(subs=(1, 2, 5), numticks=30).tick_values(bottom, top)
    ticks = [float(tick) for tick in every if bottom <= tick <= top]
    return ticks if len(ticks) >= 3 else list(MaxNLocator(5).tick_values(bottom, top))


def y_ticks(axes: Axes, ticks: Iterable[float], *, sign: bool = False) -> None:
    """Rule and label the ticks that lie in the figure, leaving out those too close to another."""
    bottom, top = axes.get_ylim()
    kept = spaced(
        (tick, _number(tick, sign=sign), pixel(axes, 0, tick)[1], 0.8 * FONT_PX)
        for tick in ticks
        if bottom <= tick <= top
    )
    axes.set_yticks(list(kept), list(kept.values()))
    axes.set_yticks([], minor=True)
    axes.grid(visible=True, axis="y", color=RULE, lw=1)


def _number(tick: float, *, sign: bool) -> str:
    """Write a tick with the fewest decimals that give it as it is."""
    places = next(n for n in range(16) if math.isclose(round(tick, n), tick, rel_tol=1e-6))
    return write.number(tick, places, sign=sign)


def x_ticks(axes: Axes, words: Mapping[float, str], gap_px: Callable[[float], float]) -> None:
    """Label the places that lie in the figure, the first ones first where they are too many."""
    left, right = axes.get_xlim()
    kept = spaced(
        (at, word, pixel(axes, at, 1)[0], 0.29 * FONT_PX * len(word) + gap_px(at))
        for at, word in words.items()
        if left <= at <= right
    )
    axes.set_xticks(list(kept), list(kept.values()))
    axes.set_xticks([], minor=True)


def quantile_ticks(axes: Axes, places: Mapping[float, float]) -> None:
    """Label the well-known quantiles, and the deciles where there is room."""
    known = (0.5, 0.99, 0.9, 0.999, 0.95, 0.1, 0.25, 0.75, 0.9999, 0.99999)
    deciles = (q for q in places if round(10 * q, 6).is_integer())
    shown = [q for q in dict.fromkeys((*known, *deciles)) if q in places]
    near = {places[q] for q in shown if q in known}
    words = {places[q]: write.quantile(q) for q in shown}
    x_ticks(axes, words, lambda at: 2.5 if at in near else 8)


def spaced(labels: Iterable[tuple[float, str, float, float]]) -> dict[float, str]:
    """Keep the labels, each (tick, word, place, half its width), that lie clear of earlier ones."""
    kept: list[tuple[float, str, float, float]] = []
    for label in labels:
        _, _, at_px, half_px = label
        if all(abs(at_px - other) >= half_px + its_half for *_, other, its_half in kept):
            kept.append(label)
    return {tick: word for tick, word, *_ in kept}


def above(axes: Axes, text: str, *, up_px: float = 15, colour: str = MUTED) -> None:
    """Write over the left end of the axes, where no line can reach."""
    axes.annotate(text, (0, 1), (0, up_px), "axes fraction", "offset pixels", color=colour)


def below(axes: Axes, text: str, *, is_left: bool = False) -> None:
    """Write under the tick labels, where no line can reach."""
    place, align = (0, "left") if is_left else (1, "right")
    down_px = 7 - _BOTTOM_PX
    axes.annotate(
        text, (place, 0), (0, down_px), "axes fraction", "offset pixels", color=MUTED, ha=align
    )


def name_ends(axes: Axes, lines: Sequence[Line], width_px: int) -> None:
    """Write each arm's name beside the end of its line, pushed apart where ends lie close."""
    right = float(axes.transAxes.transform((1, 0))[0])
    ends = [(line, *pixel(axes, line.x[-1], line.y[-1])) for line in lines]
    ends.sort(key=lambda end: (end[2], -end[0].arm))
    for (line, x, y), label_y in zip(ends, _apart([y for _, _, y in ends]), strict=True):
        axes.annotate(
            _shown_name(line, width_px), (right + 10, label_y), xycoords="figure pixels",
            color=INK, fontweight="bold", va="center_baseline", annotation_clip=False,
        )  # fmt: skip
        if right - x > 8 or abs(label_y - y) > 4:
            leader = Line2D([x, right + 7], [y, label_y], color=line.colour, lw=0.8, alpha=0.6)
            leader.set(transform=IdentityTransform(), clip_on=False)
            axes.add_artist(leader)


def pixel(axes: Axes, x: float, y: float) -> tuple[float, float]:
    """Give where a point lies, in pixels from the figure's lower left."""
    across, up = axes.transData.transform((x, y))
    return float(across), float(up)


def _apart(heights: Sequence[float]) -> list[float]:
    """Move sorted label heights apart until none overlap, as little and as centred as may be."""
    gap = 1.4 * FONT_PX
    groups: list[tuple[float, int]] = []
    for height in heights:
        centre, size = height, 1
        while groups and centre - groups[-1][0] < gap * (size + groups[-1][1]) / 2:
            other, count = groups.pop()
            centre, size = (centre * size + other * count) / (size + count), size + count
        groups.append((centre, size))
    return [centre + gap * (i - (size - 1) / 2) for centre, size in groups for i in range(size)]


def svg(figure: Figure, prefix: str) -> str:
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
