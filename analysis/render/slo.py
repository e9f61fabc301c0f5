"""What do the limits of an SLO ask, and what was found of each, in whichever renderer."""

from dataclasses import dataclass

from analysis.render import format as write
from analysis.render import tables
from analysis.render.capacity import Table
from analysis.results.report import Report
from analysis.results.run import SloResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One limit of the SLO, as words: what it asks, where, and what was found."""

    source: SloResult
    asks: str
    where: str
    value: str
    missed: str
    interval: str
    allowed: str
    word: str


def rows(report: Report) -> tuple[Row, ...]:
    """Word every limit of the SLO, in the plan's order."""
    return tuple(
        Row(
            source=result,
            asks=f"{write.metric_word(result.metric)} \u2264 {write.latency(result.limit_ms)}"
            if result.limit_ms is not None
            else "failures",
            where=_scope(result),
            value=write.DASH if result.value_ms is None else write.latency(result.value_ms),
            missed=write.share(result.missed / result.requests) if result.requests else write.DASH,
            interval=write.share_interval(result.interval),
            allowed=write.share(result.allowed),
            word=write.SLO_WORDS[result.call],
        )
        for result in report.slo
    )


def _scope(result: SloResult) -> str:
    where = write.plain(result.phase, 24) if result.phase else "whole run"
    if result.window_s is None:
        return where
    each = f"any {write.duration(result.window_s)} of {where}"
    if result.at_s is None or not result.missed:
        return each
    return f"{each}, worst at {write.duration(result.at_s)}"


def table(report: Report) -> Table:
    """Line the limits up, each with what was found of it."""
    shown = rows(report)
    head = ("SLO", "finding", "where", "found", "missed", "90% interval", "may miss")
    caption = (
        f"Limits on {tables.LATENCY[tables.judged(report)]}, and on errors; how many requests "
        "missed each, and may miss it"
    )
    lines = tuple(
        (
            f"{write.plain(of.arm, 24)}\n{row.asks}", row.word, row.where, row.value,
            f"{row.missed}\n{write.count(of.missed)} of {write.count(of.requests)}",
            row.interval, row.allowed,
        )
        for row in shown
        for of in (row.source,)
    )  # fmt: skip
    calls = tuple(row.source.call for row in shown)
    return Table(caption, head, lines, ends_in_words=False, left=3, calls=calls)


def notes(report: Report) -> tuple[str, ...]:
    """Say why limits have no verdict, or what settled them; those with the same reason as one."""
    limits: dict[str, dict[str, None]] = {}
    for row in rows(report):
        if row.source.reason:
            asks = f"{write.plain(row.source.arm, 24)} {row.asks}"
            limits.setdefault(row.source.reason, {})[asks] = None
    return tuple(f"{', '.join(asks)}: {reason}" for reason, asks in limits.items())
