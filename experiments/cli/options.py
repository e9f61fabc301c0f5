"""The arguments and options that several commands take."""

from pathlib import Path
from typing import Annotated

import typer

PlanName = Annotated[str, typer.Argument(metavar="PLAN", help="A built-in plan's name, or a file.")]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")]
PlanOrRun = Annotated[str, typer.Argument(metavar="PLAN|RUN", help="A plan, or a run folder.")]
RunPaths = Annotated[
    list[Path],
    typer.Argument(metavar="RUN...", help="Run folders; that of a plan of several holds them all."),
]
AllowDifferent = Annotated[
    list[str],
    typer.Option(
        "--allow-different", metavar="KEY", help="A condition in which the runs may differ."
    ),
]
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
