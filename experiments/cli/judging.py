"""What the commands share: read runs, judge them, print the report, and choose the exit code."""

import os
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from experiments.cli.options import fail_codes
from experiments.errors import RunFolderError

if TYPE_CHECKING:
    from analysis.read import Run
    from analysis.results.report import Report


def answer(
    report: "Report", folder: Path | None, fail_on: str, *, as_json: bool, quiet: bool
) -> typer.Exit:
    """Print a report, tell GitHub Actions, and give the exit: the verdict's, if that is to fail."""
    _print(report, folder, as_json=as_json, quiet=quiet)
    code = report.verdict.exit_code
    code = code if code in fail_codes(fail_on) else 0
    _tell_github(report, fails=code != 0)
    return typer.Exit(code)


def _tell_github(report: "Report", *, fails: bool) -> None:
    """Within GitHub Actions, annotate what fails the job and put the report on its page."""
    from analysis.render import github, markdown

    if os.environ.get("GITHUB_ACTIONS") == "true" and fails:
        say(github.annotations(report))
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        try:
            with Path(summary).open("a", encoding="utf-8") as page:
                page.write(markdown.render(report) + "\n")
        except OSError as error:
            say([f"GITHUB_STEP_SUMMARY: {summary} cannot be written: {error.strerror}."])


def holds_several(path: Path) -> bool:
    """Whether a run folder is one of several runs."""
    from experiments import run_folder, series

    return bool(series.runs(run_folder.open_folder(path)))


def read_runs(paths: Iterable[Path]) -> "list[Run]":
    """Read runs; the folder of several stands for each that is in it."""
    from analysis import read_run
    from analysis.read import JUDGED
    from experiments import run_folder, series
    from experiments.accounts import finish_if_ended

    found = []
    for path in paths:
        folder = run_folder.open_folder(path)
        if run_folder.read_manifest(folder)["plan"]["question"] == "capacity":
            raise RunFolderError(
                f"{path}: is a capacity search, whose probes are made at many rates.",
                f"Judge it with `abreast capacity {path}`, and give runs at one rate here.",
            )
        for each in series.runs(folder) or (folder,):
            finish_if_ended(each)
            found.append(read_run(each.path, JUDGED))
    return found


def judge_folder(path: Path, *, compares: bool = False, write: bool = False) -> "Report":
    """Answer the question of the run's plan, or compare its arms whatever the question was."""
    from analysis import capacity as judge_capacity
    from analysis import compare as compare_arms
    from analysis import judge, read_run, regression, render
    from analysis.read import JUDGED
    from experiments import run_folder
    from experiments.accounts import finish_if_ended

    folder = run_folder.open_folder(path)
    manifest = run_folder.read_manifest(folder)
    question = manifest["plan"]["question"]
    if question == "capacity":
        judged = judge_capacity(path)
    elif question == "regression" and holds_several(path):
        judged = regression(read_runs([path]))
        about = replace(judged.run, id=folder.run_id, ended_as=manifest["ended_as"])
        judged = replace(judged, run=about)
    else:
        finish_if_ended(folder)
        run = read_run(path, JUDGED)
        judged = compare_arms(run).report if compares else judge(run)
    if write:
        render.write(judged, folder.path)
    return judged


def _print(report: "Report", folder: Path | None, *, as_json: bool, quiet: bool) -> None:
    from analysis.render import json, text

    if as_json:
        typer.echo(json.render(report))
    elif quiet:
        typer.echo(report.verdict.sentence)
    else:
        colour = "NO_COLOR" not in os.environ and (
            "FORCE_COLOR" in os.environ or sys.stdout.isatty()
        )
        typer.echo(text.render(report, colour=colour))
        if folder is not None:
            typer.echo(near(folder / "report.html"))


def near(path: Path) -> str:
    """Give a path as short as it can be typed from here."""
    absolute = path.absolute()
    here = Path.cwd()
    return str(absolute.relative_to(here) if absolute.is_relative_to(here) else absolute)


def say(lines: Iterable[str]) -> None:
    """Print lines on stderr."""
    for line in lines:
        typer.echo(line, err=True)
