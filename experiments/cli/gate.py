"""`regression` and `baseline`: hold a release against the one before."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from experiments.cli.judging import answer, near, read_runs, say
from experiments.cli.options import ALL, AllowDifferent, AsJson, FailOn, Quiet, RunPaths
from experiments.cli.shown import run_summary
from experiments.errors import AbreastError

if TYPE_CHECKING:
    from analysis.read import Run

baselines = typer.Typer(
    help="Keep the accepted runs of a plan, to hold later ones against.", rich_markup_mode=None
)
Store = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="The store.  [reports/baselines/<plan>]", show_default=False),
]


class SeveralAfterAgainst(TyperCommand):
    """Reads each word after --against, up to the next option, as one more of the candidate's."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put --against before each of its words, as one option with several values."""
        with_value = {
            name for option in self.params if not getattr(option, "is_flag", True)
            for name in option.opts
        }  # fmt: skip
        spread: list[str] = []
        was_seen, last = False, ""
        for word in args:
            option, _, value = word.partition("=")
            if option == "--against":
                was_seen, last = True, option
                spread += [option, value] if value else []
            elif word.startswith("-"):
                spread.append(word)
                last = word
            elif last == "--against":
                spread += [last, word]
            elif was_seen and last not in with_value:
                raise AbreastError(
                    f"{word}: stands behind another option, and could be of either side.",
                    "Give the baseline's runs first, and the candidate's right after --against.",
                )
            else:
                spread.append(word)
                last = ""
        if was_seen and "--against" not in spread:
            raise AbreastError("--against requires an argument: the candidate's runs.")
        return super().parse_args(ctx, spread)


def regression(
    runs: Annotated[
        list[Path] | None, typer.Argument(metavar="BASELINE", help="The baseline's runs.")
    ] = None,
    against: Annotated[
        list[Path], typer.Option(metavar="CANDIDATE...", help="The candidate's runs.")
    ] = [],  # noqa: B006 - typer copies it
    baseline_store: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Take the baseline's runs from this store.")
    ] = None,
    last: Annotated[int | None, typer.Option(min=1, help="Of the store, the last so many.")] = None,
    arm: Annotated[
        str | None, typer.Option(help="The candidate's arm, where its runs have several.")
    ] = None,
    allow_different: AllowDifferent = [],  # noqa: B006 - typer copies it
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write the report and junit.xml there.")
    ] = None,
    fail_on: FailOn = ALL,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Judge whether a release got slower: the candidate's runs against the baseline's.

    Without --against, the runs given are of both.

    For example:

      abreast regression reports/*-v1-* --against reports/*-v2-*

      abreast regression --baseline-store reports/baselines/v1 --last 10 --against reports/*-v2-*
    """
    from analysis import regression as judge_regression
    from analysis import render
    from experiments import baseline

    if last is not None and baseline_store is None:
        raise AbreastError("--last goes with --baseline-store.", "Leave it out, or give the store.")
    before = list(runs or [])
    if bool(before) == bool(baseline_store) or (baseline_store and not against):
        raise AbreastError(
            "Give the baseline's runs, or --baseline-store and the candidate's with --against."
        )
    if baseline_store:
        before = [kept.path for kept in baseline.runs(baseline_store, last)]
        if not before:
            raise AbreastError(f"{baseline_store}: holds no runs.", "See `abreast baseline add`.")
    report = judge_regression(
        read_runs(before), read_runs(against), arm=arm, allowed=allow_different
    )
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        render.write(report, out)
    raise answer(report, out, fail_on, as_json=as_json, quiet=quiet)


@baselines.command("add")
def add_baseline(
    runs: RunPaths,
    store: Store = None,
    arm: Annotated[
        str | None, typer.Option(help="The arm whose runs are kept, where runs of one arm differ.")
    ] = None,
    allow_different: AllowDifferent = [],  # noqa: B006 - typer copies it
) -> None:
    """Keep a copy of accepted runs, which must be trusted and made like those in the store.

    All of them are kept, or none. Of runs of one arm each those of the baseline are.
    """
    from analysis import accepted
    from analysis.regression import of_side
    from experiments import baseline, run_folder

    by_store: dict[Path, list[Run]] = {}
    for run in read_runs(runs):
        where = store or baseline.STORES / run.manifest["plan_name"]
        by_store.setdefault(where, []).append(run)
    chosen = {where: of_side(found, "baseline", arm) for where, found in by_store.items()}
    for where, found in chosen.items():
        kept = read_runs(each.path for each in baseline.runs(where))
        for run, _ in found:
            accepted(run, kept, allow_different)
            kept.append(run)
    for where, found in chosen.items():
        copies = baseline.add([run_folder.open_folder(run.path) for run, _ in found], where)
        for copy, (run, counts) in zip(copies, found, strict=True):
            typer.echo(f"{near(copy.path)}  (arm {counts})")
            say(_bad_verdict(run.path))


def _bad_verdict(folder: Path) -> list[str]:
    """Say what the report of a run that is to be a baseline has against it, if it has one."""
    try:
        verdict = json.loads((folder / "report.json").read_text(encoding="utf-8"))["verdict"]
        return [f"Note: its verdict was: {verdict['sentence']}"] if verdict["exit_code"] else []
    except (OSError, ValueError, KeyError, TypeError):  # none, or of another version
        return []


@baselines.command("list")
def list_baselines(store: Store = None) -> None:
    """List the kept runs of every plan, and how much they differ."""
    from analysis.regression import spreads
    from analysis.render.format import counted
    from experiments import baseline

    stores = [each for each in baseline.stores(store) if baseline.runs(each)]
    if not stores:
        say([f"{store or baseline.STORES} keeps no runs; `abreast baseline add RUN` keeps one."])
    for each in stores:
        kept = read_runs(run.path for run in baseline.runs(each))
        typer.echo(f"{near(each)}: {counted(len(kept), 'run')}")
        for run in kept:
            typer.echo(f"  {run.id}  {len(run.measured):,} requests, {', '.join(run.plan.arms)}")
        for metric, spread in spreads(kept).items():
            typer.echo(f"  {metric} differs by {spread:.1%} between runs (standard deviation)")


@baselines.command("show")
def show_baseline(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A kept run's id.")],
    store: Store = None,
) -> None:
    """Show what a kept run holds, its subject and its conditions."""
    from experiments import baseline, run_folder

    kept = baseline.find(run, store)
    manifest = run_folder.read_manifest(kept)
    typer.echo(run_summary(kept.path))
    for key, value in {**manifest.get("subject", {}), **manifest.get("conditions", {})}.items():
        typer.echo(f"{key}: {value}")


@baselines.command("drop")
def drop_baselines(
    runs: Annotated[list[str], typer.Argument(metavar="RUN", help="Kept runs' ids.")],
    store: Store = None,
) -> None:
    """Remove kept runs from their store."""
    from experiments import baseline

    for kept in [baseline.find(run, store) for run in runs]:
        baseline.drop(kept)
        typer.echo(f"dropped {near(kept.path)}")
