import base64
import io
import re
from dataclasses import replace
from itertools import combinations
from xml.etree import ElementTree as ET

import pytest
from matplotlib.image import imread

from analysis.render import figures, figures_time
from analysis.render.figures_canvas import NARROW_PX, WIDE_PX
from analysis.results.values import Interval

SVG = "{http://www.w3.org/2000/svg}"


def labels(svg):
    """List text, x, y and anchor of everything written in a figure."""
    anchors = re.compile("text-anchor: (end|middle)")
    return [
        (
            element.text,
            float(element.get("x")),
            float(element.get("y")),
            found[1] if (found := anchors.search(element.get("style"))) else "start",
        )
        for element in ET.fromstring(svg).iter(f"{SVG}text")
    ]


def box(text, x, y, anchor):
    """Bound a label generously: 12 px high, at most 7.5 px a character."""
    width = 7.5 * len(text) if anchor == "start" else 6.6 * len(text)
    left = {"start": x, "middle": x - width / 2, "end": x - width}[anchor]
    return left, y - 10, left + width, y + 2


def overlap(a, b):
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


@pytest.fixture(params=[WIDE_PX, NARROW_PX])
def width_px(request):
    return request.param


def test_the_figures_of_a_page_have_its_colours_and_no_two_labels_overlap(any_report, rendered):
    page = rendered(any_report)
    for svg in re.findall(r"<svg xmlns.*?</svg>", page, flags=re.DOTALL):
        root = ET.fromstring(svg)
        styles = " ".join(element.get("style", "") for element in root.iter())
        assert re.findall(r"(?:fill|stroke): (#\w+)", styles) == []
        assert "var(--ink)" in styles
        assert "font-family" not in styles
        assert not list(root.iter(f"{SVG}style"))
        width_px = float(root.get("viewBox").split()[2])
        assert width_px in (WIDE_PX, NARROW_PX)
        ids = [element.get("id") for element in root.iter() if element.get("id")]
        assert len({each.split(f"-{width_px:.0f}-")[0] for each in ids}) == 1
        boxes = [(label, box(*label)) for label in labels(svg)]
        assert all(left >= 0 and right <= width_px for _, (left, _, right, _) in boxes)
        pairs = combinations(boxes, 2)
        assert [(a, b) for (a, of_a), (b, of_b) in pairs if overlap(of_a, of_b)] == []


def test_a_heat_map_has_a_pixel_for_each_count_the_deeper_the_more(reports):
    svg = figures_time.over_time(reports["faster"])
    encoded = re.findall(r"data:image/png;base64,([^\"]+)", svg)
    assert len(encoded) == 2
    grey = imread(io.BytesIO(base64.b64decode(encoded[1])), format="png")[..., 0]
    assert grey.shape == (48, 63)
    # Step 0 has one request in the lowest bin, which is drawn at the bottom; the last has none.
    assert 0 < grey[47, 0] < grey[46, 1] < grey[0, 47] < grey[34, 61] == 1
    assert (grey > 0).sum() == 62


def test_a_mask_lies_on_the_axes_that_it_fills(reports):
    root = ET.fromstring(figures_time.over_time(reports["faster"]))
    (image, _) = root.iter(f"{SVG}image")
    filled = next(each for each in root.iter(f"{SVG}g") if each.get("id") == "time-736-heat-0")
    assert filled.get("mask") == "url(#time-736-heat-0-mask)"
    points = re.findall(r"[ML] ([\d.]+) ([\d.]+)", next(filled.iter(f"{SVG}path")).get("d"))
    left, top = (min(float(point[i]) for point in points) for i in (0, 1))
    right, bottom = (max(float(point[i]) for point in points) for i in (0, 1))
    place = [float(image.get(name)) for name in ("x", "y", "width", "height")]
    assert place == pytest.approx([left, top, right - left, bottom - top], abs=0.01)


def test_what_the_slo_allows_is_ruled_up_to_its_percentile(reports):
    load = reports["load"]
    assert figures.limits(load) == {("SLO: p90", 0.9): 300.0, ("SLO: p99", 0.99): 300.0}
    said = [text for text, *_ in labels(figures.percentiles(load))]
    assert "SLO: p90" in said  # p99's has the same height


