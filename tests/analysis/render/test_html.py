import os
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np

from analysis.compare import METHOD
from analysis.render import answers, findings, html, json, runs, slo
from analysis.render.figures import shown_shifts
from analysis.render.format import DASH

ROOT = Path(__file__).parents[3]
VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """What a page holds: its elements in order, their text, and whether they nest."""

    def __init__(self, text):
        super().__init__()
        self.stack, self.elements, self.texts, self.misnested = [], [], {}, []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.stack or self.stack.pop() != tag:
            self.misnested.append(tag)

    def handle_data(self, data):
        for tag in self.stack:
            self.texts[tag] = self.texts.get(tag, "") + data

    def all(self, *tags):
        return [attributes for tag, attributes in self.elements if tag in tags]


def test_a_page_nests_and_is_headed_labelled_and_self_contained(any_report, rendered):
    page = Page(rendered(any_report))
    assert (page.misnested, page.stack) == ([], [])
    assert len(page.all("h1")) == len(page.all("title")) == 1
    assert page.texts["h1"] == page.texts["title"] != ""
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))
    assert page.all("html") == [{"lang": "en-GB"}]
    assert [len(page.all(landmark)) for landmark in ("header", "main", "footer")] == [1, 1, 1]
    assert all("aria-labelledby" in section for section in page.all("section"))
    assert len(page.all("table")) == len(page.all("caption")) >= 1
    assert {attributes.get("scope") for attributes in page.all("th")} <= {"col", "row"}
    # Nothing is run, and nothing is asked for.
    assert not page.all("script", "iframe", "object", "embed", "img", "base", "form")
    for _, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "xlink:href"):
            assert attributes.get(name, "#").startswith(("#", "data:,", "data:image/png;base64,"))
    assert "@import" not in page.texts["style"]
    assert "url(" not in page.texts["style"]
    # Ids are unique, and references lead somewhere.
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    referred = {a["aria-labelledby"] for _, a in page.elements if "aria-labelledby" in a}
    links = [a["xlink:href"] for _, a in page.elements if "xlink:href" in a]
    referred |= {link[1:] for link in links if link.startswith("#")}
    for _, attributes in page.elements:
        for name in ("clip-path", "mask"):
            referred |= set(re.findall(r"url\(#(.*?)\)", attributes.get(name, "")))
    assert referred <= set(ids)


def test_every_figure_states_its_finding_and_has_its_numbers(any_report, rendered):
    figures = re.findall("<figure>.*?</figure>", rendered(any_report), flags=re.DOTALL)
    has_percentiles = any(arm.percentiles for arm in any_report.arms)
    routed = any_report.who_answered is not None and bool(any_report.who_answered.routed)
    drawn = [
        shown_shifts(any_report), any_report.capacity, has_percentiles, any_report.over_time,
        routed, runs.courses(any_report),
    ]  # fmt: skip
    assert len(figures) == sum(map(bool, drawn))
    for figure in figures:
        page = Page(figure)
        (image,) = [a for a in page.all("div") if a.get("role") == "img"]
        assert len(image["aria-label"]) > 40
        assert page.all("figcaption")
        assert page.all("details")
        assert page.all("table")
        assert len(page.all("svg")) == 2


def test_hostile_text_stays_text(reports, rendered):
    page = Page(rendered(reports["hostile"]))
    assert "<script>alert('x')</script>" in page.texts["h1"]
    assert "49" not in page.texts["h1"]
    assert "<script>alert('x')</script>" in page.texts["pre"]
    # Ten thousand characters of an error are of no use to a reader.
    assert len(max(re.findall("x+", page.texts["ul"]), key=len)) <= 600


def test_the_state_is_said_in_words(reports, rendered):
    for name, words in (
        ("faster", "✓ Better"),
        ("slower", "✗ Worse"),
        ("tied", "≈ No difference that matters"),
        ("undecided", "? Cannot tell yet"),
        ("untrusted", "✗ Cannot be trusted"),
    ):
        assert words in Page(rendered(reports[name])).texts["header"]


def test_service_time_is_closed_until_asked_for(any_report, rendered):
    made = rendered(any_report)
    assert "<details open>" not in made
    summary = "<summary>Service time, from when each request left</summary>"
    shown = any(each.measure == "service" for each in any_report.differences)
    assert (summary in made) == shown


def test_a_difference_in_milliseconds_stands_under_the_change_without_an_interval(reports):
    # 84 % of 50 ms are 42 ms.
    of = reports["faster"].differences[0]
    changed = replace(of, baseline_value=50.0, arm_value=8.0)
    made = html.render(replace(reports["undecided"], differences=(changed,)))
    assert '<td class="n">\u221289.3%<small>\u221242.0 ms</small></td>' in made
    assert not re.search(r" to [^<]* ms<", made)


def test_the_account_of_requests_is_on_the_page(reports, rendered):
    said = "50,400 planned = 50,388 ended + 0 dropped + 12 unsent + 0 missing"
    assert said in rendered(reports["faster"])


def test_report_json_alone_gives_the_same_bytes_in_any_process(reports, rendered, tmp_path):
    names = ("slower", "capacity")
    for name in names:
        (tmp_path / f"{name}.json").write_text(json.render(reports[name]), encoding="utf-8")
    code = (
        "import sys, pathlib\n"
        "from analysis.render import html, json\n"
        "for name in sys.argv[2:]:\n"
        "    path = pathlib.Path(sys.argv[1], name)\n"
        "    report = json.parse(path.with_suffix('.json').read_bytes())\n"
        "    path.with_suffix('.html').write_text(html.render(report), encoding='utf-8')\n"
    )
    surroundings = {**os.environ, "PYTHONHASHSEED": "1"}
    command = [sys.executable, "-c", code, str(tmp_path), *names]
    subprocess.run(command, cwd=ROOT, env=surroundings, check=True, timeout=60)
    for name in names:
        assert (tmp_path / f"{name}.html").read_text("utf-8") == rendered(reports[name])


