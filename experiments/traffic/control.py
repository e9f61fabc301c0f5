"""Hangs a run on Locust's events: starts its clock, drains it, closes its records, has it judged.

The run ends when the slots have served the schedule, when the time of users with tasks of their
own is over, or when it is stopped; never by Locust's own run time. Everything that was sent is
awaited and recorded before Locust is told to quit.
"""

import json
import os
import signal
import subprocess
import sys
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

import gevent
from gevent.event import Event
from gevent.os import tp_read
from locust.runners import STATE_CLEANUP, STATE_STOPPED

from experiments import child, fingerprint, payloads, run_folder
from experiments.errors import FAULT, AbreastError, EndpointError
from experiments.plan import Endpoint
from experiments.sagemaker.endpoint import EndpointFacts, describe, scaling_activity
from experiments.sagemaker.invoke import READ_TIMEOUT_S
from experiments.traffic.dispatch import Dispatch
from experiments.traffic.prepare import Prepared
from experiments.traffic.users import give_clients

DRAIN_S = READ_TIMEOUT_S + 5
INTERRUPTED = 130
_FEWEST_FOR_ERROR_RATE = 100


def give_up(options: Any, error: Exception) -> NoReturn:
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


class Run:
    """What the event listeners share: the environment, the plan, and the run under way."""

    def __init__(self, environment: Any, prepared: Prepared, *, serves_schedule: bool) -> None:
        self._environment = environment
        self._options = environment.parsed_options
        self._prepared = prepared
        self._serves_schedule = serves_schedule
        self._without_client = [c for c in environment.user_classes if not hasattr(c, "client")]
        self._dispatch: Dispatch | None = None
        self._helpers: list[gevent.Greenlet] = []
        self._closed = Event()
        self._closed.set()
        self._interrupts = 0
        self._report: subprocess.Popen[bytes] | None = None

    def follow(self) -> None:
        """Run the plan each time that Locust starts a test."""
        events = self._environment.events
        events.test_start.add_listener(self._begin)
        events.spawning_complete.add_listener(self._start_clock)
        events.test_stopping.add_listener(self._stop)
        events.test_stop.add_listener(self._finish)
        events.quitting.add_listener(self._quit)
        if self._options.supervised_run:
            gevent.spawn(self._end_with_supervisor)
        else:
            # Python's own handler would raise KeyboardInterrupt in whichever greenlet runs.
            gevent.signal_handler(signal.SIGINT, self._interrupt)

    def _begin(self, **_: object) -> None:
        try:
            self._open_run()
        except Exception as error:  # noqa: BLE001 - without a run, its slots would wait for ever
            give_up(self._options, error)

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
            **({} if self._serves_schedule else {"locustfile": self._environment.locustfile}),
            payloads={"distinct": len({p.digest for p in prepared.payloads}), "hash": hashed},
            transport={"name": prepared.transport_name, "why_not_fast": prepared.why_not_fast},
            endpoint=asdict(prepared.facts),
            subject=_subject(prepared.facts),
            conditions={
                **fingerprint.conditions(
                    prepared.plan, hashed, prepared.facts.region, prepared.transport_name
                ),
                **_endpoint_conditions(prepared.facts),
            },
        )
        run_folder.append_event(folder, "endpoint", **asdict(prepared.facts))
        if prepared.why_not_fast is not None:
            note = f"boto3 sends, not the fast transport: {prepared.why_not_fast}"
            _tell(options, {"kind": "note", "text": note})
        # Under a supervisor nobody sees Locust's table, which costs a tenth of a request.
        is_watched = options.supervised_run is None
        give_clients(self._without_client, dispatch, is_watched=is_watched)
        self._closed.clear()
        self._dispatch = dispatch

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
        if dispatch.has_sent_all:
            return  # and can no longer be stopped
        dispatch.stop_where_slo_is_lost()
        if limits is None:
            return
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
            # To a load test, failing is an answer.
            is_answer = dispatch.prepared.plan.question == "load"
            dispatch.stop(
                "stopped" if is_answer else "aborted",
                f"{health.failed:,} of {health.ended:,} requests failed, more than "
                f"limits.abort_error_rate = {limits.abort_error_rate:g} allows.",
            )

    def _quit_when_served(self, dispatch: Dispatch) -> None:
        runner = self._environment.runner
        served = gevent.spawn(runner.user_greenlets.join)
        if self._serves_schedule:
            served.join()
        else:
            gevent.wait([served, dispatch.stopped], timeout=dispatch.remaining_s, count=1)
            if served.ready() and dispatch.remaining_s > 0:
                dispatch.stop("aborted", "All users of the locustfile ended before the run's end.")
            dispatch.stop("complete", None)
        if self._dispatch is not dispatch:
            return
        self._end()
        if not self._environment.web_ui:
            runner.quit()

    def _end(self) -> None:
        """Stop the users of the run under way, where nobody did, and wait for the run's end."""
        if self._environment.runner.state not in (STATE_CLEANUP, STATE_STOPPED):
            self._environment.runner.stop()
        self._closed.wait()

    def _stop(self, **_: object) -> None:
        # Fired for every stop, the regular one included: by then the slots have served everything.
        dispatch = self._dispatch
        if dispatch is not None and self._environment.runner.user_greenlets:
            dispatch.stop("interrupted", "The run was stopped before its end.")

    def _finish(self, **_: object) -> None:
        dispatch, self._dispatch = self._dispatch, None
        if dispatch is None:
            return
        try:
            self._close(dispatch)
        finally:
            self._closed.set()

    def _close(self, dispatch: Dispatch) -> None:
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
            "slo_lost": dispatch.slo_lost,
        }
        # Told before it is written: the disk may be what ended the run.
        _tell(self._options, {"kind": "end", **ended})
        run_folder.update_manifest(dispatch.folder, **ended)
        run_folder.append_event(dispatch.folder, "end", ended_as=dispatch.ended_as)
        if self._prepared.facts.variants:
            endpoint, variants = self._prepared.plan.endpoint, self._prepared.facts.variants
            after, scaling = _described(endpoint), scaling_activity(endpoint, variants)
            run_folder.update_manifest(dispatch.folder, endpoint_after=after, scaling=scaling)
        if self._options.supervised_run is None:
            code = self._judge(dispatch.folder)
            ended_badly = {"interrupted": INTERRUPTED, "fault": FAULT}
            self._environment.process_exit_code = ended_badly.get(dispatch.ended_as, code)

    def _judge(self, folder: run_folder.RunFolder) -> int:
        """Judge and render the run in a process that holds neither Locust nor its patches."""
        sys.stdout.flush()
        command = child.command("experiments", "report", str(folder.path))
        # In a process group of its own, Ctrl-C does not reach it.
        self._report = subprocess.Popen(command, env=child.environment(), process_group=0)
        code, self._report = self._report.wait(), None
        if code < 0:
            _say(f"The records are kept; `abreast report {folder.path}` judges them.")
            return INTERRUPTED
        return code

    def _interrupt(self) -> None:
        """Drain at the first Ctrl-C, as Locust does at its own; stop at once at the next."""
        self._interrupts += 1
        if self._interrupts == 1:
            if not self._closed.is_set():
                _say(
                    "Stopping: requests in flight are awaited. Press Ctrl-C again to stop at once."
                )
            hub = gevent.get_hub()
            hub.loop.run_callback(hub.parent.throw, KeyboardInterrupt)
            return
        if self._dispatch is not None:
            self._dispatch.reason = "The run was stopped at once; what was in flight was given up."
        self._environment.runner.user_greenlets.kill(block=False)
        if self._report is not None:
            self._report.kill()

    def _quit(self, **_: object) -> None:
        """Drain before Locust ends the process; Locust's own quit would not wait."""
        self._end()
        if self._options.supervised_run is not None:
            self._environment.process_exit_code = 0

    def _end_with_supervisor(self) -> None:
        while tp_read(sys.stdin.fileno(), 4096):
            pass
        if self._dispatch is not None:
            self._dispatch.stop("interrupted", "The supervising process ended.")
        self._end()
        self._environment.runner.quit()


def _described(endpoint: Endpoint) -> dict[str, Any]:
    try:
        return asdict(describe(endpoint, endpoint.name))
    except EndpointError as error:
        return {"note": error.message}


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


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
