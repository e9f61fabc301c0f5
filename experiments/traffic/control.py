"""Hangs a run on Locust's events: prepares it, starts its clock, drains it, and closes its records.

The run ends when the slots have served the schedule, or when it is stopped; never by Locust's own
run time. Everything that was sent is awaited and recorded before Locust is told to quit.
"""

import argparse
import json
import os
import subprocess
import sys
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

import gevent
from gevent.os import tp_read

from experiments import child, fingerprint, payloads, run_folder
from experiments.errors import FAULT, AbreastError
from experiments.sagemaker.endpoint import EndpointFacts
from experiments.sagemaker.invoke import READ_TIMEOUT_S
from experiments.traffic.dispatch import Dispatch
from experiments.traffic.prepare import Prepared, prepare
from experiments.traffic.users import EndpointUser

DRAIN_S = READ_TIMEOUT_S + 5
_FEWEST_FOR_ERROR_RATE = 100


def add_options(parser: Any) -> None:
    """Add this project's options to Locust's own."""
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


def attach(environment: Any, **_: object) -> None:
    """Prepare the run that the options ask for, and follow Locust's events with it.

    Ends the process with the error's exit code, and one clear message, when it cannot be run.
    """
    options = environment.parsed_options
    try:
        if not options.plan:
            raise AbreastError("There is no plan.", "Give one: --plan ab, or --plan FILE.toml.")
        if options.master or options.worker:
            # Each process would send the whole schedule.
            raise AbreastError(
                "A plan is sent from one process.", "Leave out --processes, --master and --worker."
            )
        prepared = prepare(
            options.plan, options.plan_overrides, start_local=options.supervised_run is None
        )
    except Exception as error:  # noqa: BLE001 - Locust would make it exit code 1
        _give_up(options, error)
    options.num_users = prepared.plan.traffic.concurrency
    options.spawn_rate = prepared.plan.traffic.concurrency
    environment.stop_timeout = DRAIN_S
    _Run(environment, prepared).follow()


def _give_up(options: Any, error: Exception) -> NoReturn:
    """End the process with a message: Locust swallows what a listener of its events raises."""
    if isinstance(error, AbreastError | OSError):
        message, hint = getattr(error, "message", str(error)), getattr(error, "hint", "")
        code = AbreastError.exit_code
        sys.stderr.write(f"{message}\n{hint}\n")
    else:
        message, hint, code = f"{type(error).__name__}: {error}", "", FAULT
        traceback.print_exception(error)
    sys.stderr.flush()
    _tell(options, {"kind": "error", "message": message, "hint": hint, "exit_code": code})
    os._exit(code)


def _tell(options: Any, message: dict[str, object]) -> None:
    if options.progress_fd >= 0:
        try:
            os.write(options.progress_fd, json.dumps(message).encode() + b"\n")
        except OSError:
            options.progress_fd = -1  # the supervisor is gone; its end of our stdin ends us


