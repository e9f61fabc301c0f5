import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

from analysis.render import html

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


def test_the_page_nests_and_closes(any_report):
    page = Page(html.render(any_report))
    assert page.misnested == []
    assert page.stack == []


def test_the_heading_is_the_title(any_report):
    page = Page(html.render(any_report))
    assert len(page.all("h1")) == len(page.all("title")) == 1
    assert page.texts["h1"] == page.texts["title"] != ""


def test_headings_skip_no_level(any_report):
    page = Page(html.render(any_report))
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))


def test_nothing_is_run_and_nothing_is_asked_for(any_report):
    page = Page(html.render(any_report))
    assert not page.all("script", "iframe", "object", "embed", "img", "base", "form")
    for _, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "xlink:href"):
            assert attributes.get(name, "#").startswith(("#", "data:,"))
    assert "@import" not in page.texts["style"]
    assert "url(" not in page.texts["style"]


def test_ids_are_unique_and_references_lead_somewhere(any_report):
    page = Page(html.render(any_report))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    referred = {a["aria-labelledby"] for _, a in page.elements if "aria-labelledby" in a}
    referred |= {a["xlink:href"][1:] for _, a in page.elements if "xlink:href" in a}
    for _, attributes in page.elements:
        referred |= set(re.findall(r"url\(#(.*?)\)", attributes.get("clip-path", "")))
    assert referred <= set(ids)


def test_every_figure_states_its_finding_and_has_its_numbers(any_report):
    made = html.render(any_report)
    figures = re.findall("<figure>.*?</figure>", made, flags=re.DOTALL)
    has_percentiles = any(arm.percentiles for arm in any_report.arms)
    assert len(figures) == bool(any_report.shifts) + has_percentiles
    for figure in figures:
        page = Page(figure)
        (image,) = [a for a in page.all("div") if a.get("role") == "img"]
        assert len(image["aria-label"]) > 40
        assert page.all("figcaption")
        assert page.all("details")
        assert page.all("table")
        assert len(page.all("svg")) == 2


def test_every_table_has_a_caption_and_scoped_heads(any_report):
    page = Page(html.render(any_report))
    assert len(page.all("table")) == len(page.all("caption")) >= 1
    assert {attributes.get("scope") for attributes in page.all("th")} <= {"col", "row"}


def test_the_page_says_its_language_and_has_landmarks(any_report):
    page = Page(html.render(any_report))
    assert page.all("html") == [{"lang": "en-GB"}]
    for landmark in ("header", "main", "footer"):
        assert len(page.all(landmark)) == 1
    assert all("aria-labelledby" in section for section in page.all("section"))


def test_hostile_text_stays_text(reports):
    made = html.render(reports["hostile"])
    page = Page(made)
    assert "<script>alert('x')</script>" in page.texts["h1"]
    assert "49" not in page.texts["h1"]
    assert "<script>alert('x')</script>" in page.texts["pre"]
    assert not re.search(r"[\x00-\x08\x0b-\x1f\u202a-\u202e]", made)
    # Ten thousand characters of an error are of no use to a reader.
    assert len(max(re.findall("x+", page.texts["ul"]), key=len)) <= 600


def test_the_state_is_said_in_words(reports):
    for name, words in (
        ("faster", "▼ Better"),
        ("slower", "▲ Worse"),
        ("tied", "≈ No difference that matters"),
        ("undecided", "? Cannot tell yet"),
        ("untrusted", "✗ Cannot be trusted"),
    ):
        assert words in Page(html.render(reports[name])).texts["header"]


def test_service_time_is_closed_until_asked_for(any_report):
    made = html.render(any_report)
    assert "<details open>" not in made
    summary = "<summary>Service time, from when each request left</summary>"
    shown = any(each.measure == "service" for each in any_report.differences)
    assert (summary in made) == shown


def test_a_difference_in_milliseconds_stands_under_the_change_without_an_interval(reports):
    # 84 % of 50 ms are 42 ms.
    of = reports["faster"].differences[0]
    changed = replace(of, baseline_value=50.0, arm_value=8.0)
    made = html.render(replace(reports["faster"], differences=(changed,)))
    assert '<td class="n">\u221289.3%<small>\u221242.0 ms</small></td>' in made
    assert not re.search(r" to [^<]* ms<", made)


def test_the_account_of_requests_is_on_the_page(reports):
    said = "50,400 planned = 50,388 ended + 0 dropped + 12 unsent + 0 missing"
    assert said in html.render(reports["faster"])


def test_a_report_gives_the_same_page_twice(any_report):
    assert html.render(any_report) == html.render(any_report)


def test_smoothed_percentiles_are_folded_away(reports):
    page = Page(html.render(reports["faster"]))
    assert "smoothed over their neighbours, from 23,990 pairs" in page.texts["summary"]
    assert "p60\u2013p97.5" in page.texts["td"]
    assert "conflict with p90: no overlap" in page.texts["td"]
    assert "smoothed" not in Page(html.render(reports["slower"])).texts["summary"]


def test_a_kind_of_failure_has_a_row(reports):
    assert "model error" in Page(html.render(reports["slower"])).texts["th"]
