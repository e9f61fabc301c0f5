"""`doctor`: what may spoil a run, checked before it is paid for."""

import json
import sys
import textwrap
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from experiments.cli.options import Overrides, PlanName
from experiments.errors import AbreastError

if TYPE_CHECKING:
    from experiments.doctor import Finding

_WIDTH = 80


def doctor(
    plan: PlanName,
    overrides: Overrides = [],  # noqa: B006 - typer copies it
    policy: Annotated[
        bool, typer.Option("--policy", help="Print the least IAM policy that the plan needs.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the findings and the policy as JSON.")
    ] = False,
) -> None:
    """Check account, endpoint and machine before a run; it sends one request to each arm.

    The exit code is 2 where a check failed.

    For example:

      abreast doctor my-plan.toml

      abreast doctor my-plan.toml --policy > policy.json
    """
    from experiments.cli import checks
    from experiments.plan_file import find, load
    from experiments.reach import reach

    path = find(plan)
    known = checks.Known(plan=load(path, overrides), path=path, debug="--debug" in sys.argv)
    with ExitStack() as stack:
        logs = Path(stack.enter_context(TemporaryDirectory(prefix="abreast-")))
        reachable = stack.enter_context(
            reach(known.plan, path, logs, lambda note: typer.echo(note["text"], err=True))
        )
        checks.replace_environment(reachable.environment)
        if policy:
            list(checks.of_the_account(known))
            checks.made(known, "Endpoint", checks.endpoint)
            typer.echo(json.dumps(checks.policy_of(known), indent=2))
            return
        findings = []
        for finding in checks.every(known):
            findings.append(finding)
            if not as_json:
                typer.echo(_shown(finding))
    failed = [finding.title for finding in findings if finding.state == "fail"]
    code = AbreastError.exit_code if failed else 0
    if as_json:
        result = {
            "plan": str(path),
            "exit_code": code,
            "checks": [asdict(finding) for finding in findings],
            "policy": checks.policy_of(known),
        }
        typer.echo(json.dumps(result, indent=2, ensure_ascii=False))
    else:
        warned = sum(finding.state == "warn" for finding in findings)
        said = f"Failed: {', '.join(failed)}." if failed else "Nothing stands in the way of a run."
        typer.echo(f"\n{said}" + (f" Warnings: {warned}." if warned else ""))
    raise typer.Exit(code)


def _shown(finding: "Finding") -> str:
    """Write a finding as lines of the terminal; a command in it stays one word a word."""
    from analysis.render.format import CHECK_SYMBOLS, DASH, plain

    symbol = {**CHECK_SYMBOLS, "skip": DASH}[finding.state]
    parts = [
        (f"{symbol} {finding.title}: {finding.finding}", ""),
        (finding.cause, "    because "),
        (finding.next_step, "    → "),
    ]
    return "\n".join(
        line
        for text, first in parts
        if text
        for line in textwrap.wrap(
            plain(text, 2000), _WIDTH, initial_indent=first, subsequent_indent="    ",
            break_long_words=False, break_on_hyphens=False,
        )
    )  # fmt: skip
