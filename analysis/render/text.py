"""What does the terminal show? The table first, the verdict last, next to the prompt."""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat

from rich.cells import cell_len, chop_cells

from analysis.render import answers, capacity, runs, slo, tables
from analysis.render import format as write
from analysis.results.report import Report

_RED, _GREEN, _YELLOW, _BOLD = "31", "32", "33", "1"
_CALL_COLOURS = {
    "better": _GREEN, "worse": _RED, "undecided": _YELLOW, "untrusted": _RED,
    "met": _GREEN, "broken": _RED,
}  # fmt: skip
_CHECK_COLOURS = {"ok": _GREEN, "warn": _YELLOW, "fail": _RED}


def render(report: Report, *, width: int = 80, colour: bool = False) -> str:
    """Write a report as lines of at most `width` cells, with ANSI colours if asked for.

    The verdict comes last and has no line break after it.
    """
    text = "\n\n".join("\n".join(part) for part in _parts(report, width) if part)
    return text if colour else re.sub(r"\x1b\[\d+m", "", text)


def _parts(report: Report, width: int) -> Iterator[list[str]]:
    if report.verdict.validity == "INVALID":
        yield _wrap(tables.NOT_TO_BE_RELIED_ON, width)
    for arm, baseline in tables.compared(report):
        yield from _comparison(report, arm, baseline, width)
    if report.slo:
        yield _slo(report, width)
        yield wrapped(slo.notes(report), width)
    if report.differences:
        yield _wrap(tables.margins_sentence(report), width)
    yield wrapped((*answers.streaming_sentences(report), answers.cold_sentence(report)), width)
    yield wrapped(runs.listed(report), width)
    if found := report.capacity:
        for table in (capacity.rates(found), capacity.peaks(found), capacity.limits(found)):
            if table is not None:
                yield _plain_table(table, width)
        yield wrapped(capacity.sizing_sentences(found), width)
    yield _trust(report, width)
    said = answers.errors_sentence(report), answers.cost_sentence(report)
    yield wrapped((*answers.agreement_sentences(report.answers), *said), width)
    if (counted := answers.cloudwatch(report)) is not None:
        head = ("", "records", "counted", *counted.head[3:-1], "service")  # 80 cells hold these
        yield _wrap(counted.caption, width) + _plain_table(counted._replace(head=head), width)
    yield wrapped(report.cloudwatch.notes if report.cloudwatch else (), width)
    yield _verdict(report, width)


def _comparison(report: Report, arm: str, baseline: str, width: int) -> Iterator[list[str]]:
    shown = tables.rows(report, arm, tables.judged(report), "outcome")
    measure = tables.LATENCY[tables.judged(report)]
    title = _wrap(f"{write.name(arm)} against {write.name(baseline)}: {measure}", width)
    yield title + _table(shown, baseline, arm, tables.level(report), width)
    guarded = {row.source.metric for row in shown if row.source.margin is not None}
    service = [
        f"{row.label} {row.baseline} → {row.arm}"
        + ("" if row.change is write.NO_CHANGE else f" ({row.change.value})")
        for row in tables.beside(report, arm)
        if not guarded or row.source.metric in guarded
    ]
    if service:
        yield _wrap(f"Service time: {', '.join(service)}", width)
    yield wrapped(tables.notes(report, shown), width)


