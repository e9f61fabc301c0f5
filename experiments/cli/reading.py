"""`compare`, `capacity`, `report`, `export`, `show`: what runs that were made say."""

import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated, get_args

import typer

from experiments.cli.judging import answer, holds_several, judge_folder, near, read_runs
from experiments.cli.options import (
    ALL,
    AllowDifferent,
    AsJson,
    FailOn,
    Overrides,
    PlanOrRun,
    Quiet,
    RunPath,
    RunPaths,
)
from experiments.cli.rows import Format, write_rows
from experiments.cli.shown import capture_summary, run_summary, summary
from experiments.errors import AbreastError


def compare(
    runs: RunPaths,
    allow_different: AllowDifferent = [],  # noqa: B006 - typer copies it
    fail_on: FailOn = ALL,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Judge runs again from their records: which arm is faster, by how much, how sure.

    Several runs of one plan are judged run by run, which tells what differs between runs too.

    For example:

      abreast compare reports/20260131-120000-ab-1a2b

      abreast compare reports/*-ab-*
    """
    if len(runs) == 1 and not holds_several(runs[0]):
        report = judge_folder(runs[0], compares=True)
    else:
        from analysis import compare_runs

        report = compare_runs(read_runs(runs), allowed=allow_different)
    raise answer(report, None, fail_on, as_json=as_json, quiet=quiet)


def capacity(
    run: RunPath,
    fail_on: FailOn = ALL,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Judge a search again from its probes: how much an arm carries within its SLO, at what cost.

    For example:

      abreast capacity reports/20260131-120000-capacity-1a2b
    """
    report = judge_folder(run)
    if report.capacity is None:
        raise AbreastError(
            f"{run}: its plan asks for {report.question}, not for a capacity.",
            'Give the folder that `abreast run` made of a plan with question = "capacity".',
        )
    raise answer(report, None, fail_on, as_json=as_json, quiet=quiet)


def report(
    run: Annotated[Path | None, typer.Argument(metavar="RUN", help="A run folder.")] = None,
    index: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write DIR/index.html, a page of the runs in DIR."),
    ] = None,
    fail_on: FailOn = ALL,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Judge a run and write its reports into its folder, or list the runs of a folder.

    For example:

      abreast report reports/20260131-120000-ab-1a2b --quiet --fail-on bad,untrusted

      abreast report --index reports
    """
    if index is not None and not index.is_dir():
        raise AbreastError(f"--index {index}: is no folder.", "Give a folder that holds runs.")
    if index is not None and run is None:
        from analysis import render

        typer.echo(near(render.write_index(index)))
        return
    if run is None or index is not None:
        raise AbreastError(
            "Either a run is to be reported on, or the runs of a folder are to be listed.",
            "Give a RUN, or --index DIR with a folder that holds runs.",
        )
    judged = judge_folder(run, write=True)
    raise answer(judged, run, fail_on, as_json=as_json, quiet=quiet)


def export(
    run: RunPath,
    as_: Annotated[Format | None, typer.Option("--as", help="Else as FILE ends, or CSV.")] = None,
    to: Annotated[Path, typer.Option(metavar="FILE", help="Where to; - is stdout.")] = Path("-"),
) -> None:
    """Write the requests of a run as a table: a row each, in milliseconds from the run's start.

    For example:

      abreast export reports/20260131-120000-ab-1a2b --as csv --to requests.csv

      abreast export reports/20260131-120000-ab-1a2b --as jsonl | head
    """
    from analysis.read import read_requests

    if holds_several(run):
        raise AbreastError(f"{run}: holds several runs.", f"Give one of those in {run / 'runs'}.")
    named = (each for each in get_args(Format) if to.suffix == f".{each}")
    form: Format = next(named, "csv") if as_ is None else as_
    rows = read_requests(run)
    if str(to) == "-":
        if form == "parquet" and sys.stdout.isatty():
            raise AbreastError("Parquet is no text for a terminal.", "Give --to FILE, or a pipe.")
        write_rows(rows, sys.stdout.buffer, form)
        sys.stdout.buffer.flush()  # here a closed pipe is still an end to be told
        return
    # A device or a named pipe is written to as it is, not replaced by a file.
    is_file = to.is_file() or not to.exists()
    place = to.with_name(f".{to.name}.unfinished") if is_file else to
    try:
        with place.open("wb") as file:
            write_rows(rows, file, form)
        if is_file:
            place.replace(to)
    except OSError as error:
        raise AbreastError(
            f"--to {to}: cannot be written: {error.strerror}.",
            "Give a file in a folder that is there.",
        ) from None
    finally:
        if is_file:
            with suppress(OSError):
                place.unlink()


def show(
    what: PlanOrRun,
    overrides: Overrides = [],  # noqa: B006 - typer copies it
    capture: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="For a run: data capture to join to its records."),
    ] = None,
) -> None:
    """Show a plan as it is understood, or what a run folder holds.

    For example:

      abreast show ab

      abreast show reports/20260131-120000-ab-1a2b --capture captured
    """
    from experiments import payloads
    from experiments.plan_file import find, load

    if Path(what).is_dir():
        typer.echo(run_summary(Path(what)))
        if capture is not None:
            typer.echo(capture_summary(Path(what), capture))
        return
    if capture is not None:
        raise AbreastError("--capture goes with a run folder, and this is a plan.", "Leave it out.")
    path = find(what)
    loaded = load(path, overrides)
    typer.echo(summary(loaded, len(payloads.load(loaded, path))))
    typer.echo("\n" + loaded.model_dump_json(indent=2, exclude_none=True))
