"""A report as text, Markdown, HTML or JSON: one renderer a file."""

from pathlib import Path

from analysis.results.report import Report
from experiments.run_folder import write_atomically

__all__ = ["write", "write_index"]


def write(report: Report, folder: Path) -> None:
    """Write report.html, report.md, report.json and junit.xml into a folder.

    All are made before the first is written, and each appears whole or not at all.
    Raises OSError where the folder cannot be written.
    """
    # Drawing loads matplotlib, which the other renderers do without.
    from analysis.render import html, json, junit, markdown

    made = {
        "report.json": json.render(report),
        "report.html": html.render(report),
        "report.md": markdown.render(report),
        "junit.xml": junit.render(report),
    }
    for name, text in made.items():
        write_atomically(folder / name, text)


def write_index(folder: Path) -> Path:
    """Write `index.html`, a page of the runs in a folder, and give its path.

    Raises OSError where the folder cannot be written.
    """
    from analysis.render import index

    page = folder / "index.html"
    write_atomically(page, index.render(folder))
    return page
