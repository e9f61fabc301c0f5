"""What does a pull request show? The verdict as a heading, the table, the checks, the answers."""

import html
import math
import re

from analysis.render import capacity, tables
from analysis.render import format as write
from analysis.results import Capacity, Check, Report

_CELLS = 8


def render(report: Report) -> str:
    """Write a report as GitHub-flavoured Markdown; foreign text can neither format nor link."""
    parts = [_heading(report), *map(text, report.verdict.context)]
    if report.verdict.validity == "INVALID":
        parts.append(f"**{tables.NOT_TO_BE_RELIED_ON}**")
    for arm, baseline in tables.compared(report):
        parts += _comparison(report, arm, baseline)
    if report.slo:
        parts.append(_slo(report))
        parts += ["\n".join(f"- {text(note)}" for note in tables.slo_notes(report))]
    if report.differences:
        parts.append(tables.margins_sentence(report))
    parts.append("\n".join(f"- {text(said)}" for said in tables.run_sentences(report)))
    if report.capacity is not None:
        parts += _capacity(report.capacity)
    if report.checks:
        parts += ["**Can this run be trusted?**", "\n".join(map(_check_line, report.checks))]
    if said := tables.answer_sentences(report.answers):
        parts += ["**What was answered**", "\n".join(f"- {text(line)}" for line in said)]
    if report.errors:
        parts.append(_errors(report))
    parts.append(
        f"Run {code(report.run.id)} on endpoint {code(report.run.endpoint)}: "
        f"{tables.counts_sentence(report)}."
    )
    return "\n\n".join(filter(None, parts)) + "\n"


def _capacity(found: Capacity) -> list[str]:
    parts = [_plain_table(capacity.rates(found)), *map(text, capacity.sizing_sentences(found))]
    if (peaks := capacity.peaks(found)) is not None:
        parts.append(_plain_table(peaks))
    if found.sizing is not None:
        policy = f"```json\n{found.sizing.scaling_policy}\n```"
        parts.append(f"<details><summary>PutScalingPolicy</summary>\n\n{policy}\n\n</details>")
    return parts


def _plain_table(table: capacity.Table) -> str:
    rule = "|".join([":--", *["--:"] * (len(table.head) - 2), ":--"])
    rows = (" | ".join(text(word) for word in row) for row in (table.head, *table.rows))
    head, *body = (f"| {row} |" for row in rows)
    return "\n".join([head, f"|{rule}|", *body])


def text(foreign: str, limit: int = 600) -> str:
    """Escape foreign text so that Markdown, HTML, mentions and links in it stay letters."""
    escaped = html.escape(write.plain(foreign, limit), quote=False)
    escaped = re.sub(r"([\\`*_\[\]|~])", r"\\\1", escaped)
    return re.sub(r"([@#]|:(?=//)|\bwww(?=\.))", "\\1\u200b", escaped)


def code(foreign: str, limit: int = 160) -> str:
    """Put foreign text in a code span that it cannot close, safe in a table too."""
    line = write.plain(foreign, limit).replace("|", "\\|")
    longest = max((len(ticks) for ticks in re.findall("`+", line)), default=0)
    fence = "`" * (longest + 1)
    return f"{fence} {line} {fence}" if longest else f"`{line or ' '}`"


def _heading(report: Report) -> str:
    verdict = report.verdict
    suspect = " (suspect: see the checks)" if verdict.validity == "SUSPECT" else ""
    return f"### {tables.state(report)[0]} {text(verdict.sentence)}{suspect}"


def _comparison(report: Report, arm: str, baseline: str) -> list[str]:
    shown = tables.rows(report, arm, tables.judged(report), "outcome")
    service = tables.beside(report, arm)
    title = f"{text(arm)} against {text(baseline)}: {tables.LATENCY[tables.judged(report)]}"
    parts = [f"**{title}**", _table(shown, baseline, arm, tables.level(report))]
    if notes := tables.notes(shown):
        parts.append("\n".join(f"- {text(note)}" for note in notes))
    if smoothed := tables.smoothed_rows(shown):
        lines = [f"| smoothed | change | {tables.level(report)} interval | |", "|:--|--:|--:|:--|"]
        lines += [
            f"| {row.label} over {row.band} | {row.change.value} | {row.change.interval_unit} | "
            f"{row.conflict} |"
            for row in smoothed
        ]
        table, summary = "\n".join(lines), tables.smoothed_sentence(shown)
        parts.append(f"<details><summary>{summary}</summary>\n\n{table}\n\n</details>")
    if service:
        table = _table(service, baseline, arm, tables.level(report))
        summary = tables.LATENCY["service"].capitalize()
        parts.append(f"<details><summary>{summary}</summary>\n\n{table}\n\n</details>")
    return parts


def _table(shown: tuple[tables.Row, ...], baseline: str, arm: str, level: str) -> str:
    lines = [
        f"| | {text(baseline, 40)} | {text(arm, 40)} | change | {level} interval | \u2212 0 + | |",
        "|:--|--:|--:|--:|--:|:-:|:--|",
    ]
    for row in shown:
        change = row.change or write.NO_CHANGE
        values = (row.label, row.baseline, row.arm, change.value, change.interval_unit)
        drawn = f"`{bar(row.drawing)}`" if row.drawing else ""
        lines.append(f"| {' | '.join(values)} | {drawn} | {row.word} |")
    return "\n".join(lines)


def _slo(report: Report) -> str:
    lines = [
        "| SLO | where | found | missed | 90% interval | may miss | |",
        "|:--|:--|--:|--:|--:|--:|:--|",
    ]
    lines += [
        f"| {text(row.source.arm, 40)} {row.asks} | {text(row.where)} | {row.value} | "
        f"{row.missed} | {row.interval} | {row.allowed} | {row.word} |"
        for row in tables.slo_rows(report)
    ]
    return "\n".join(lines)


def bar(drawing: tables.Drawing) -> str:
    """Draw an interval in eight cells, no difference between the fourth and the fifth."""
    half = _CELLS // 2
    first = min(_CELLS - 1, math.floor(half * (1 + drawing.low)))
    last = max(first, math.ceil(half * (1 + drawing.high)) - 1)
    cells = ["█" if first <= i <= last else "·" for i in range(_CELLS)]
    if drawing.open_low:
        cells[0] = "◂"
    if drawing.open_high:
        cells[-1] = "▸"
    return "".join(cells)


def _check_line(check: Check) -> str:
    mark, words = write.CHECK_SYMBOLS[check.state], write.check_words(check)
    return f"- {mark} **{text(check.title)}**: {text(words, 1200)}"


def _errors(report: Report) -> str:
    lines = ["| arm | error | count | example |", "|:--|:--|--:|:--|"]
    lines += [
        f"| {text(error.arm or write.DASH, 40)} | {text(error.outcome)} | "
        f"{write.count(error.count)} | {code(error.example) if error.example else ''} |"
        for error in report.errors
    ]
    return "\n".join(lines)
