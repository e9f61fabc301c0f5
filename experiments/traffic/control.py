"""Hangs a run on Locust's events: starts its clock, drains it, closes its records, has it judged.

The run ends when the slots have served the schedule, when the time of users with tasks of their
own is over, or when it is stopped; never by Locust's own run time. Everything that was sent is
awaited and recorded before Locust is told to quit.
"""

import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import gevent
from gevent.event import Event
from gevent.os import tp_read
from locust.runners import STATE_CLEANUP, STATE_STOPPED

from experiments import fingerprint, payloads, restore, run_folder
from experiments.errors import ENDED_BADLY, INTERRUPTED
from experiments.record import COLD, SCHEMA
from experiments.sagemaker.endpoint import scaling_activity
from experiments.sagemaker.first_answer import First
from experiments.traffic.client import record_of
from experiments.traffic.dispatch import Arrival, Dispatch
from experiments.traffic.judging import Judging
from experiments.traffic.prepare import Prepared
from experiments.traffic.recorder import Recorder
from experiments.traffic.shares import Shares
from experiments.traffic.telling import give_up, note, say, tell
from experiments.traffic.users import await_users, give_clients
from experiments.traffic.watch import EndpointWatch, conditions, subject
from experiments.traffic.web import LivePage, fill_table


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
        self._shares = Shares(prepared.plan, self._note)
        self._watch: EndpointWatch | None = None
        self._judging = Judging()
        self._is_supervised = self._options.supervised_run is not None
        web_ui = environment.web_ui
        self._page = LivePage(web_ui, is_supervised=self._is_supervised) if web_ui else None

    def _note(self, text: str) -> None:
        note(self._options, text)

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
        self._hold = run_folder.hold(folder)
        self._closed.clear()  # from here on there may be something to put back
        if prepared.plan.traffic.set_weights:
            self._shares.set(folder)
        facts = prepared.facts
        if facts.variants:
            self._watch = EndpointWatch(prepared.read_endpoint, folder)
            facts = self._watch.first
        slots = self._environment.runner.target_user_count
        dispatch = self._dispatch_of(folder, slots)
        _write_cold(dispatch, self._cold)
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
            said = f"boto3 sends, not the fast transport: {prepared.why_not_fast}"
            tell(options, {"kind": "note", "text": said})
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
            self._note(self._page.address)
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
        dispatch.tick(lambda message: tell(self._options, message))
        if self.fills_table or (self._page is not None and self._is_supervised):
            fill_table(self._environment.stats, dispatch.health.live.newest.arms)
        dispatch.stop_where_it_must()

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
        self._tick(dispatch)
        dispatch.close()
        dispatch.folder.reserve.unlink(missing_ok=True)
        ended = {
            "begun": dispatch.begun,
            "ended_as": dispatch.ended_as,
            "reason": dispatch.reason,
            "slo_lost": dispatch.slo_lost,
        }
        # Told before it is written: the disk may be what ended the run.
        tell(self._options, {"kind": "end", **ended})
        try:
            run_folder.update_manifest(dispatch.folder, **ended)
        finally:
            os.close(self._hold)
        run_folder.append_event(dispatch.folder, "end", ended_as=dispatch.ended_as)
        if self._watch is not None:
            endpoint, variants = self._prepared.plan.endpoint, self._watch.first.variants
            scaling = scaling_activity(endpoint, variants)
            run_folder.update_manifest(dispatch.folder, scaling=scaling, **self._watch.ended())
        self._shares.put_back()
        if self._page is not None:
            self._page.end()
        if not self._is_supervised:
            code = self._judging.judge(self._prepared.plan, dispatch.folder)
            self._environment.process_exit_code = ENDED_BADLY.get(dispatch.ended_as, code)

    def _interrupt(self) -> None:
        """Drain at the first Ctrl-C, as Locust does at its own; stop at once at the next."""
        if self._judging.stop_waiting():
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
        self._judging.stop()

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


def _write_cold(dispatch: Dispatch, firsts: Sequence[First]) -> None:
    """Record the first request to each target, sent before the clock started, apart from others."""
    recorder = Recorder(dispatch.folder.cold, SCHEMA, {"run_id": dispatch.folder.run_id})
    zero_ns = firsts[0].started_ns if firsts else 0
    for number, (arm, payload, parameters, started_ns, reply) in enumerate(firsts):
        arrival = Arrival(number, started_ns - zero_ns, COLD, arm, payload, None)
        recorder.append(
            record_of(dispatch, zero_ns, None, arrival, parameters, reply, started_ns, 0)
        )
    recorder.close()
