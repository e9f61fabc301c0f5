"""Attaches a run to the Locust process that loads a locustfile: its options, and all checks."""

import argparse
import sys
from pathlib import Path
from typing import Any

from experiments.errors import INTERRUPTED, AbreastError, naming
from experiments.plan_file import find, load
from experiments.run_folder import RunFolder
from experiments.traffic import master
from experiments.traffic.control import Run
from experiments.traffic.prepare import prepare
from experiments.traffic.telling import give_up, tell
from experiments.traffic.users import DRAIN_S, check_own_tasks, let_serve
from experiments.traffic.web import LOOPBACK, check_address
from experiments.traffic.worker import Worker


def follow(events: Any) -> None:
    """Run plans in the Locust process that loads this locustfile; `events` is `locust.events`."""
    master.leave_out_garbage()
    events.init_command_line_parser.add_listener(_add_options)
    events.init.add_listener(_attach)


def _add_options(parser: Any) -> None:
    parser.set_defaults(web_host=LOOPBACK)
    group = parser.add_argument_group("abreast")
    group.add_argument("--plan", metavar="PLAN", help="A plan's name or TOML file; try ab.")
    group.add_argument(
        "--set",
        dest="plan_overrides",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="Set one key of the plan, such as traffic.rate=50.",
    )
    group.add_argument(
        "--out", metavar="DIR", default="reports", help="Where run folders are made."
    )
    # For the process that supervises this one.
    group.add_argument("--supervised-run", metavar="DIR", help=argparse.SUPPRESS)
    group.add_argument("--progress-fd", type=int, default=-1, help=argparse.SUPPRESS)


def _attach(environment: Any, **_: object) -> None:
    """Prepare the run that the options ask for, and follow Locust's events with it.

    Ends the process with the error's exit code, and one clear message, when it cannot be run.
    Until here Ctrl-C ends it, as there is nothing to keep.
    """
    options = environment.parsed_options
    try:
        if not options.plan and not options.worker:
            raise AbreastError("There is no plan.", "Give one: --plan ab, or --plan FILE.toml.")
        if environment.web_ui is not None:
            check_address(options.web_host, has_login=options.web_login)
        if environment.shape_class is not None:
            raise AbreastError(
                f"{type(environment.shape_class).__name__} sets the number of users, and so does "
                "the plan.",
                "Take the shape out of the locustfile.",
            )
        serves = let_serve(environment.user_classes)
        if options.worker:
            Worker(environment, serves_schedule=serves).follow()
            return
        copy = RunFolder(Path(options.supervised_run)).plan if options.supervised_run else None
        path = Path(options.plan) if copy else find(options.plan)
        if options.master:
            master.check_master(options, load(path, options.plan_overrides, copy))
            tell(options, {"kind": "master", "port": environment.runner.server.port})
        if not serves:
            with naming(path):
                check_own_tasks(load(path, options.plan_overrides, copy).traffic)
        prepared = prepare(path, options.plan_overrides, copy)
        if options.master and (options.headless or options.autostart):
            master.await_workers(environment.runner, options)
    except Exception as error:  # noqa: BLE001 - Locust would make it exit code 1
        give_up(options, error)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    options.num_users = prepared.plan.traffic.concurrency
    options.spawn_rate = prepared.plan.traffic.concurrency
    environment.stop_timeout = master.STOP_TIMEOUT_S if options.master else DRAIN_S
    kind = master.MasterRun if options.master else Run
    kind(environment, prepared, serves_schedule=serves).follow()
