import re
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest

from analysis.render import figures
from analysis.results import Interval

SVG = "{http://www.w3.org/2000/svg}"
DRAWN = [figures.shift_function, figures.percentiles]


def labels(svg):
    """List text, x, y and anchor of everything written in a figure."""
    return [
        (
            element.text,
            float(element.get("x")),
            float(element.get("y")),
            "end"
            if "end" in element.get("style")
            else "middle"
            if "middle" in element.get("style")
            else "start",
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


@pytest.fixture(params=[figures.WIDE_PX, figures.NARROW_PX])
def width_px(request):
    return request.param


@pytest.mark.parametrize("draw", DRAWN)
def test_a_figure_is_the_same_bytes_twice(draw, any_report, width_px):
    if any_report.shifts:
        assert draw(any_report, width_px=width_px) == draw(any_report, width_px=width_px)


@pytest.mark.parametrize("draw", DRAWN)
def test_a_figure_without_data_is_refused(draw, reports):
    with pytest.raises(ValueError, match="the report has no"):
        draw(reports["empty"])


@pytest.mark.parametrize("draw", DRAWN)
def test_a_figure_is_an_svg_in_the_colours_of_the_page(draw, any_report, width_px):
    if not any_report.shifts:
        return
    svg = draw(any_report, width_px=width_px)
    root = ET.fromstring(svg)
    assert root.tag == f"{SVG}svg"
    assert root.get("viewBox") == f"0 0 {width_px} 300"
    styles = " ".join(element.get("style", "") for element in root.iter())
    assert set(re.findall(r"(?:fill|stroke): (#\w+)", styles)) == set()
    assert "var(--b)" in styles
    assert "font-family" not in styles
    assert not list(root.iter(f"{SVG}style"))
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    prefix = {figures.shift_function: "shift", figures.percentiles: "percentiles"}[draw]
    assert all(each.startswith(f"{prefix}-{width_px}-") for each in ids)


@pytest.mark.parametrize("draw", DRAWN)
def test_no_two_labels_overlap(draw, any_report, width_px):
    if not any_report.shifts:
        return
    boxes = [(label, box(*label)) for label in labels(draw(any_report, width_px=width_px))]
    for i, (a, box_a) in enumerate(boxes):
        for b, box_b in boxes[i + 1 :]:
            assert not overlap(box_a, box_b), (a, b)


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
    scaled = replace(
        report,
        differences=(),
        shifts=tuple(
            replace(
                p,
                ratio=1 + p.ratio * factor,
                interval=Interval(low=None, high=1 + p.ratio * factor * 1.1, level=0.95),
            )
            for p in report.shifts
        ),
    )
    ticks = [
        text
        for text, _, _, anchor in labels(figures.shift_function(scaled, width_px=width_px))
        if anchor == "end"
    ]
    assert len(ticks) == len(set(ticks)) >= 3


def test_a_hostile_name_is_only_text(reports):
    for draw in DRAWN:
        assert ET.fromstring(draw(reports["hostile"])) is not None


def test_the_colours_and_styles_of_the_surroundings_are_not_used(reports):
    import matplotlib as mpl

    before = figures.percentiles(reports["slower"])
    with mpl.rc_context({"lines.linewidth": 9, "axes.facecolor": "red", "svg.fonttype": "path"}):
        assert figures.percentiles(reports["slower"]) == before
