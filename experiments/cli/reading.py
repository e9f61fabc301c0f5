"""`compare`, `capacity`, `report`, `show`: what runs that were made say."""

from pathlib import Path
from typing import Annotated

import typer

from experiments.cli.judging import (
    exit_code,
    fail_codes,
    holds_several,
    judge_folder,
    print_report,
    read_runs,
)
from experiments.cli.options import (
    ALL,
    AllowDifferent,
    AsJson,
    Debug,
    FailOn,
    Overrides,
    PlanOrRun,
    Quiet,
    RunPath,
    RunPaths,
)
from experiments.cli.shown import capture_summary, run_summary, summary
from experiments.errors import AbreastError


def compare(
    runs: RunPaths,
    allow_different: AllowDifferent = [],  # noqa: B006 - typer copies it
    fail_on: FailOn = ALL,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Judge runs again from their records: which arm is faster, by how much, how sure.

    Several runs of one plan are judged run by run, which tells what differs between runs too.

    For example:

      abreast compare reports/20260131-120000-ab-1a2b

      abreast compare reports/*-ab-*
    """
    codes = fail_codes(fail_on)
    if len(runs) == 1 and not holds_several(runs[0]):
        report = judge_folder(runs[0], compares=True)
    else:
        from analysis import compare_runs

        report = compare_runs(read_runs(runs), allowed=allow_different)
    print_report(report, None, as_json=as_json, quiet=quiet)
    raise typer.Exit(exit_code(report, codes))


def capacity(
    run: RunPath,
    fail_on: FailOn = ALL,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Judge a search again from its probes: how much an arm carries within its SLO, at what cost.

    For example:

      abreast capacity reports/20260131-120000-capacity-1a2b
    """
    codes = fail_codes(fail_on)
    report = judge_folder(run)
    if report.capacity is None:
        raise AbreastError(
            f"{run}: its plan asks for {report.question}, not for a capacity.",
            'Give the folder that `abreast run` made of a plan with question = "capacity".',
        )
    print_report(report, None, as_json=as_json, quiet=quiet)
    raise typer.Exit(exit_code(report, codes))


def report(
    run: RunPath,
    fail_on: FailOn = ALL,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Judge a run and write report.html, report.md and report.json into its folder.

    For example:

      abreast report reports/20260131-120000-ab-1a2b

      abreast report reports/20260131-120000-ab-1a2b --quiet --fail-on bad,untrusted
    """
    codes = fail_codes(fail_on)
    judged = judge_folder(run, write=True)
    print_report(judged, run, as_json=as_json, quiet=quiet)
    raise typer.Exit(exit_code(judged, codes))


def show(
    what: PlanOrRun,
    overrides: Overrides = [],  # noqa: B006 - typer copies it
    capture: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="For a run: data capture to join to its records."),
    ] = None,
    debug: Debug = False,
) -> None:
    """Show a plan as it is understood, or what a run folder holds.

    For example:

      abreast show ab

      abreast show reports/20260131-120000-ab-1a2b --capture captured
    """
    from experiments import payloads
    from experiments.plan import find, load

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
