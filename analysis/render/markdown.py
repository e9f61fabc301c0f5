"""What does a pull request show? The verdict as a heading, the table, the checks, the answers."""

import html
import math
import re
from collections.abc import Iterable, Sequence

from analysis.render import answers, capacity, runs, slo, tables
from analysis.render import format as write
from analysis.results.capacity import Capacity
from analysis.results.report import Report
from analysis.results.run import Check

_CELLS = 8


def render(report: Report) -> str:
    """Write a report as GitHub-flavoured Markdown; foreign text can neither format nor link."""
    parts = [_heading(report), *map(text, report.verdict.context)]
    if report.verdict.validity == "INVALID":
        parts.append(f"**{tables.NOT_TO_BE_RELIED_ON}**")
    for arm, baseline in tables.compared(report):
        parts += _comparison(report, arm, baseline)
    if report.slo:
        parts += [_plain_table(slo.table(report)), _list(slo.notes(report))]
    if report.differences:
        parts.append(tables.margins_sentence(report))
    parts += [_list(answers.streaming_sentences(report)), text(answers.cold_sentence(report))]
    parts.append(_list(runs.listed(report)))
    if report.capacity is not None:
        parts += _capacity(report.capacity)
    if report.checks:
        parts += ["**Can this run be trusted?**", *_checks(report.checks)]
    if said := answers.answer_sentences(report.answers):
        parts += ["**What was answered**", _list(said)]
    if report.errors:
        parts.append(_plain_table(answers.errors(report)))
    parts.append(text(answers.cost_sentence(report)))
    if (table := answers.cloudwatch(report)) is not None:
        parts += [f"**{table.caption}**", _plain_table(table)]
    if report.cloudwatch is not None:
        parts.append(_list(report.cloudwatch.notes))
    parts.append(
        f"Run {code(report.run.id)} on endpoint {code(report.run.endpoint)}: "
        f"{tables.counts_sentence(report)}."
    )
    return "\n\n".join(filter(None, parts)) + "\n"


def _capacity(found: Capacity) -> list[str]:
    parts = [_plain_table(capacity.rates(found)), *map(text, capacity.sizing_sentences(found))]
    more = (capacity.peaks(found), capacity.limits(found))
    parts += [_plain_table(table) for table in more if table is not None]
    if found.sizing is not None:
        policy = f"```json\n{found.sizing.scaling_policy}\n```"
        parts.append(_folded("PutScalingPolicy", policy))
    return parts


def _list(sentences: Iterable[str]) -> str:
    return "\n".join(f"- {text(said)}" for said in sentences)


def _folded(summary: str, inner: str) -> str:
    return f"<details><summary>{summary}</summary>\n\n{inner}\n\n</details>"


def _plain_table(table: tables.Table) -> str:
    last = ":--" if table.ends_in_words else "--:"
    right = len(table.head) - table.left - 1
    rule = "|".join([*[":--"] * table.left, *["--:"] * right, last])
    rows = (" | ".join(map(_cell, row)) for row in (table.head, *table.rows))
    head, *body = (f"| {row} |" for row in rows)
    return "\n".join([head, f"|{rule}|", *body])


def _cell(word: str) -> str:
    return "<br>".join(text(line) for line in word.split("\n") if line)


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
    parts.append(_list(tables.notes(report, shown)))
    if summary := tables.smoothed_sentence(shown):
        table = _plain_table(tables.smoothed(shown, tables.level(report)))
        parts.append(_folded(summary, table))
    if service:
        table = _table(service, baseline, arm, tables.level(report))
        parts.append(_folded(tables.LATENCY["service"].capitalize(), table))
    return parts


def _table(shown: tuple[tables.Row, ...], baseline: str, arm: str, level: str) -> str:
    lines = [
        f"| | {text(baseline, 40)} | {text(arm, 40)} | change | {level} interval | \u2212 0 + | |",
        "|:--|--:|--:|--:|--:|:-:|:--|",
    ]
    for row in shown:
        values = (row.label, row.baseline, row.arm, row.change.value, row.change.interval_unit)
        drawn = f"`{bar(row.drawing)}`" if row.drawing else ""
        lines.append(f"| {' | '.join(values)} | {drawn} | {row.word} |")
    return "\n".join(lines)


def bar(drawing: tables.Drawing) -> str:
    """Draw an interval in eight cells, no difference between the fourth and the fifth."""
    half = _CELLS // 2
    first = min(_CELLS - 1, math.floor(half * (1 + drawing.low)))
    last = max(first, 0, math.ceil(half * (1 + drawing.high)) - 1)
    cells = ["█" if first <= i <= last else "·" for i in range(_CELLS)]
    if drawing.low < -1:
        cells[0] = "◂"
    if drawing.high > 1:
        cells[-1] = "▸"
    return "".join(cells)


def _checks(checks: Sequence[Check]) -> list[str]:
    """List what is not in order, and fold away what is."""
    passed = [_check_line(check) for check in checks if check.state == "ok"]
    found = "\n".join(_check_line(check) for check in checks if check.state != "ok")
    summary = f"{write.CHECK_SYMBOLS['ok']} {write.counted(len(passed), 'check')} passed"
    return [found, *([_folded(summary, "\n".join(passed))] if passed else [])]


def _check_line(check: Check) -> str:
    mark, words = write.CHECK_SYMBOLS[check.state], write.check_words(check)
    return f"- {mark} **{text(check.title)}**: {text(words, 1200)}"
