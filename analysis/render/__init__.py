"""A report as text, Markdown, HTML or JSON: one renderer a file."""

from pathlib import Path

from analysis.results import Report

__all__ = ["write"]


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
        "report.html": html(report),
        "report.md": markdown(report),
        "report.json": json(report),
        "junit.xml": junit(report),
    }
    return {name.rpartition(".")[2]: _replace(folder / name, text) for name, text in made.items()}


def _replace(path: Path, text: str) -> Path:
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.write_text(text, encoding="utf-8")
    return unfinished.replace(path)
