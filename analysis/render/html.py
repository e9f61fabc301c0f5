"""What does the report page show? One self-contained file: no script, no outside request."""

import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from analysis.render import (
    answers,
    capacity,
    figures,
    figures_canvas,
    figures_time,
    findings,
    runs,
    slo,
    tables,
)
from analysis.render import format as write
from analysis.results.report import Report


def _shown(value: object) -> object:
    """Clean and cut whatever text the page is given; numbers and our own markup pass."""
    return write.plain(value, 600) if type(value) is str else value


def _unbroken(sentence: str) -> Markup:
    """Keep the numbers of a heading with their units and percentiles on one line."""
    between = r"(?<=\d) (?=(ms|s|min|h|pp|req/s)\b)|(?<=\bp\d\d) (?=[\d+\u2212])"
    clean = re.sub(between, "\u00a0", write.plain(sentence, 600))
    return escape(clean)


PAGE = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    finalize=_shown,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
PAGE.filters["unbroken"] = _unbroken
PAGE.globals.update(
    write=write, tables=tables, answers=answers, findings=findings, runs=runs, slo=slo,
    capacities=capacity, figures=figures, timed=figures_time, canvas=figures_canvas,
)  # fmt: skip


def render(report: Report) -> str:
    """Write a report as an HTML page; foreign text is escaped, and cut where it is long."""
    return PAGE.get_template("page.html").render(
        report=report,
        run=report.run,
        verdict=report.verdict,
        plan_toml=escape(report.run.plan_toml),
        compared=tables.compared(report),
        level=tables.level(report),
    )
