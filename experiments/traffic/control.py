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
import time
import traceback
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

import gevent
from gevent.event import Event
from gevent.os import tp_read
from locust.runners import STATE_CLEANUP, STATE_STOPPED

from experiments import afterwards, child, fingerprint, payloads, restore, run_folder
from experiments.errors import ENDED_BADLY, FAULT, INTERRUPTED, AbreastError
from experiments.sagemaker.endpoint import scaling_activity
from experiments.sagemaker.invoke import READ_TIMEOUT_S
from experiments.sagemaker.redacted import without_secrets
from experiments.traffic.cold import write_cold
from experiments.traffic.dispatch import Dispatch
from experiments.traffic.prepare import Prepared
from experiments.traffic.shares import Shares
from experiments.traffic.users import give_clients
from experiments.traffic.watch import EndpointWatch, conditions, subject
from experiments.traffic.web import LivePage, fill_table

DRAIN_S = READ_TIMEOUT_S + 5
_TELLING_S = 5.0
_FEWEST_FOR_ERROR_RATE = 100


def give_up(options: Any, error: Exception) -> NoReturn:
    """End the process with a message: Locust swallows what a listener of its events raises."""
    if isinstance(error, AbreastError | OSError):
        message, hint = getattr(error, "message", str(error)), getattr(error, "hint", "")
        code, shown = AbreastError.exit_code, f"{message}\n{hint}"
    else:
        message, hint, code = f"{type(error).__name__}: {error}", "", FAULT
        shown = without_secrets("".join(traceback.format_exception(error)))
    # Told first: the log may lie on the disk whose end this is.
    tell(options, {"kind": "error", "message": message, "hint": hint, "exit_code": code})
    say(shown)
    os._exit(code)


def tell(options: Any, message: dict[str, object]) -> None:
    """Tell the process that supervises this one, if any; one that does not listen holds up nothing.

    The end and an error alone are worth some seconds.
    """
    if options.progress_fd < 0:
        return
    # The line before may have been taken in part.
    left = b"\n" + json.dumps(message).encode() + b"\n"
    until_s = time.monotonic() + (_TELLING_S if message["kind"] in ("end", "error") else 0.0)
    try:
        os.set_blocking(options.progress_fd, False)
        while left:
            try:
                left = left[os.write(options.progress_fd, left) :]
            except BlockingIOError:
                if time.monotonic() >= until_s:
                    return
                gevent.sleep(0.05)
    except OSError:
        options.progress_fd = -1  # the supervisor is gone; its end of our stdin ends us


def say(line: str) -> None:
    """Write a line to stderr, where it takes one."""
    with suppress(OSError):  # a log may be on a full disk
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


