"""The one command line, `abreast`. Subcommands import what they need when they run.

stdout carries the result, stderr everything else. Exit codes: 0 good, 1 the verdict is bad,
2 usage or plan error, 3 cannot tell yet, 4 the run cannot be trusted, 70 a fault in abreast itself,
130 interrupted.
"""

import errno
import os
import sys
import traceback
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from experiments.errors import FAULT, AbreastError, naming

if TYPE_CHECKING:
    from analysis.results import Report
    from experiments.plan import Plan
    from experiments.slo import Threshold

INTERRUPTED = 130
_NOT_OURS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EMFILE}
_WRONG_USAGE: Any = typer.BadParameter.__mro__[2]
"""ClickException, which Typer takes from Click or carries itself, by version."""
_FAIL_ON = {"bad": 1, "untrusted": 4, "undecided": 3}

app = typer.Typer(
    name="abreast",
    help="Load-test SageMaker endpoints and compare their variants, with a verdict that says how "
    "sure it is.",
    epilog="Exit codes: 0 good, 1 worse, or an SLO broken, 2 usage or plan error, 3 cannot tell "
    "yet, 4 cannot be trusted, 70 a fault in abreast, 130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

PlanName = Annotated[str, typer.Argument(metavar="PLAN", help="A built-in plan's name, or a file.")]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")]
Overrides = Annotated[
    list[str], typer.Option("--set", metavar="KEY=VALUE", help="Set one key of the plan.")
]
FailOn = Annotated[
    str,
    typer.Option(
        "--fail-on",
        metavar="KINDS",
        help="Which verdicts give a non-zero exit code: bad, untrusted, undecided.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print report.json instead of text.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print the verdict only.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]
ALL = "bad,untrusted,undecided"


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"abreast {metadata.version('abreast')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show it.")
    ] = False,
) -> None:
    """Hold the options that stand before a command."""


@app.command()
def run(
    plan: PlanName,
    out: Annotated[Path, typer.Option(help="Where the run folder is made.")] = Path("reports"),
    overrides: Overrides = [],  # noqa: B006 - typer copies it
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the plan and say what would be sent.")
    ] = False,
    fail_on: FailOn = ALL,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Run an experiment, judge it, and write its report.

    For example:

      abreast run ab

      abreast run my-plan.toml --set traffic.rate=50 --set traffic.duration=10m
    """
    from analysis.power import foreseen
    from experiments import launch, payloads
    from experiments.invocation import prediction_selector
    from experiments.plan import find, load, text_as_run
    from experiments.progress import Progress

    codes = _fail_codes(fail_on)
    path = find(plan)
    loaded = load(path, overrides)
    bodies = payloads.load(loaded, path)
    with naming(path):
        prediction_selector(loaded.answers)
    _say(foreseen(loaded))
    if dry_run:
        typer.echo(_summary(loaded, len(bodies)))
        return
    with Progress(quiet=quiet) as progress:
        folder = launch.run(
            loaded, path, text_as_run(path, overrides), overrides, out, progress.tell
        )
    report = _judge(folder.path, write=True)
    _print(report, folder.path, as_json=as_json, quiet=quiet)
    ended_badly = {"interrupted": INTERRUPTED, "fault": FAULT}
    raise typer.Exit(ended_badly.get(report.run.ended_as) or _exit_code(report, codes))


@app.command()
def compare(
    run: RunPath,
    fail_on: FailOn = ALL,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Judge a run again from its records: which arm is faster, by how much, how sure.

    For example:

      abreast compare reports/20260131-120000-ab-1a2b

      abreast compare reports/20260131-120000-ab-1a2b --json
    """
    codes = _fail_codes(fail_on)
    report = _judge(run, compares=True)
    _print(report, None, as_json=as_json, quiet=quiet)
    raise typer.Exit(_exit_code(report, codes))


@app.command()
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
    codes = _fail_codes(fail_on)
    judged = _judge(run, write=True)
    _print(judged, run, as_json=as_json, quiet=quiet)
    raise typer.Exit(_exit_code(judged, codes))


