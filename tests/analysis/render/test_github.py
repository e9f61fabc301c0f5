"""Workflow commands: one line each, whatever the text says."""

from dataclasses import replace

from analysis.render import github


def test_the_verdict_is_an_error(reports):
    (said,) = github.annotations(reports["gate"])
    assert said == (
        "::error title=abreast Regression::Regression: candidate is worse than current: "
        "p50 +16.0%25 (+12.0 to +20.1%25)."
    )


def test_failed_checks_follow(reports):
    _, check = github.annotations(reports["untrusted"])
    assert check.startswith("::error title=abreast A/B comparison::Generator kept up: 8.1%25 of")


def test_foreign_text_cannot_start_a_command(reports):
    report = reports["gate"]
    hostile = replace(report.verdict, sentence="a\n::stop-commands::x\r\n%0A::warning::y")
    (said,) = github.annotations(replace(report, verdict=hostile))
    assert "\n" not in said
    assert "\r" not in said
    assert "%0A" not in said.replace("%250A", "")
