"""`power` and `simulate`: what a plan can find, before it is run."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from experiments.cli.options import AsJson, Overrides, PlanOrRun
from experiments.errors import AbreastError, naming

_COUNT_EVERY_S = 5.0


def power(
    what: PlanOrRun,
    overrides: Overrides = [],  # noqa: B006 - typer copies it
    spread: Annotated[
        float | None,
        typer.Option(min=1e-3, max=5, help="For a plan: standard deviation of log latency. [0.5]"),
    ] = None,
    deff: Annotated[
        float | None,
        typer.Option(min=1e-3, max=1e6, help="For a plan: the design effect of its noise. [1.3]"),
    ] = None,
    like: Annotated[
        Path | None, typer.Option(metavar="RUN", help="For a plan: as noisy as an earlier run.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say which differences can be found, and how long each takes: by a plan, or as in a run.

    For example:

      abreast power my-plan.toml --spread 0.3

      abreast power my-plan.toml --like reports/20260131-120000-ab-1a2b
    """
    from analysis import power as powers
    from analysis import read_run
    from analysis.render import planning
    from analysis.scatter import INDEPENDENT
    from experiments.plan_file import find, load

    if like is not None and (spread is not None or deff is not None):
        raise AbreastError("--like tells the noise; so do --spread and --deff.", "Give either.")
    earlier = None if like is None else read_run(like)
    if Path(what).is_dir():
        if overrides or earlier or spread is not None or deff is not None:
            raise AbreastError(
                "--set, --spread, --deff and --like go with a plan.", "Leave them out for a run."
            )
        found = powers.power_of_run(read_run(what))
    else:
        path = find(what)
        plan = load(path, overrides)
        with naming(path):
            found = (
                powers.power_of_plan(plan, spread=spread or 0.5, design_effect=deff or INDEPENDENT)
                if earlier is None
                else powers.power_of_plan_like(plan, earlier)
            )
    typer.echo(planning.as_json(found) if as_json else planning.power(found))


def simulate(
    what: PlanOrRun,
    overrides: Overrides = [],  # noqa: B006 - typer copies it
    stream: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES", help="For a plan: iid, ar, drift, burst, queue2, queue. [four of them]"
        ),
    ] = None,
    effect: Annotated[
        str | None, typer.Option(metavar="CHANGE", help="Make A/B runs too, such as 10%.")
    ] = None,
    runs: Annotated[int, typer.Option(min=20, max=10_000, help="How many of each kind.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Another one draws other runs.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Try a plan on arms of known truth: how often are equal ones told apart, how often others?

    For example:

      abreast simulate ab --effect 10%

      abreast simulate reports/20260131-120000-ab-1a2b --effect 10%
    """
    from analysis import read_run, rehearse
    from analysis.render import planning
    from experiments.plan_file import find, load

    change = None if effect is None else _relative(effect)
    if Path(what).is_dir():
        if overrides or stream is not None:
            raise AbreastError("--set and --stream go with a plan.", "Leave them out for a run.")
        found = rehearse.rehearse_run(
            read_run(what), effect=change, runs=runs, seed=seed, tell=_counting(runs)
        )
    else:
        path = find(what)
        plan = load(path, overrides)
        streams = rehearse.streams_of(stream or "iid,ar,burst,queue2")
        with naming(path):
            found = rehearse.rehearse_plan(
                plan, streams=streams, effect=change, runs=runs, seed=seed, tell=_counting(runs)
            )
    typer.echo(planning.as_json(found) if as_json else planning.rehearsal(found))


def _relative(text: str) -> float:
    try:
        value = float(text.removesuffix("%")) / 100
    except ValueError:
        value = 0.0
    if not text.endswith("%") or not -1 < value <= 10 or value == 0:
        raise AbreastError(
            f'--effect: "{text}" is no change above -100% and up to 1000%.', "Example: 10%"
        )
    return value


def _counting(runs: int) -> Callable[[str, int], None]:
    """Say on stderr, every few seconds, how many runs are done."""
    next_s = time.monotonic() + _COUNT_EVERY_S

    def tell(stream: str, done: int) -> None:
        nonlocal next_s
        if time.monotonic() >= next_s:
            next_s = time.monotonic() + _COUNT_EVERY_S
            typer.echo(f"{stream}: {done:,} of {runs:,} runs", err=True)

    return tell