@app.command()
def show(
    what: Annotated[str, typer.Argument(metavar="PLAN|RUN", help="A plan, or a run folder.")],
    overrides: Overrides = [],  # noqa: B006 - typer copies it
    debug: Debug = False,
) -> None:
    """Show a plan as it is understood, or what a run folder holds.

    For example:

      abreast show ab

      abreast show reports/20260131-120000-ab-1a2b
    """
    from experiments import payloads
    from experiments.plan import find, load

    if Path(what).is_dir():
        typer.echo(_run_summary(Path(what)))
        return
    path = find(what)
    loaded = load(path, overrides)
    typer.echo(_summary(loaded, len(payloads.load(loaded, path))))
    typer.echo("\n" + loaded.model_dump_json(indent=2, exclude_none=True))


@app.command()
def serve(
    endpoint: Annotated[
        Path, typer.Argument(metavar="ENDPOINT", help="An endpoint file, or digits for the demo's.")
    ],
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen on; 0 takes a free one.")] = 8080,
    truth: Annotated[
        bool, typer.Option("--truth", help="Print what simulated variants truly do, and end.")
    ] = False,
    rate: Annotated[
        float | None, typer.Option(min=1e-3, help="For --truth: requests a second over all.")
    ] = None,
    slo: Annotated[
        list[str], typer.Option(metavar="METRIC=LIMIT", help="For --truth: such as p99=300ms.")
    ] = [],  # noqa: B006 - typer copies it
    body_bytes: Annotated[int, typer.Option(min=0, help="For --truth: of each request.")] = 0,
    debug: Debug = False,
) -> None:
    """Serve a SageMaker endpoint on this machine until Ctrl-C.

    For example:

      abreast serve digits

      abreast serve my.endpoint.toml --truth --rate 80 --slo p99=300ms
    """
    from experiments.plan import BUILT_IN

    built_in = BUILT_IN / f"{endpoint}.endpoint.toml"
    path = built_in if built_in.is_file() and not endpoint.is_file() else endpoint
    if truth:
        from experiments.local.truth_table import printed

        typer.echo(printed(path, rate, slo, body_bytes))
        return
    if rate is not None or slo or body_bytes:
        raise AbreastError("--rate, --slo and --body-bytes go with --truth.", "Add --truth.")

    from experiments.local import server
    from experiments.local.process import Announcement

    def announce(ready: Announcement) -> None:
        typer.echo(
            f"Serving {ready.endpoint} ({', '.join(ready.variants)}) at {ready.url}; "
            "Ctrl-C ends it. For other programs:",
            err=True,
        )
        typer.echo(ready.exports(), nl=False)

    server.run(path, host=host, port=port, announce=announce)


def _fail_codes(kinds: str) -> set[int]:
    wanted = [kind.strip() for kind in kinds.split(",") if kind.strip()]
    for kind in wanted:
        if kind not in _FAIL_ON:
            raise AbreastError(
                f'--fail-on: "{kind}" is not known.', "Give any of bad, untrusted, undecided."
            )
    return {_FAIL_ON[kind] for kind in wanted}


def _exit_code(report: "Report", fail_on: set[int]) -> int:
    code = report.verdict.exit_code
    return code if code in fail_on else 0


def _judge(path: Path, *, compares: bool = False, write: bool = False) -> "Report":
    """Answer the question of the run's plan, or compare its arms whatever the question was."""
    from analysis import compare as compare_arms
    from analysis import judge, read_run, render
    from experiments import launch, run_folder

    folder = run_folder.open_folder(path)
    if run_folder.read_manifest(folder)["ended_as"] != "running":
        launch.finish(folder)
    run = read_run(path)
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
            typer.echo(_near(folder / "report.html"))


def _near(path: Path) -> str:
    """Give a path as short as it can be typed from here."""
    absolute = path.absolute()
    here = Path.cwd()
    return str(absolute.relative_to(here) if absolute.is_relative_to(here) else absolute)


