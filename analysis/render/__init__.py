"""A report as text, Markdown, HTML or JSON: one renderer a file."""

from pathlib import Path

from analysis.results import Report

__all__ = ["write"]


def write(report: Report, folder: Path) -> dict[str, Path]:
    """Write report.html, report.md and report.json into a folder; return them by kind.

    All three are made before the first is written, and each appears whole or not at all.
    Raises OSError where the folder cannot be written.
    """
    # Drawing loads matplotlib, which the other renderers do without.
    from analysis.render.html import render as html
    from analysis.render.json import render as json
    from analysis.render.markdown import render as markdown

    made = {"html": html(report), "md": markdown(report), "json": json(report)}
    return {kind: _replace(folder / f"report.{kind}", text) for kind, text in made.items()}


def _replace(path: Path, text: str) -> Path:
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.write_text(text, encoding="utf-8")
    return unfinished.replace(path)
