"""A report as text, Markdown, HTML or JSON: one renderer a file."""

from pathlib import Path

from analysis.results.report import Report
from experiments.run_folder import write_atomically

__all__ = ["write", "write_index"]


def write(report: Report, folder: Path) -> dict[str, Path]:
    """Write report.html, report.md, report.json and junit.xml into a folder; return them by kind.

    All are made before the first is written, and each appears whole or not at all.
    Raises OSError where the folder cannot be written.
    """
    # Drawing loads matplotlib, which the other renderers do without.
    from analysis.render.html import render as html
    from analysis.render.json import render as json
    from analysis.render.junit import render as junit
    from analysis.render.markdown import render as markdown

    made = {
        "report.json": json(report),
        "report.html": html(report),
        "report.md": markdown(report),
        "junit.xml": junit(report),
    }
    return {name.rpartition(".")[2]: _replace(folder / name, text) for name, text in made.items()}


def write_index(folder: Path) -> Path:
    """Write `index.html`, a page of the runs in a folder, and give its path.

    Raises OSError where the folder cannot be written.
    """
    from analysis.render import index

    return _replace(folder / "index.html", index.render(folder))


def _replace(path: Path, text: str) -> Path:
    write_atomically(path, text)
    return path