def _summary(plan: "Plan", payloads: int) -> str:
    traffic = plan.traffic
    expected = traffic.expected_requests
    arms = ", ".join(
        f"{arm} ({plan.variant_of(arm) or 'told apart otherwise'})" for arm in plan.arms
    )
    lines = [
        f"question   {plan.question}"
        + (f": {plan.compare.baseline} is the baseline" if plan.compare else ""),
        f"endpoint   {plan.endpoint.name} at {plan.endpoint.target}",
        f"arms       {arms}",
        f"traffic    {traffic.routing}, {traffic.summary}, "
        f"{traffic.warmup:g} s warm-up, {traffic.measured_s:g} s measured",
        f"requests   {'as many as it gives' if expected is None else f'about {expected:,.0f}'}, "
        f"from {payloads:,} payloads, {traffic.concurrency:,} in flight at most",
    ]
    if plan.compare:
        margins = (f"{metric} {margin:.2%}" for metric, margin in plan.compare.margins.items())
        lines.append(f"guarded    {', '.join(margins)}")
    lines += [f"slo        {_asked(threshold)}" for threshold in plan.thresholds]
    return "\n".join(lines)


def _asked(threshold: "Threshold") -> str:
    where = f" in {threshold.phase}" if threshold.phase else ""
    each = f" in every {threshold.window_s:g} s" if threshold.window_s else ""
    if threshold.limit_ms is None:
        return f"{threshold.arm}: at most {100 * threshold.allowed:g}% fail{where}{each}"
    return f"{threshold.arm}: {threshold.metric} within {threshold.limit_ms:g} ms{where}{each}"


def _run_summary(path: Path) -> str:
    from analysis import read_run

    run = read_run(path)
    outcomes = run.requests["outcome"].value_counts()
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    lines = [
        f"run        {run.id}, started {run.manifest['started_at']}, ended as "
        f"{run.manifest['ended_as']}",
        "requests   " + ", ".join(f"{n:,} {name}" for name, n in run.counts.items()),
        "outcomes   " + (", ".join(f"{n:,} {o}" for o, n in outcomes.items()) or "none"),
        f"folder     {size / 1e6:.1f} MB: "
        + ", ".join(sorted(file.name for file in path.iterdir())),
    ]
    return _summary(run.plan, run.requests["payload"].nunique()) + "\n" + "\n".join(lines)


def _say(lines: Iterable[str]) -> None:
    for line in lines:
        typer.echo(line, err=True)


def main() -> None:
    """Run the command line, and turn every failure into a message and an exit code."""
    debug = "--debug" in sys.argv
    # A message must not fail because the terminal cannot show a sign of it.
    for stream in (sys.stdout, sys.stderr):
        getattr(stream, "reconfigure", lambda **_: None)(errors="replace")
    try:
        code = app(standalone_mode=False)
    except _WRONG_USAGE as error:
        error.show()
        code = error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        typer.echo("abreast: Interrupted.", err=True)
        code = INTERRUPTED
    except BrokenPipeError:
        # Whoever read the result has seen enough; let the interpreter flush into nothing.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 141  # what a shell gives for SIGPIPE: not a verdict
    except Exception as error:  # noqa: BLE001 - the last resort, for exit code 70
        if debug:
            traceback.print_exc()
        text, code = _explain(error)
        typer.echo(f"abreast: {text}", err=True)
    sys.exit(code or 0)


def _explain(error: Exception) -> tuple[str, int]:
    """Say what went wrong, and whose it is to mend: the user's (2) or ours (70)."""
    if isinstance(error, AbreastError):
        return str(error), error.exit_code
    if isinstance(error, OSError) and error.errno in _NOT_OURS:
        where = error.filename or "A file could not be written"
        return (
            f"{where}: {os.strerror(error.errno)}.\n"
            "Mend that; `abreast report RUN` then judges what was recorded.",
            AbreastError.exit_code,
        )
    return (
        f"This is a fault in abreast: {type(error).__name__}: {error}\n"
        "Run the command again with --debug for the traceback.",
        FAULT,
    )
