"""What does GitHub Actions show beside a job? Workflow commands, one a line."""

from collections.abc import Iterable

from analysis.render import format as write
from analysis.results.report import Report


def annotations(report: Report) -> tuple[str, ...]:
    """Write what makes a report fail as `::error` lines: its verdict, then each failed check."""
    return tuple(_error(write.QUESTIONS[report.question], said) for said in _said(report))


def _said(report: Report) -> Iterable[str]:
    yield " ".join((report.verdict.sentence, *report.verdict.context))
    for check in report.checks:
        if check.state == "fail":
            yield f"{check.title}: {write.check_words(check)}"


def _error(title: str, message: str) -> str:
    # `plain` leaves no line break; a "%" would begin an escape of the command's own.
    return f"::error title=abreast {title}::{write.plain(message, 2000).replace('%', '%25')}"
