"""The arguments and options that several commands take."""

from pathlib import Path
from typing import Annotated

import typer

from experiments.errors import AbreastError

PlanName = Annotated[str, typer.Argument(metavar="PLAN", help="A built-in plan's name, or a file.")]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")]
PlanOrRun = Annotated[str, typer.Argument(metavar="PLAN|RUN", help="A plan, or a run folder.")]
RunPaths = Annotated[
    list[Path],
    typer.Argument(metavar="RUN", help="Run folders; that of a plan of several holds them all."),
]
AllowDifferent = Annotated[
    list[str],
    typer.Option(
        "--allow-different", metavar="KEY", help="A condition in which the runs may differ."
    ),
]
Overrides = Annotated[
    list[str], typer.Option("--set", metavar="KEY=VALUE", help="Set a key; KEY= leaves it out.")
]
_FAIL_ON = {"bad": 1, "untrusted": 4, "undecided": 3}
ALL = ",".join(_FAIL_ON)


def fail_codes(kinds: str) -> set[int]:
    """Read --fail-on."""
    wanted = {kind.strip() for kind in kinds.split(",")} - {""}
    if unknown := sorted(wanted - _FAIL_ON.keys()):
        raise AbreastError(
            f'--fail-on: "{unknown[0]}" is not known.', f"Give any of {', '.join(_FAIL_ON)}."
        )
    return {_FAIL_ON[kind] for kind in wanted}


def _known(kinds: str) -> str:
    """Refuse --fail-on before anything is done."""
    fail_codes(kinds)
    return kinds


FailOn = Annotated[
    str,
    typer.Option(
        "--fail-on",
        callback=_known,
        metavar="KINDS",
        help="Which verdicts give a non-zero exit code: bad, untrusted, undecided.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print the verdict only.")]
