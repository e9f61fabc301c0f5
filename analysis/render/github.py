"""What does GitHub Actions show beside a job? Workflow commands, one a line."""

from analysis.render import format as write
from analysis.results.report import Report


def annotations(report: Report) -> tuple[str, ...]:
    """Write what makes a report fail as `::error` lines: its verdict, then each failed check."""
    said = [" ".join((report.verdict.sentence, *report.verdict.context))]
    failed = [check for check in report.checks if check.state == "fail"]
    said += [f"{check.title}: {write.check_words(check)}" for check in failed]
    title = f"::error title=abreast {write.QUESTIONS[report.question]}::"
    # `plain` leaves no line break; a "%" would begin an escape of the command's own.
    return tuple(title + write.plain(each, 2000).replace("%", "%25") for each in said)