def _table(
    shown: tuple[tables.Row, ...], baseline: str, arm: str, level: str, width: int
) -> list[str]:
    rows = []
    for row in shown:
        label = "errors" if row.source.metric == "error_rate" else row.label
        word = row.word.replace("no difference that matters", "same")
        rows.append([label, row.baseline, row.arm, row.change.value, row.change.interval, word])

    for most in (12, 8, 4):
        short = (write.plain(n, most if n.isascii() else most // 2) for n in (baseline, arm))
        table = [["", *short, "change", f"{level} interval", ""], *rows]
        if sum(_widths(table)) + 2 * 5 <= width:
            break
    return aligned(table, ["", *(_CALL_COLOURS.get(row.source.call, "") for row in shown)])


def _slo(report: Report, width: int) -> list[str]:
    shown = slo.table(report).rows
    for most in (24, 12, 6):
        table = [["SLO", "found", "missed", "90% interval", "may", ""]]
        for asks, finding, _, value, missed, interval, allowed in shown:
            arm, limit = asks.split("\n")
            word = finding.replace("cannot tell yet", "open")
            asked = f"{write.plain(arm, most)} {limit}"
            table.append([asked, value, missed.split("\n")[0], interval, allowed, word])
        if sum(_widths(table)) + 2 * 5 <= width:
            break
    colours = ["", *(_CALL_COLOURS.get(each.call, "") for each in report.slo)]
    places = ["whole run", *(row[2] for row in shown)]
    return [
        line
        for row, where in zip(aligned(table, colours), places, strict=True)
        for line in (row, *([] if where == "whole run" else [f"  {where}"]))
    ]


def _plain_table(table: tables.Table, width: int) -> list[str]:
    lines = (line.rstrip() for line in aligned([table.head, *table.rows]))
    return [
        piece
        for line in lines
        for piece in ([line] if cell_len(line) <= width else _wrap(line, width))
    ]


def _widths(table: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(cell_len, column)) for column in zip(*table, strict=True)]


def aligned(table: Sequence[Sequence[str]], colours: Iterable[str] = repeat("")) -> list[str]:
    """Line up a table: the first column to the left, the last as it is, the rest to the right."""
    cells = _widths(table)
    lines = []
    for (label, *numbers, word), colour in zip(table, colours, strict=False):
        aligned = [" " * (n - cell_len(x)) + x for n, x in zip(cells[1:-1], numbers, strict=True)]
        start = "  ".join([label + " " * (cells[0] - cell_len(label)), *aligned])
        lines.append(f"{start}  {_paint(word, colour)}" if word else start.rstrip())
    return lines


def _trust(report: Report, width: int) -> list[str]:
    if not report.checks:
        return []
    marks = [f"{write.CHECK_SYMBOLS[c.state]} {write.plain(c.title)} " for c in report.checks]
    lines = _fill(["Trust: ", *marks], width)
    said_last = report.verdict.context
    for check in report.checks:
        if check.state != "ok" and f"{check.finding}." not in said_last:
            said = f"{write.CHECK_SYMBOLS[check.state]} {check.title}: {write.check_words(check)}"
            lines += [_paint(line, _CHECK_COLOURS[check.state]) for line in _wrap(said, width)]
    return lines


def _verdict(report: Report, width: int) -> list[str]:
    lines = []
    if report.verdict.validity == "SUSPECT":
        lines.append(_paint("Suspect: see the checks marked ! above.", _YELLOW))
    colour = _CALL_COLOURS.get(report.verdict.state, "")
    sentence = _wrap(report.verdict.sentence, width)
    lines += [_paint(_paint(line, colour), _BOLD) for line in sentence]
    return lines + _wrap(" ".join(report.verdict.context), width)


def _paint(text: str, code: str) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if code else text


def wrapped(sentences: Iterable[str], width: int = 80) -> list[str]:
    """Break sentences of foreign text into lines of at most `width` terminal cells."""
    return [line for said in sentences for line in _wrap(said, width)]


def _wrap(text: str, width: int) -> list[str]:
    """Break foreign text into lines of at most `width` terminal cells; later lines are indented."""
    return _fill(write.plain(text, 600).split(" "), width)


def _fill(words: list[str], width: int) -> list[str]:
    lines: list[str] = []
    line = ""
    for word in words:
        for piece in chop_cells(word, width - 2) or [""]:
            if line.strip() and cell_len(line) + 1 + cell_len(piece) > width:
                lines.append(line.rstrip())
                line = "  "
            line += f" {piece}" if line.strip() else piece
    return [*lines, line.rstrip()] if line.strip() else lines
