"""`run`: make an experiment and judge it; `serve`: be its endpoint."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from experiments.cli.judging import answer, judge_folder, near, read_runs, say
from experiments.cli.options import ALL, AsJson, FailOn, Overrides, PlanName, Quiet, fail_codes
from experiments.cli.shown import local_instances, summary
from experiments.errors import ENDED_BADLY, AbreastError, naming
from experiments.workers import LOOPBACK, MOST_A_CORE, PORT, Workers

if TYPE_CHECKING:
    from experiments.plan import Plan


def run(
    plan: PlanName,
    out: Annotated[Path, typer.Option(help="Where the run folder is made.")] = Path("reports"),
    overrides: Overrides = [],  # noqa: B006 - typer copies it
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the plan and say what would be sent.")
    ] = False,
    until_decided: Annotated[
        bool,
        typer.Option("--until-decided", help="Compare: stop at the planned look that decides."),
    ] = False,
    web: Annotated[
        bool, typer.Option("--web", help="Show the run in a browser on this machine as it goes.")
    ] = False,
    processes: Annotated[
        int, typer.Option(min=1, help="Send from so many processes of this machine.")
    ] = 1,
    expect_workers: Annotated[
        int | None, typer.Option(min=1, help="Send from so many `abreast worker`, elsewhere.")
    ] = None,
    master_bind_host: Annotated[
        str, typer.Option(help="Where workers reach this machine; of a private network.")
    ] = LOOPBACK,
    master_port: Annotated[int, typer.Option(help="The port for workers.")] = PORT,
    fail_on: FailOn = ALL,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Run an experiment, judge it, and write its report.

    For example:

      abreast run ab

      abreast run my-plan.toml --set traffic.rate=50 --set traffic.duration=10m
    """
    from analysis import judge_probes
    from analysis.looks import Watch, planned_looks
    from analysis.power import foreseen
    from experiments import capacity as search
    from experiments import launch, payloads, run_folder
    from experiments import regression as gate
    from experiments.estimate import refuse_beyond_limits
    from experiments.invocation import first_requests, prediction_selector
    from experiments.locust_process import Rig
    from experiments.plan_file import find, load
    from experiments.progress import Progress
    from experiments.reach import check_endpoint

    path = find(plan)
    loaded = load(path, overrides)
    if until_decided and loaded.question != "compare":
        raise AbreastError(
            f'--until-decided: the question of {path} is "{loaded.question}".',
            'It goes with question = "compare".',
        )
    bodies = payloads.load(loaded, path)
    firsts = sum(1 for _ in first_requests(loaded, bodies))
    refuse_beyond_limits(loaded, path, firsts)
    with naming(path):
        prediction_selector(loaded.answers)
    settings = []
    if loaded.question == "regression":
        settings = gate.settings_of_runs(path, overrides)
        say(_foreseen_runs(loaded, path))
    elif loaded.question != "capacity":
        say(foreseen(loaded))
    check_endpoint(loaded, path, out)
    workers = _workers(loaded, processes, expect_workers, master_bind_host, master_port)
    if dry_run:
        looks = f"\nlooks      {planned_looks(loaded)}" if until_decided else ""
        instances = local_instances(loaded, path)
        return typer.echo(summary(loaded, len(bodies), instances, firsts) + looks)
    with Progress(quiet=quiet) as progress:
        watch = Watch(loaded) if until_decided else None
        rig = Rig(out=out, tell=progress.tell, judge=watch, web=web, workers=workers)
        if loaded.question == "regression":
            folder = gate.make_runs(settings, path, overrides, rig)
        elif loaded.question == "capacity":
            folder = search.measure(path, overrides, rig, judge_probes, firsts)
        else:
            folder = launch.run(path, overrides, rig)
    ended_badly = ENDED_BADLY.get(run_folder.read_manifest(folder)["ended_as"])
    if loaded.question == "regression" and len(loaded.arms) == 1:
        code = _of_one_arm(folder.path, fail_on, as_json=as_json)
    else:
        code = _judged(folder.path, fail_on, as_json=as_json, quiet=quiet, must=ended_badly is None)
    raise typer.Exit(ended_badly or code)


def _judged(folder: Path, fail_on: str, *, as_json: bool, quiet: bool, must: bool) -> int:
    """Judge what was made, and give its exit code; what ended badly `must` not be judged."""
    try:
        report = judge_folder(folder, write=True)
    except AbreastError as error:
        if must:
            raise
        say([f"Interrupted, so that it cannot be judged. {error.message}", near(folder)])
        return 0
    except KeyboardInterrupt:
        from experiments.accounts import kept

        say([kept(folder)])
        raise
    return answer(report, folder, fail_on, as_json=as_json, quiet=quiet).exit_code


def _workers(
    plan: "Plan", processes: int, expected: int | None, bind_host: str, port: int
) -> Workers | None:
    cores = os.cpu_count() or 1
    if processes > MOST_A_CORE * cores:
        raise AbreastError(
            f"--processes {processes}: this machine has {cores} cores, and so many processes would "
            "be late for want of them.",
            f"Give at most {cores}, or send from more machines with --expect-workers.",
        )
    if (senders := expected or processes) > (slots := plan.traffic.concurrency):
        what = f"{senders} processes would share {slots} slots, and each needs one."
        raise AbreastError(what, "Give more slots (traffic.slots, or users), or fewer processes.")
    if expected is None:
        return Workers(processes=processes) if processes > 1 else None
    if plan.endpoint.config is not None:
        raise AbreastError(
            '--expect-workers: endpoint.target is "local", which only this machine reaches.',
            "Use --processes N; or serve it with `abreast serve`, and give the plan its URL.",
        )
    if plan.question in ("capacity", "regression") or processes > 1:
        raise AbreastError(
            "--expect-workers makes one run, whose workers end with it, and starts none itself.",
            "Use --processes N alone, from one machine.",
        )
    return Workers(expected=expected, bind_host=bind_host, port=port)


def _of_one_arm(folder: Path, fail_on: str, *, as_json: bool) -> int:
    """Say of runs of one arm, which are to be a baseline, where they are and what spoils them."""
    from analysis.regression import untrusted_runs

    refusal = untrusted_runs(read_runs([folder]))
    typer.echo(near(folder), err=as_json)
    say(["One arm, so nothing to hold it against: see abreast baseline and regression."])
    say([refusal.sentence, *refusal.context] if refusal else [])
    return refusal.exit_code if refusal and refusal.exit_code in fail_codes(fail_on) else 0


def _foreseen_runs(plan: "Plan", path: Path) -> tuple[str, ...]:
    from analysis.regression import spreads
    from analysis.runs_needed import foreseen_runs
    from experiments import baseline

    try:
        kept = read_runs(run.path for run in baseline.runs(baseline.STORES / path.stem))
        seen = spreads(kept, "blocks" if plan.gate.order == "blocks" else "separate")
    except AbreastError as error:
        return (f"Note: the baseline's runs are not used. {error.message}", *foreseen_runs(plan))
    return foreseen_runs(plan, seen)


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
) -> None:
    """Serve a SageMaker endpoint on this machine until Ctrl-C.

    For example:

      abreast serve digits

      abreast serve my.endpoint.toml --truth --rate 80 --slo p99=300ms
    """
    from experiments.plan_file import BUILT_IN

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
