"""The report of a regression gate, in each of its forms."""

import re
from dataclasses import replace

import pytest

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


def drifted(reports, current, candidate):
    """Say what of a gate's p50 is said to have drifted, by its runs' numbers in milliseconds."""
    a_run = reports["gate"].runs[0]
    sides = {"current": current, "candidate": candidate}
    made = tuple(
        replace(
            a_run, run=f"run-{place}", arm=arm, started_at=f"2026-11-23T04:52:{place:02}Z",
            values={"p50": value_ms},
        )
        for arm, values_ms in sides.items()
        for place, value_ms in enumerate(values_ms)
        if value_ms
    )  # fmt: skip
    (said,) = runs.drifts(replace(reports["gate"], runs=made))
    return said


@pytest.mark.parametrize(
    ("current", "candidate", "said"),
    [
        # Pearson's r of the logarithms with the run's number: 0.998, and 0.21 of the ratio's.
        ((10, 11, 12.1, 13.2, 14.6), (5.1, 5.4, 6.1, 6.5, 7.4), "The sides share it, as far as 5"),
        ((10, 11, 12.1, 13.2, 14.6), (5, 5.1, 4.9, 5, 5.1), "The sides do not share"),
        ((10, 11, 9, 10.5, 9.5), (5, 5.1, 4.9, 5, 5.1), "no drift over the runs is shown"),
        ((10, 10, 10), (5, 5, 5), "no drift over the runs is shown"),
        ((10, 20), (5, 5), "no drift over the runs is shown"),
        ((10, 0, 11, 0, 12.1), (0, 5, 0, 5.1, 0, 4.9), "Each run is of one side"),
        ((), (10, 11, 12.1, 13.3), "current \u2013, candidate 10.0 ms to 13.3 ms"),
    ],
)
def test_a_drift_of_the_runs_is_said_to_be_shared_or_not(reports, current, candidate, said):
    assert said in drifted(reports, current, candidate)


def test_the_page_the_terminal_and_the_comment_say_what_drifted(reports, rendered):
    gate = reports["gate"]
    said = runs.drifts(gate)[-1]
    assert said == "p90 response time: no drift over the runs is shown."
    assert said in rendered(gate)
    assert said in text.render(gate)
    assert said in markdown.render(gate)
    assert runs.drifts(reports["capacity"]) == runs.drifts(reports["faster"]) == ()