class _Run:
    """What the event listeners share: the environment, the plan, and the run under way."""

    def __init__(self, environment: Any, prepared: Prepared) -> None:
        self._environment = environment
        self._options = environment.parsed_options
        self._prepared = prepared
        self._dispatch: Dispatch | None = None
        self._helpers: list[gevent.Greenlet] = []

    def follow(self) -> None:
        events = self._environment.events
        events.test_start.add_listener(self._begin)
        events.spawning_complete.add_listener(self._start_clock)
        events.test_stopping.add_listener(self._stop)
        events.test_stop.add_listener(self._finish)
        events.quitting.add_listener(self._quit)
        if self._options.supervised_run:
            gevent.spawn(self._end_with_supervisor)

    def _begin(self, **_: object) -> None:
        try:
            self._open_run()
        except Exception as error:  # noqa: BLE001 - without a run, its slots would wait for ever
            _give_up(self._options, error)

    def _open_run(self) -> None:
        options, prepared = self._options, self._prepared
        if options.supervised_run:
            folder = run_folder.open_folder(Path(options.supervised_run))
        else:
            folder = run_folder.create(
                Path(options.out), prepared.plan_path.stem, prepared.plan_text
            )
            run_folder.write_manifest(
                folder, fingerprint.manifest(folder, prepared.plan, prepared.plan_path)
            )
        slots = self._environment.runner.target_user_count
        dispatch = Dispatch(prepared, folder, slots)
        hashed = payloads.set_hash(prepared.payloads)
        payloads.write_table(prepared.payloads, folder.payloads)
        run_folder.update_manifest(
            folder,
            planned=dispatch.planned,
            slots=slots,
            payloads={"distinct": len({p.digest for p in prepared.payloads}), "hash": hashed},
            endpoint=asdict(prepared.facts),
            subject=_subject(prepared.facts),
            conditions={
                **fingerprint.conditions(prepared.plan, hashed, prepared.facts.region),
                **_endpoint_conditions(prepared.facts),
            },
        )
        run_folder.append_event(folder, "endpoint", **asdict(prepared.facts))
        self._dispatch = EndpointUser.dispatch = dispatch

    def _start_clock(self, **_: object) -> None:
        dispatch = self._dispatch
        if dispatch is None:
            return
        if dispatch.started.is_set():
            dispatch.stop("aborted", "The number of users was changed while the run was under way.")
            return
        dispatch.start()
        run_folder.append_event(dispatch.folder, "start")
        self._helpers = [
            gevent.spawn(dispatch.health.watch_loop),
            gevent.spawn(self._tick_each_second, dispatch),
        ]
        gevent.spawn(self._quit_when_served, dispatch)

    def _tick_each_second(self, dispatch: Dispatch) -> None:
        while True:
            gevent.sleep(1.0)
            self._tick(dispatch)

    def _tick(self, dispatch: Dispatch) -> None:
        try:
            dispatch.tick(lambda message: _tell(self._options, message))
        except Exception as error:  # noqa: BLE001 - a recorder that fails must stop the run
            dispatch.stop("fault", f"The records cannot be written: {error}.")
        limits = dispatch.prepared.plan.limits
        if limits is None or dispatch.begun == dispatch.planned:
            return  # what is all sent can no longer be stopped
        health = dispatch.health
        if dispatch.elapsed_s > limits.max_minutes * 60:
            dispatch.stop(
                "aborted",
                f"The run took longer than limits.max_minutes = {limits.max_minutes:g} allows.",
            )
        if (
            limits.abort_error_rate is not None
            and health.ended >= _FEWEST_FOR_ERROR_RATE
            and health.failed > limits.abort_error_rate * health.ended
        ):
            dispatch.stop(
                "aborted",
                f"{health.failed:,} of {health.ended:,} requests failed, more than "
                f"limits.abort_error_rate = {limits.abort_error_rate:g} allows.",
            )

    def _quit_when_served(self, dispatch: Dispatch) -> None:
        runner = self._environment.runner
        runner.user_greenlets.join()
        if self._dispatch is not dispatch:
            return
        if self._environment.web_ui:
            runner.stop()
        else:
            runner.quit()

    def _stop(self, **_: object) -> None:
        # Fired for every stop, the regular one included: by then the slots have served everything.
        dispatch = self._dispatch
        if dispatch is not None and self._environment.runner.user_greenlets:
            dispatch.stop("interrupted", "The run was stopped before its end.")

    def _finish(self, **_: object) -> None:
        dispatch, self._dispatch = self._dispatch, None
        if dispatch is None:
            return
        gevent.killall(self._helpers)
        try:
            self._tick(dispatch)
            dispatch.close()
        except OSError as error:
            dispatch.stop("fault", f"The records cannot be written: {error}.")
        ended = {
            "begun": dispatch.begun,
            "ended_as": dispatch.ended_as,
            "reason": dispatch.reason,
        }
        # Told before it is written: the disk may be what ended the run.
        _tell(self._options, {"kind": "end", **ended})
        run_folder.update_manifest(dispatch.folder, **ended)
        run_folder.append_event(dispatch.folder, "end", ended_as=dispatch.ended_as)
        if self._options.supervised_run is None:
            self._environment.process_exit_code = _report(dispatch.folder)

    def _quit(self, **_: object) -> None:
        """Drain before Locust ends the process; Locust's own quit would not wait."""
        self._environment.runner.stop()
        if self._options.supervised_run is not None:
            self._environment.process_exit_code = 0

    def _end_with_supervisor(self) -> None:
        while tp_read(sys.stdin.fileno(), 4096):
            pass
        if self._dispatch is not None:
            self._dispatch.stop("interrupted", "The supervising process ended.")
        self._environment.runner.quit()


def _report(folder: run_folder.RunFolder) -> int:
    """Judge and render the run in a process that holds neither Locust nor its patches."""
    sys.stdout.flush()
    command = child.command("experiments", "report", str(folder.path))
    return subprocess.run(command, env=child.environment(), check=False).returncode


def _subject(facts: EndpointFacts) -> dict[str, str]:
    subject = {"endpoint config": facts.config or "not known"}
    for name, variant in facts.variants.items():
        subject[f"model of {name}"] = variant.model or "not known"
        subject[f"image of {name}"] = variant.image or "not known"
    return subject


def _endpoint_conditions(facts: EndpointFacts) -> dict[str, str]:
    return {
        f"instances of {name}": f"{variant.instances} x {variant.instance_type}"
        for name, variant in facts.variants.items()
    }
