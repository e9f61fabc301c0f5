"""The report of a regression gate, in each of its forms."""

import re

from analysis.render import html, markdown, tables, text
from analysis.render.format import DASH


def test_a_metric_passes_or_fails(reports):
    rows = tables.rows(reports["gate"], "candidate", "response", "outcome")
    none = f"{DASH} no verdict"
    assert [row.word for row in rows] == ["✗ FAIL", "✓ PASS", none, "✓ PASS"]


def test_the_page_has_its_own_order(reports):
    page = html.render(reports["gate"])
    parts = re.findall(r'<h2 id="(.*?)"', page)
    assert parts[:3] == ["trust", "how-much", "runs"]
    assert "✗ FAIL" in page
    assert page.count("<small>margin ±") == 4
    assert "3 runs of 10 min at 80 req/s" in page
    runs = page[page.index('id="runs"') :]
    assert runs.count("20261123-04520") == 6
    assert "47.7 ms" in runs


def test_the_runs_are_listed_in_text_and_markdown(reports):
    said = (
        "p50, run by run: current 40.9 ms, 41.1 ms, 41.3 ms; candidate 47.0 ms, 47.7 ms, 48.3 ms."
    )
    assert tables.run_sentences(reports["gate"])[0] == said
    assert said in markdown.render(reports["gate"])
    assert "### ✗ Regression: candidate is worse" in markdown.render(reports["gate"])
    assert "✗ FAIL" in text.render(reports["gate"])


def test_what_differs_between_the_sides_is_told_by_side(reports):
    found = tables.subject(reports["gate"])
    assert found["image, current"] == "ranker:12"
    assert "image, candidate" in found


def test_a_report_of_one_run_lists_none(reports):
    assert tables.run_sentences(reports["faster"]) == ()
    assert tables.subject(reports["faster"]) == reports["faster"].run.subject
