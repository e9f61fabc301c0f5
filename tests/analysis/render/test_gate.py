"""The report of a regression gate, in each of its forms."""

import re
from dataclasses import replace

from analysis.render import figures_time, markdown, runs, tables, text
from analysis.render.format import DASH


def test_a_metric_passes_or_fails(reports):
    rows = tables.rows(reports["gate"], "candidate", "response", "outcome")
    none = f"{DASH} no verdict"
    assert [row.word for row in rows] == ["✗ FAIL", "✓ PASS", none, "✓ PASS"]


def test_the_page_has_its_own_order(reports, rendered):
    page = rendered(reports["gate"])
    parts = re.findall(r'<h2 id="(.*?)"', page)
    assert parts[:3] == ["trust", "how-much", "runs"]
    assert "✗ FAIL" in page
    assert page.count("<small>margin ±") == 4
    assert "3 runs of 10 min at 80 req/s" in page
    of_runs = page[page.index('id="runs"') :]
    assert of_runs.count("20261123-04520") == 6
    assert "47.7 ms" in of_runs


def test_the_runs_are_listed_in_text_and_markdown(reports):
    said = (
        "p50, run by run: current 40.9 ms, 41.1 ms, 41.3 ms; candidate 47.0 ms, 47.7 ms, 48.3 ms."
    )
    assert runs.listed(reports["gate"])[0] == said
    assert said in markdown.render(reports["gate"])
    assert "### ✗ Regression: candidate is worse" in markdown.render(reports["gate"])
    assert "✗ FAIL" in text.render(reports["gate"])


def test_the_figure_of_the_runs_says_whether_the_sides_overlap(reports):
    gate = reports["gate"]
    apart, together = runs.sentence(gate).split(". ")
    assert apart == (
        "p50 response time of the runs: current 40.9 ms to 41.3 ms; candidate 47.0 ms to 48.3 ms; "
        "no run of one side reaches the other's"
    )
    assert together.endswith("the sides overlap.")


def test_a_side_without_numbers_is_left_out_of_the_figure_and_its_sentence(reports):
    gate = reports["gate"]
    unknown = tuple(
        replace(each, values=each.values | {"p50": None}) if each.arm == "current" else each
        for each in gate.runs
    )
    gate = replace(gate, runs=unknown)
    assert runs.sentence(gate).startswith(
        "p50 response time of the runs: candidate 47.0 ms to 48.3 ms. "
    )
    points = sum(len(own) for each in runs.courses(gate) for own in each.sides.values())
    assert figures_time.run_by_run(gate).count("<use") == points


def test_one_run_a_side_is_a_table_alone(reports):
    one = reports["gate"].runs[::3]
    assert runs.courses(replace(reports["gate"], runs=one)) == ()


def test_the_figure_of_the_probes_says_what_a_rate_gave_again(reports):
    assert runs.sentence(reports["capacity"]) == (
        "3 probes, of 20 req/s to 80 req/s. 20 req/s, probed 2 times: 118 ms to 124 ms."
    )


def test_what_differs_between_the_sides_is_told_by_side(reports):
    found = tables.subject(reports["gate"])
    assert found["image, current"] == "ranker:12"
    assert "image, candidate" in found


def test_a_report_of_one_run_lists_none(reports):
    assert runs.listed(reports["faster"]) == ()
    assert tables.subject(reports["faster"]) == reports["faster"].run.subject
