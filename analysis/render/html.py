"""What does the report page show? One self-contained file: no script, no outside request."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import escape

from analysis.render import capacity, figures, tables
from analysis.render import format as write
from analysis.results import Report


def _shown(value: object) -> object:
    """Clean and cut whatever text the page is given; numbers and our own markup pass."""
    return write.plain(value, 600) if type(value) is str else value


_PAGE = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    finalize=_shown,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_PAGE.globals.update(write=write, tables=tables, figures=figures, capacities=capacity)


def render(report: Report) -> str:
    """Write a report as an HTML page; foreign text is escaped, and cut where it is long."""
    return _PAGE.get_template("page.html").render(
        report=report,
        run=report.run,
        verdict=report.verdict,
        plan_toml=escape(report.run.plan_toml),
        compared=tables.compared(report),
        level=tables.level(report),
    )