def test_points_without_an_interval_are_not_drawn(reports):
    # The last point, of 1.39 times the baseline, is the only one with a tick at p99.9.
    report = reports["slower"]
    shifts = (*report.shifts[:-1], replace(report.shifts[-1], interval=None))
    drawn, less = (
        {text for text, *_ in labels(figures.shift_function(replace(report, shifts=each)))}
        for each in (report.shifts, shifts)
    )
    assert drawn - less == {"p99.9"}


def test_the_load_curve_names_the_rates_that_were_tried(reports, width_px):
    made = labels(figures.load_curve(reports["capacity"], width_px=width_px))
    assert {"20", "40", "56.1", "80"} <= {text for text, *_ in made}


def test_the_runs_of_a_gate_stand_in_the_order_of_time(reports):
    gate = reports["gate"]
    later_first = replace(gate, runs=gate.runs[::-1])
    made = labels(figures_time.run_by_run(later_first))
    said = [text for text, *_ in made]
    assert [text for text in said if text in "123"] == ["1", "2", "3"]
    assert said.count("current") == said.count("candidate") == 2  # p50 and p90; p99 has no number
    # Both sides rise from run to run, so in the order of time no path falls: SVG counts down.
    dashed = r'<path d="(M [^"]*)"[^>]*stroke-dasharray[^>]*stroke: var\(--b\)'
    path = re.findall(dashed, figures_time.run_by_run(later_first))[0]
    heights = [float(y) for y in re.findall(r"[ML] [\d.]+ ([\d.]+)", path)]
    assert heights == sorted(heights, reverse=True)


def test_a_probe_that_was_left_out_is_a_ring_and_one_without_a_latency_no_point(reports):
    svg = figures_time.run_by_run(reports["capacity"])
    assert svg.count("fill: var(--paper); stroke: var(--a)") == 1
    assert [text for text, *_ in labels(svg) if text in "123"] == ["1", "2", "3"]
    assert "SLO" in [text for text, *_ in labels(svg)]


def test_lines_are_named_at_their_ends(reports):
    said = [text for text, *_ in labels(figures.percentiles(reports["three_arms"]))]
    assert {"current", "light", "heavy"} <= set(said)


def test_the_arms_differ_in_dash_and_colour(reports):
    svg = figures.percentiles(reports["three_arms"])
    lines = re.findall(r'style="fill: none; ([^"]*stroke-width: 1\.8[^"]*)"', svg)
    assert len(lines) == len(set(lines)) == 3
    assert "stroke-dasharray" not in lines[0]


def test_margins_are_shaded_where_a_percentile_is_guarded(reports):
    assert figures.margins_percent(reports["slower"]) == {0.5: 5.0, 0.9: 5.0, 0.99: 10.0}
    svg = figures.shift_function(reports["slower"])
    assert svg.count("fill: var(--shade)") == 3


def test_changes_are_in_percent_of_the_baseline(reports):
    said = {text for text, *_ in labels(figures.shift_function(reports["faster"]))}
    assert {"0", "\u221250", "▲ slower than current, %", "▼ faster than current, %"} <= said


@pytest.mark.parametrize("factor", [1e-6, 1e-3, 1.0, 1e3, 1e6])
def test_changes_of_any_size_have_ticks_that_tell_them_apart(reports, factor, width_px):
    report = reports["faster"]
    shifts = tuple(
        replace(p, ratio=ratio, interval=Interval(low=None, high=1.1 * ratio - 0.1, level=0.95))
        for p in report.shifts
        for ratio in (1 + p.ratio * factor,)
    )
    scaled = replace(report, differences=(), shifts=shifts)
    made = labels(figures.shift_function(scaled, width_px=width_px))
    ticks = [text for text, _, _, anchor in made if anchor == "end"]
    assert len(ticks) == len(set(ticks)) >= 3


def test_the_colours_and_styles_of_the_surroundings_are_not_used(reports):
    import matplotlib as mpl

    before = figures.percentiles(reports["slower"])
    with mpl.rc_context({"lines.linewidth": 9, "axes.facecolor": "red", "svg.fonttype": "path"}):
        assert figures.percentiles(reports["slower"]) == before