def test_the_page_of_ten_million_requests_is_smaller_than_a_megabyte(reports):
    # What a long run gives at most: each bin of each step is full, and seven nines are shown.
    base, random = reports["slower"], np.random.default_rng(1)
    counts = tuple(map(tuple, random.integers(0, 100_000, (120, 48)).tolist()))
    kinds = {f"kind_{i}": tuple(random.integers(0, 9, 120).tolist()) for i in range(12)}
    rates_rps = tuple(random.uniform(0, 3000, 120).tolist())
    course = replace(
        base.over_time, arms=tuple(replace(arm, counts=counts) for arm in base.over_time.arms),
        errors=kinds, planned_rps=rates_rps, achieved_rps=rates_rps,
    )  # fmt: skip
    at = base.arms[0].percentiles[0]
    nines = [replace(at, quantile=1 - 10 ** -(i / 25)) for i in range(1, 176)]
    arms = tuple(replace(arm, percentiles=tuple(nines)) for arm in base.arms)
    shares = tuple(random.uniform(0.4, 0.6, 120).tolist())
    routed = tuple(
        replace(each, shares=shares, band=((0.45, 0.55),) * 120)
        for each in base.who_answered.routed
    )
    answered = replace(base.who_answered, routed=routed)
    made = html.render(replace(base, arms=arms, over_time=course, who_answered=answered))
    assert 100_000 < len(made.encode()) < 1_000_000


def test_smoothed_percentiles_are_folded_away_and_what_they_contradict_is_not(reports, rendered):
    page = Page(rendered(reports["faster"]))
    assert "smoothed over their neighbours, from 23,990 pairs" in page.texts["summary"]
    assert "p90 over p60\u2013p97.5" in page.texts["th"]
    assert "p90: its smoothed change disagrees: no overlap." in page.texts["p"]
    assert "smoothed" not in Page(rendered(reports["slower"])).texts["summary"]


def test_a_run_that_is_not_trusted_says_so_once_before_its_numbers(reports, rendered):
    untrusted = reports["untrusted"].verdict
    for name in ("untrusted", "load", "capacity"):
        made = rendered(replace(reports[name], verdict=untrusted))
        assert made.count('class="notice"') == 1
        numbers = made.index("<table", made.index('id="trust"'))
        assert made.index('id="trust"') < made.index('class="notice"') < numbers


def test_failures_that_name_no_variant_are_no_ones(reports):
    slower = reports["slower"]
    unnamed = replace(slower.errors[0], arm=None)
    arms = tuple(replace(arm, error_rate=None) for arm in slower.arms)
    report = replace(slower, errors=(unnamed, *slower.errors[1:]), arms=arms)
    *own, last = answers.requests(report).rows
    assert [row[-2:] for row in own] == [("5 or more", DASH), ("168 or more", DASH)]
    assert last == ("no variant named", DASH, "161", "161", "100%")
    assert answers.errors(report).rows[0][0] == "no variant named"


def test_a_note_names_the_limits_that_it_is_about(reports):
    load = reports["load"]
    results = (*load.slo[:2], *(replace(r, reason="Too few.") for r in load.slo[2:]))
    (note,) = slo.notes(replace(load, slo=results))
    assert note == "current p99 \u2264 300 ms, current failures: Too few."


def test_the_last_step_weighs_what_is_left_of_it(reports):
    # Of the two steps of the last stretch, 20 req/s for 10 s and 40 for the 5 s that are left.
    faster = reports["faster"]
    rates_rps = (20.0,) * 13 + (40.0,)
    heats = tuple(replace(heat, counts=heat.counts[:14]) for heat in faster.over_time.arms)
    course = replace(faster.over_time, arms=heats, planned_rps=rates_rps, achieved_rps=rates_rps)
    run = replace(faster.run, warmup_s=0.0, measured_s=135.0)
    report = replace(faster, run=run, over_time=course)
    assert findings.over_time(report).rows[-1][1:3] == ("26.7 req/s", "26.7 req/s")


def test_the_method_is_four_sentences_and_the_rest_is_folded_away(reports):
    made = html.render(replace(reports["empty"], method=METHOD))
    shown, folded = made[made.index("<h3>Method") :].split("<details>", 1)
    assert shown.count("<p>") == 1
    assert len(re.findall(r"[.] [A-Z]|[.]</p>", shown)) == 4
    assert "<summary>The method in full</summary>" in folded
    assert "Newcombe" in folded[: folded.index("</details>")]


def test_an_arm_is_drawn_in_its_colour(reports, rendered):
    made = rendered(reports["three_arms"])
    found = [each[1] for each in re.finditer(r'class="interval (arm-\d)"', made)]
    assert sorted(set(found)) == ["arm-1", "arm-2"]


def test_a_heading_keeps_numbers_and_units_together(reports, rendered):
    assert "36.7\u00a0ms faster" in Page(rendered(reports["faster"])).texts["h1"]


def test_a_kind_of_failure_has_a_row(reports, rendered):
    assert "model error" in Page(rendered(reports["slower"])).texts["th"]
