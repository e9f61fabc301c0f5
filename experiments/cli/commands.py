"""All commands of `abreast`, and how each of them ends."""

import errno
import os
import signal
import sys
import traceback
from importlib import metadata
from typing import Annotated, Any

import typer

from experiments.cli import gate, planning, reading, running
from experiments.cli.doctor import doctor
from experiments.cli.restore import restore
from experiments.cli.worker import worker
from experiments.errors import FAULT, INTERRUPTED, AbreastError
from experiments.sagemaker.redacted import without_secrets

_NOT_OURS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EMFILE}
_WRONG_USAGE: Any = typer.BadParameter.__mro__[2]
"""ClickException, which Typer takes from Click or carries itself, by version."""

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
for command in (
    running.run, reading.report, reading.compare, reading.capacity, reading.show, reading.export,
    planning.power, planning.simulate, running.serve, restore, doctor, worker,
):  # fmt: skip
    app.command()(command)
app.command(cls=gate.SeveralAfterAgainst)(gate.regression)
app.add_typer(gate.baselines, name="baseline", no_args_is_help=True)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"abreast {metadata.version('abreast')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show it.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks; any command takes it, at any place.")
    ] = False,
) -> None:
    """Hold the options that stand before a command."""


def main() -> None:
    """Run the command line, and turn every failure into a message and an exit code."""
    words = [word for word in sys.argv[1:] if word != "--debug"]
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)  # SIGTERM ends it as Ctrl-C does
    # A message must not fail because the terminal cannot show a sign of it.
    for stream in (sys.stdout, sys.stderr):
        getattr(stream, "reconfigure", lambda **_: None)(errors="replace")
    try:
        code = app(words, standalone_mode=False)
    except _WRONG_USAGE as error:
        from experiments.validation import plain

        error.message = plain(error.message)
        error.show()
        code = error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except SystemExit as error:
        if not isinstance(error.__context__, BrokenPipeError):
            raise
        # Whoever read the result has seen enough, of which Typer makes a 1, as of a bad verdict.
        # Let the interpreter flush into nothing.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 141  # what a shell gives for SIGPIPE: not a verdict
    except Exception as error:  # noqa: BLE001 - the last resort, for exit code 70
        if "--debug" in sys.argv:
            sys.stderr.write(without_secrets(traceback.format_exc()))
        text, code = _explain(error)
        typer.echo(f"abreast: {text}", err=True)
    if code == INTERRUPTED:  # which Typer may have made of Ctrl-C, without a word
        typer.echo("abreast: Interrupted.", err=True)
    sys.exit(code or 0)


def _explain(error: Exception) -> tuple[str, int]:
    """Say what went wrong, and whose it is to mend: the user's (2) or ours (70)."""
    if isinstance(error, AbreastError):
        return str(error), error.exit_code
    if isinstance(error, OSError) and error.errno in _NOT_OURS:
        where = error.filename or "A file could not be written"
        return (
            f"{where}: {os.strerror(error.errno)}.\n"
            "Mend that, or give another place. What a run recorded is kept, and `abreast report "
            "RUN` judges it.",
            AbreastError.exit_code,
        )
    return (
        f"This is a fault in abreast: {type(error).__name__}: {error}\n"
        "Run the command again with --debug for the traceback.",
        FAULT,
    )