class Run:
    """What the event listeners share: the environment, the plan, and the run under way."""

    fills_table = False
    """Whether Locust's own table is filled here though nobody watches a page."""

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
        self._cold = prepared.cold
        self._shares = Shares(prepared.plan, self._tell_all)
        self._watch: EndpointWatch | None = None
        self._report: subprocess.Popen[bytes] | None = None
        self._reading: subprocess.Popen[bytes] | None = None
        self._is_supervised = self._options.supervised_run is not None
        web_ui = environment.web_ui
        self._page = LivePage(web_ui, is_supervised=self._is_supervised) if web_ui else None

    def _tell_all(self, text: str) -> None:
        tell(self._options, {"kind": "note", "text": text})
        say(text)

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
            self._shares.put_back()
            give_up(self._options, error)

    def _open_run(self) -> None:
        options, prepared = self._options, self._prepared
        if options.supervised_run:
            folder = run_folder.open_folder(Path(options.supervised_run))
        else:
            restore.refuse_unrestored(Path(options.out), prepared.plan.endpoint)
            folder = run_folder.create(
                Path(options.out), prepared.plan_path.stem, prepared.plan_text
            )
            run_folder.write_manifest(
                folder, fingerprint.manifest(folder, prepared.plan, prepared.plan_path)
            )
        self._closed.clear()  # from here on there may be something to put back
        if prepared.plan.traffic.set_weights:
            self._shares.set(folder)
        facts = prepared.facts
        if facts.variants:
            self._watch = EndpointWatch(prepared.plan, folder)
            facts = self._watch.first
        slots = self._environment.runner.target_user_count
        dispatch = self._dispatch_of(folder, slots)
        write_cold(dispatch, self._cold)
        self._cold = ()  # which a second run of this process no longer is
        hashed = payloads.set_hash(prepared.payloads)
        payloads.write_table(prepared.payloads, folder.payloads)
        run_folder.update_manifest(
            folder,
            planned=dispatch.planned,
            slots=slots,
            **({} if self._serves_schedule else {"locustfile": self._environment.locustfile}),
            payloads={"distinct": len({p.digest for p in prepared.payloads}), "hash": hashed},
            transport={"name": prepared.transport_name, "why_not_fast": prepared.why_not_fast},
            endpoint=asdict(facts),
            first_requests=prepared.first_requests,
            subject=subject(facts),
            conditions={
                **fingerprint.conditions(
                    prepared.plan, hashed, facts.region, prepared.transport_name
                ),
                **conditions(facts),
                **dispatch.conditions,
            },
        )
        run_folder.append_event(folder, "endpoint", **asdict(facts))
        if prepared.why_not_fast is not None:
            note = f"boto3 sends, not the fast transport: {prepared.why_not_fast}"
            tell(options, {"kind": "note", "text": note})
        # Under a supervisor nobody listens to each request, which costs a tenth of it.
        give_clients(self._without_client, dispatch, is_watched=not self._is_supervised)
        if self._page is not None:
            self._page.follow(dispatch)
        self._dispatch = dispatch

    def _dispatch_of(self, folder: run_folder.RunFolder, slots: int) -> Dispatch:
        return Dispatch(self._prepared, folder, slots)

    def _start_clock(self, **_: object) -> None:
        dispatch = self._dispatch
        if dispatch is None:
            return
        if dispatch.started.is_set():
            dispatch.stop("aborted", "The number of users was changed while the run was under way.")
            return
        dispatch.start()
        zero_at = datetime.now(UTC) + timedelta(seconds=-dispatch.elapsed_s)
        run_folder.append_event(dispatch.folder, "start", zero_at=zero_at.isoformat())
        if self._page is not None:
            tell(self._options, {"kind": "note", "text": self._page.address})
            say(self._page.address)
        self._helpers = [
            gevent.spawn(dispatch.health.watch_loop),
            gevent.spawn(self._tick_each_second, dispatch),
            *([gevent.spawn(self._watch.loop)] if self._watch else []),
        ]
        gevent.spawn(self._quit_when_served, dispatch)

    def _tick_each_second(self, dispatch: Dispatch) -> None:
        while True:
            gevent.sleep(1.0)
            self._tick(dispatch)

    def _tick(self, dispatch: Dispatch) -> None:
        try:
            dispatch.tick(lambda message: tell(self._options, message))
        except OSError as error:
            _stop_unrecorded(dispatch, error)
        except Exception as error:  # noqa: BLE001 - a recorder that fails must stop the run
            dispatch.stop("fault", f"The records cannot be written: {error}.")
        if self.fills_table or (self._page is not None and self._is_supervised):
            fill_table(self._environment.stats, dispatch.health.live.newest.arms)
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
            # To a load test failing is an answer, and to a comparison that one arm alone fails.
            ended_as = {"load": "stopped", "compare": "failing"}
            dispatch.stop(
                ended_as.get(dispatch.prepared.plan.question, "aborted"),
                f"{health.failed:,} of {health.ended:,} requests failed, more than "
                f"limits.abort_error_rate = {limits.abort_error_rate:g} allows.",
            )

    def _quit_when_served(self, dispatch: Dispatch) -> None:
        runner = self._environment.runner
        self._await_served(dispatch)
        if self._dispatch is dispatch:
            self._end()
        elif self._page is None:
            return
        self._closed.wait()
        if self._page is None:
            runner.quit()
        elif self._is_supervised:
            self._environment.web_ui.stop()

    def _end(self) -> None:
        """Stop the users of the run under way, where nobody did, and wait for the run's end."""
        self._stop_users()
        self._closed.wait()

    def _await_served(self, dispatch: Dispatch) -> None:
        await_users(self._environment.runner, dispatch, serves_schedule=self._serves_schedule)

    def _is_serving(self) -> bool:
        return bool(self._environment.runner.user_greenlets)

    def _stop_users(self) -> None:
        if self._environment.runner.state not in (STATE_CLEANUP, STATE_STOPPED):
            self._environment.runner.stop()

    def _stop(self, **_: object) -> None:
        # Fired for every stop, the regular one included: by then the slots have served everything.
        dispatch = self._dispatch
        if dispatch is not None and self._is_serving():
            dispatch.stop("interrupted", "The run was stopped before its end.")

    def _finish(self, **_: object) -> None:
        dispatch, self._dispatch = self._dispatch, None
        try:
            if dispatch is not None:
                self._close(dispatch)
        finally:
            self._shares.put_back()
            self._closed.set()

    def _close(self, dispatch: Dispatch) -> None:
        gevent.killall(self._helpers)
        try:
            self._tick(dispatch)
            dispatch.close()
        except OSError as error:
            _stop_unrecorded(dispatch, error)
        dispatch.folder.reserve.unlink(missing_ok=True)
        ended = {
            "begun": dispatch.begun,
            "ended_as": dispatch.ended_as,
            "reason": dispatch.reason,
            "slo_lost": dispatch.slo_lost,
        }
        # Told before it is written: the disk may be what ended the run.
        tell(self._options, {"kind": "end", **ended})
        run_folder.update_manifest(dispatch.folder, **ended)
        run_folder.append_event(dispatch.folder, "end", ended_as=dispatch.ended_as)
        if self._watch is not None:
            endpoint, variants = self._prepared.plan.endpoint, self._watch.first.variants
            scaling = scaling_activity(endpoint, variants)
            run_folder.update_manifest(dispatch.folder, scaling=scaling, **self._watch.ended())
        self._shares.put_back()
        if self._page is not None:
            self._page.end()
        if not self._is_supervised:
            code = self._judge(dispatch.folder)
            self._environment.process_exit_code = ENDED_BADLY.get(dispatch.ended_as, code)

    def _judge(self, folder: run_folder.RunFolder) -> int:
        """Judge and render the run in a process that holds neither Locust nor its patches."""
        sys.stdout.flush()
        self._read_cloudwatch(folder)
        command = child.command("experiments", "report", str(folder.path))
        # In a process group of its own, Ctrl-C does not reach it.
        self._report = subprocess.Popen(command, env=child.environment(), process_group=0)
        code, self._report = self._report.wait(), None
        if code < 0:
            say(f"The records are kept; `abreast report {folder.path}` judges them.")
            return INTERRUPTED
        return code

    def _read_cloudwatch(self, folder: run_folder.RunFolder) -> None:
        plan = self._prepared.plan
        self._reading = afterwards.start_reading_cloudwatch(plan, folder, child.environment(), say)
        if self._reading is not None:
            afterwards.finish_reading_cloudwatch(folder, self._reading)

    def _interrupt(self) -> None:
        """Drain at the first Ctrl-C, as Locust does at its own; stop at once at the next."""
        if self._reading is not None and self._reading.poll() is None:
            self._reading.kill()
            return
        self._interrupts += 1
        if self._interrupts == 1:
            if not self._closed.is_set():
                if self._dispatch is None:  # a run that has begun says by itself how it ended
                    self._environment.process_exit_code = INTERRUPTED
                say("Stopping: requests in flight are awaited. Press Ctrl-C again to stop at once.")
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


def await_users(runner: Any, dispatch: Dispatch, *, serves_schedule: bool) -> None:
    """Wait until the users of this process have sent all, or were stopped and have ended."""
    served = gevent.spawn(runner.user_greenlets.join)
    if serves_schedule:
        while not (served.ready() or dispatch.has_sent_all or dispatch.stopped.is_set()):
            gevent.wait([served, dispatch.stopped], timeout=1.0, count=1)
        served.join(DRAIN_S)
        runner.user_greenlets.kill()  # who still waits then, of an answer that never ends
        return
    gevent.wait([served, dispatch.stopped], timeout=dispatch.remaining_s, count=1)
    if served.ready() and dispatch.remaining_s > 0:
        dispatch.stop("aborted", "All users of the locustfile ended before the run's end.")
    dispatch.stop("complete", None)


def _stop_unrecorded(dispatch: Dispatch, error: OSError) -> None:
    why = f"{error.filename}: {error.strerror}"
    dispatch.stop("aborted", f"The records cannot be written: {why}.")
