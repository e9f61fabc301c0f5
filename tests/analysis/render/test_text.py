import re
from dataclasses import replace

import pytest
from rich.cells import cell_len

from analysis.render import text
from analysis.results.values import Estimate, Interval


def interval(low, high):
    return Interval(low=low, high=high, level=0.95)


@pytest.mark.parametrize("width", [80, 100])
def test_no_line_is_wider_than_the_terminal(any_report, width):
    for line in text.render(any_report, width=width).splitlines():
        assert cell_len(line) <= width


def test_the_widest_row_fits_the_terminal(reports):
    report = reports["undecided"]
    unbounded = replace(report.differences[1].ratio, value=1.9, interval=interval(0.5, None))
    tiny = Estimate(
        value=-0.00001, interval=interval(-0.000012, 0.00001), interval_90=interval(None, None)
    )
    names = {"arm": "challenger-of-november", "baseline": "model-in-production"}
    rows = tuple(
        replace(d, **names, ratio=d.ratio and unbounded, baseline_value=9876.5, arm_value=9999.4)
        for d in report.differences
        if d.unit == "ms"
    )
    errors = replace(report.differences[5], **names, difference=tiny, baseline_value=0.0000123)
    assert errors.unit == "share"
    shown = text.render(replace(report, differences=(*rows, errors))).splitlines()
    assert max(map(cell_len, shown)) <= 80
    assert any("unbounded" in line and "9,999 ms" in line for line in shown)


def test_the_table_is_aligned(reports):
    lines = text.render(reports["slower"]).splitlines()
    assert lines[1:4] == [
        "             current  candidate    change    95% interval",
        "p50          41.1 ms    39.0 ms     \u22125.1%    \u22126.6 to \u22123.9  ▼ faster",
        "p90          54.0 ms    51.8 ms     \u22124.1%    \u22125.7 to \u22122.2  ≈ same",
    ]


def test_the_verdict_comes_last(any_report):
    shown = text.render(any_report)
    verdict = any_report.verdict
    tail = "".join((" ".join(verdict.context) or verdict.sentence).split())[-12:]
    assert "".join(shown.split()).endswith(tail)
    assert not shown.endswith("\n")


def test_a_finding_and_a_next_step_are_said_of_a_check_that_is_not_ok(reports):
    shown = " ".join(text.render(reports["untrusted"]).split())
    assert "✗ Generator kept up: 8.1% of requests left more than 5 ms late" in shown
    assert "Run with --processes 4" in shown
    assert "Every pinned request" not in shown


def test_the_check_that_replaces_the_verdict_is_explained_once(reports):
    untrusted = reports["untrusted"]
    late = replace(untrusted.checks[1], finding="9.9% came too late")
    verdict = replace(untrusted.verdict, context=(f"{late.finding}.", late.next_step))
    shown = text.render(replace(untrusted, checks=(late,), verdict=verdict))
    assert shown.count("9.9% came too late.") == 1
    assert "✗ Generator kept up\n" in shown


def test_service_time_is_one_line_of_the_guarded_metrics(reports):
    shown = text.render(reports["faster"])
    assert "\nService time: p50 40.7 ms → 4.35 ms (\u221289.3%), p90 53.5 ms → " in shown
    assert "p95 61.1 ms" not in shown


def test_an_imprecise_percentile_is_shown_and_not_judged(reports):
    shown = text.render(reports["faster"])
    assert re.search(r"p99\.9 .* \? imprecise\n", shown)
    assert "p99.9: only 24 requests lie beyond it: imprecise" in shown


def test_answers_are_compared_and_who_is_right_is_left_to_the_verdict(reports):
    shown = " ".join(text.render(reports["faster"]).split())
    assert "candidate and current agree on " in shown
    assert "right" not in shown


def test_an_unbounded_side_is_said_in_words(reports):
    assert "unbounded to +19.0" in text.render(reports["undecided"])


def test_every_arm_is_compared_with_the_baseline(reports):
    shown = text.render(reports["three_arms"])
    assert "light against current" in shown
    assert "heavy against current" in shown


def test_a_run_that_cannot_be_trusted_says_so_before_its_numbers(reports):
    assert text.render(reports["untrusted"]).startswith("This run cannot be trusted")


def test_a_run_that_cannot_be_trusted_gives_no_advice_from_its_numbers(reports):
    open_, verdict = reports["undecided"], reports["untrusted"].verdict
    assert "needs about 25 more minutes" in text.render(open_)
    shown = text.render(replace(open_, verdict=verdict))
    assert "needs about 25 more minutes" not in shown
    assert "p99.9: 6 requests lie beyond it" in shown


def test_one_failure_is_quoted(reports):
    slower = reports["slower"]
    error = replace(slower.errors[0], arm=None, outcome="model_error", count=72, example="No green")
    shown = " ".join(text.render(replace(slower, errors=(error,))).split())
    assert 'Errors: 72 model error (no variant named). One says: "No green"' in shown


def test_colour_changes_nothing_but_colour(any_report):
    plain = text.render(any_report)
    coloured = text.render(any_report, colour=True)
    assert "\x1b" not in plain
    assert re.sub(r"\x1b\[\d+m", "", coloured) == plain
    assert "\x1b[1m" in coloured


def test_text_can_be_encoded(any_report):
    assert text.render(any_report).encode("utf-8")
    assert text.render(any_report).encode("ascii", errors="replace")


def test_of_smoothed_percentiles_only_what_they_contradict_is_said(reports):
    shown = text.render(reports["faster"])
    assert "\np90: its smoothed change disagrees: no overlap.\n" in shown
    assert shown.count("smoothed") == 1


def test_a_kind_of_failure_has_a_row_under_that_of_all(reports):
    lines = text.render(reports["slower"]).splitlines()
    errors = next(i for i, line in enumerate(lines) if line.startswith("errors "))
    assert lines[errors + 1].startswith("model error ")
    assert "0.671%" in lines[errors + 1] or "0.67%" in lines[errors + 1]
