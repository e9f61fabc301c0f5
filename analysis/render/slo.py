"""What do the limits of an SLO ask, and what was found of each, in whichever renderer."""

from analysis.render import format as write
from analysis.render import tables
from analysis.render.tables import Table
from analysis.results.report import Report
from analysis.results.run import SloResult


def table(report: Report) -> Table:
    """Line the limits up in the plan's order, each with what was found of it."""
    caption = (
        f"Limits on {tables.LATENCY[tables.judged(report)]}, and on errors; how many requests "
        "missed each, and may miss it"
    )
    head = ("SLO", "finding", "where", "found", "missed", "90% interval", "may miss")
    rows = tuple(
        (
            f"{write.plain(of.arm, 24)}\n{_asks(of)}",
            write.SLO_WORDS[of.call],
            _where(of),
            write.latency(of.value_ms),
            f"{write.share(of.missed / of.requests if of.requests else None)}\n"
            f"{write.count(of.missed)} of {write.count(of.requests)}",
            write.share_interval(of.interval),
            write.share(of.allowed),
        )
        for of in report.slo
    )
    calls = tuple(result.call for result in report.slo)
    return Table(caption, head, rows, ends_in_words=False, left=3, calls=calls)


def _asks(of: SloResult) -> str:
    if of.limit_ms is None:
        return "failures"
    return f"{write.metric_word(of.metric)} \u2264 {write.latency(of.limit_ms)}"


def _where(of: SloResult) -> str:
    where = write.plain(of.phase, 24) if of.phase else "whole run"
    if of.window_s is None:
        return where
    each = f"any {write.duration(of.window_s)} of {where}"
    if of.at_s is None or not of.missed:
        return each
    return f"{each}, worst at {write.duration(of.at_s)}"


def notes(report: Report) -> tuple[str, ...]:
    """Say why limits have no verdict, or what settled them; those with the same reason as one."""
    limits: dict[str, dict[str, None]] = {}
    for of in report.slo:
        if of.reason:
            limits.setdefault(of.reason, {})[f"{write.plain(of.arm, 24)} {_asks(of)}"] = None
    return tuple(f"{', '.join(asks)}: {reason}" for reason, asks in limits.items())
