"""What does the terminal show? The table first, the verdict last, next to the prompt."""

import re
from collections.abc import Iterable, Iterator
from itertools import repeat

from rich.cells import cell_len, chop_cells

from analysis.render import answers, capacity, slo, tables
from analysis.render import format as write
from analysis.results.capacity import Capacity
from analysis.results.report import Report

_RED, _GREEN, _YELLOW, _BOLD = "31", "32", "33", "1"
_CALL_COLOURS = {"better": _GREEN, "worse": _RED, "undecided": _YELLOW, "untrusted": _RED}
_SLO_COLOURS = {"met": _GREEN, "broken": _RED, "undecided": _YELLOW}
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
        yield [line for note in slo.notes(report) for line in _wrap(note, width)]
    if report.differences:
        yield _wrap(tables.margins_sentence(report), width)
    beside = (*answers.streaming_sentences(report), answers.cold_sentence(report))
    yield [line for said in beside for line in _wrap(said, width)]
    yield [line for said in tables.run_sentences(report) for line in _wrap(said, width)]
    if report.capacity is not None:
        yield from _capacity(report.capacity, width)
    yield _trust(report, width)
    said = (
        *answers.agreement_sentences(report.answers),
        answers.errors_sentence(report),
        answers.cost_sentence(report),
    )
    yield [line for sentence in said for line in _wrap(sentence, width)]
    yield from _cloudwatch(report, width)
    yield _verdict(report, width)


def _cloudwatch(report: Report, width: int) -> Iterator[list[str]]:
    if (table := answers.cloudwatch(report)) is not None:
        head = ("", "records", "counted", *table.head[3:-1], "service")  # 80 cells hold these
        yield [*_wrap(table.caption, width), *_plain_table(table._replace(head=head), width)]
    notes = report.cloudwatch.notes if report.cloudwatch else ()
    yield [line for note in notes for line in _wrap(note, width)]


def _plain_table(table: capacity.Table, width: int) -> list[str]:
    shown = [list(table.head), *(list(row) for row in table.rows)]
    lines = aligned(shown)
    return [piece for line in lines for piece in _wide(line, width)]


def _capacity(found: Capacity, width: int) -> Iterator[list[str]]:
    for table in (capacity.rates(found), capacity.peaks(found), capacity.limits(found)):
        if table is not None:
            yield _plain_table(table, width)
    yield [line for said in capacity.sizing_sentences(found) for line in _wrap(said, width)]


def _wide(line: str, width: int) -> list[str]:
    return [line.rstrip()] if cell_len(line.rstrip()) <= width else _wrap(line, width)


def _comparison(report: Report, arm: str, baseline: str, width: int) -> Iterator[list[str]]:
    shown = tables.rows(report, arm, tables.judged(report), "outcome")
    service = tables.beside(report, arm)
    level = tables.level(report)
    title = f"{write.name(arm)} against {write.name(baseline)}: "
    title += tables.LATENCY[tables.judged(report)]
    yield _wrap(title, width) + _table(shown, baseline, arm, level, width)
    if service:
        guarded = {row.source.metric for row in shown if row.source.margin is not None}
        values = ", ".join(
            f"{row.label} {row.baseline} → {row.arm}"
            + (f" ({row.change.value})" if row.change else "")
            for row in service
            if not guarded or row.source.metric in guarded
        )
        yield _wrap(f"Service time: {values}", width)
    if summary := tables.smoothed_sentence(shown):
        values = ", ".join(
            f"{of} {change} ({interval.removesuffix('%')})" + (f" [{conflict}]" if conflict else "")
            for of, change, interval, conflict in tables.smoothed(shown, level).rows
        )
        yield _wrap(f"{summary}: {values}", width)
    yield [line for note in tables.notes(shown) for line in _wrap(note, width)]


def _table(
    shown: tuple[tables.Row, ...], baseline: str, arm: str, level: str, width: int
) -> list[str]:
    rows = []
    for row in shown:
        change = row.change or write.NO_CHANGE
        label = "errors" if row.source.metric == "error_rate" else row.label
        word = row.word.replace("no difference that matters", "same")
        rows.append([label, row.baseline, row.arm, change.value, change.interval, word])
    for most in (12, 8, 4):
        names = [
            write.plain(name, most if name.isascii() else most // 2) for name in (baseline, arm)
        ]
        table = [["", *names, "change", f"{level} interval", ""], *rows]
        if sum(_widths(table)) + 2 * 5 <= width:
            break
    return aligned(table, ["", *(_CALL_COLOURS.get(row.source.call, "") for row in shown)])


def _slo(report: Report, width: int) -> list[str]:
    shown = slo.rows(report)
    table = [["SLO", "found", "missed", "90% interval", "may", ""]]
    for most in (24, 12, 6):
        table[1:] = [
            [f"{write.plain(row.source.arm, most)} {row.asks}", row.value, row.missed,
             row.interval, row.allowed, row.word.replace("cannot tell yet", "open")]
            for row in shown
        ]  # fmt: skip
        if sum(_widths(table)) + 2 * 5 <= width:
            break
    lines = aligned(table, ["", *(_SLO_COLOURS.get(row.source.call, "") for row in shown)])
    return [
        piece
        for line, where in zip(lines, ["", *(row.where for row in shown)], strict=True)
        for piece in ([line] if where in ("", "whole run") else [line, f"  {where}"])
    ]


def _widths(table: list[list[str]]) -> list[int]:
    return [max(cell_len(line[i]) for line in table) for i in range(len(table[0]))]


def aligned(table: list[list[str]], colours: Iterable[str] = repeat("")) -> list[str]:
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
    for check in report.checks:
        if check.state != "ok":
            said = f"{write.CHECK_SYMBOLS[check.state]} {check.title}: {write.check_words(check)}"
            lines += [_paint(line, _CHECK_COLOURS[check.state]) for line in _wrap(said, width)]
    return lines


def _verdict(report: Report, width: int) -> list[str]:
    lines = []
    if report.verdict.validity == "SUSPECT":
        lines.append(_paint("Suspect: see the checks marked ! above.", _YELLOW))
    colour = {**_CALL_COLOURS, **_SLO_COLOURS}.get(report.verdict.state, "")
    sentence = _wrap(report.verdict.sentence, width)
    lines += [_paint(_paint(line, colour), _BOLD) for line in sentence]
    return lines + _wrap(" ".join(report.verdict.context), width)


def _paint(text: str, code: str) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if code else text


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
