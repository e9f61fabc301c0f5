"""A worker: it sends its share of a master's run, and brings the records to where the run is.

It needs no plan and no payloads of its own, and asks nothing of the control plane. Without orders
it sends nothing, whatever users Locust gives it. Where the master falls silent it goes on with its
share for a minute, since links come back; where nobody listens at the master's port any more, it
ends at once, and its records stay where it says.
"""

import contextlib
import os
import re
import socket
import time
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import gevent
import numpy as np
from gevent.event import Event
from locust import User
from locust.exception import RPCError, StopUser

from experiments import fingerprint, run_folder
from experiments.errors import AbreastError, RunFolderError
from experiments.invocation import prediction_selector
from experiments.payloads import Payload
from experiments.plan import Plan
from experiments.plan_file import find, load
from experiments.run_folder import RunFolder
from experiments.sagemaker.endpoint import EndpointFacts
from experiments.share import Share
from experiments.together import encoded
from experiments.traffic import clocks
from experiments.traffic.control import DRAIN_S, await_users, say
from experiments.traffic.dispatch import Dispatch
from experiments.traffic.prepare import Prepared, transport_of
from experiments.traffic.shipping import Shipper
from experiments.traffic.users import give_clients

QUIET_S = 3.0
"""A master that is silent for so long is asked at its port whether it is there."""
MASTER_LOST_S = 60.0
_SHIPPING_S = 30.0
_UNTRUSTED = 4
_RUN_ID = re.compile(r"[A-Za-z0-9-]+")


class Worker:
    """What a worker's messages and events share: the share under way, and who is to know of it."""

    def __init__(self, environment: Any, *, serves_schedule: bool) -> None:
        options = environment.parsed_options
        self._environment = environment
        self._runner = environment.runner
        self._serves_schedule = serves_schedule
        self._without_client = [c for c in environment.user_classes if not hasattr(c, "client")]
        self._out = Path(options.out)  # the master's own options will take the place of these
        self._own_plan = (options.plan, list(options.plan_overrides)) if options.plan else None
        self._dispatch: Dispatch | None = None
        self._shipper: Shipper | None = None
        self._seconds: list[dict[str, Any]] = []
        self._helpers: list[gevent.Greenlet] = []
        self._closed = Event()
        self._closed.set()
        self._is_done = True
        self._heard_s = time.monotonic()

    def follow(self) -> None:
        """Take orders until the master, or whoever is at this machine, says that it is enough."""
        idle = cached_property(_have_no_orders)
        idle.__set_name__(User, "client")
        for each in self._without_client:
            each.client = idle
        register = self._runner.register_message
        register("abreast_ping", lambda msg, **_: self._tell("pong", clocks.answer(msg.data)))
        register("abreast_plan", lambda msg, **_: self._take_orders(msg.data), concurrent=True)
        # Behind the greenlet that Locust began for the users of an earlier message.
        register("abreast_start", lambda msg, **_: self._start(**msg.data), concurrent=True)
        register("abreast_stop", lambda msg, **_: self._stop(**msg.data))
        register("abreast_ack", lambda msg, **_: self._confirm(msg.data["sizes"]))
        self._environment.events.heartbeat_received.add_listener(self._hear)
        self._environment.events.quitting.add_listener(self._quit)
        gevent.spawn(self._watch_master)

    def _hear(self, **_: object) -> None:
        self._heard_s = time.monotonic()

    def _tell(self, kind: str, data: Mapping[str, Any]) -> None:
        self._runner.send_message(f"abreast_{kind}", data)

    def _take_orders(self, orders: Mapping[str, Any]) -> None:
        about = {"host": socket.gethostname(), "pid": os.getpid()}
        try:
            folder, is_direct = self._folder(orders)
            prepared = _prepared(orders, self._own_plan)
            share = Share(
                rank=int(orders["rank"]), of=int(orders["of"]), together=int(orders["together"])
            )
            dispatch = Dispatch(prepared, folder, prepared.plan.traffic.concurrency, share)
        except (AbreastError, OSError) as error:
            self._tell("ready", {**about, "refused": str(error)})
            return
        give_clients(self._without_client, dispatch, is_watched=False)
        self._shipper = None
        if not is_direct:
            streams = [dispatch.records, dispatch.health_rows]
            self._shipper = Shipper(streams, lambda part: self._tell_part(dispatch, part))
        self._closed.clear()
        self._dispatch, self._seconds, self._is_done = dispatch, [], False
        spool = None if is_direct else str(folder.raw)
        cpu = fingerprint.host()["cpu"]
        self._tell("ready", {**about, "cpu": cpu, "is_direct": is_direct, "spool": spool})

    def _folder(self, orders: Mapping[str, Any]) -> tuple[RunFolder, bool]:
        """Give where the streams go: the run folder itself where it is here, else one like it.

        Raises:
            AbreastError: the run's id would lead elsewhere.
        """
        if _RUN_ID.fullmatch(orders["run_id"]) is None:
            raise AbreastError(
                f"{orders['run_id']!r} is no id of a run.", "Check whose --master-host is."
            )
        folder = RunFolder(Path(orders["folder"]))
        try:
            if run_folder.read_manifest(folder)["run_id"] == orders["run_id"] and os.access(
                folder.raw, os.W_OK
            ):
                return folder, True
        except RunFolderError:
            pass
        folder = RunFolder((self._out / orders["run_id"]).absolute())
        self._out.mkdir(parents=True, exist_ok=True)
        folder.path.mkdir(mode=0o700, exist_ok=True)
        folder.raw.mkdir(exist_ok=True)
        return folder, False

    def _start(self, zero_ns: int) -> None:
        dispatch = self._dispatch
        if dispatch is None or dispatch.started.is_set():
            return
        dispatch.slots = self._runner.target_user_count
        dispatch.start(zero_ns)
        self._helpers = [
            gevent.spawn(dispatch.health.watch_loop),
            gevent.spawn(self._tick_each_second, dispatch),
        ]
        gevent.spawn(self._report_each_second, dispatch)
        gevent.spawn(self._close_when_served, dispatch)

    def _stop(self, ended_as: str, reason: str | None) -> None:
        if self._dispatch is not None:
            self._dispatch.stop(ended_as, reason)

    def _confirm(self, sizes: Mapping[str, int]) -> None:
        self._hear()
        if self._shipper is None or self._is_done:
            return
        self._shipper.confirm(sizes)
        with contextlib.suppress(RPCError):  # Locust has said so, and connects again
            self._shipper.ship()

    def _tick_each_second(self, dispatch: Dispatch) -> None:
        while True:
            gevent.sleep(1.0)
            self._tick(dispatch)

    def _tick(self, dispatch: Dispatch) -> None:
        try:
            dispatch.tick(lambda _: None)
        except OSError as error:
            dispatch.stop("aborted", f"The records cannot be written: {error}.")
        except Exception as error:  # noqa: BLE001 - a recorder that fails must stop the run
            dispatch.stop("fault", f"The records cannot be written: {error}.")
        self._seconds.append(encoded(dispatch.health.live.newest))

    def _close_when_served(self, dispatch: Dispatch) -> None:
        await_users(self._runner, dispatch, serves_schedule=self._serves_schedule)
        gevent.killall(self._helpers)
        try:
            self._tick(dispatch)
            dispatch.close()
        except OSError as error:
            dispatch.stop("aborted", f"The last records cannot be written: {error}.")
        except Exception as error:  # noqa: BLE001 - else the master would await this share
            dispatch.stop("fault", f"The last records cannot be written: {error}.")
        finally:
            self._closed.set()

    def _report_each_second(self, dispatch: Dispatch) -> None:
        """Tell what is new until the master has been told all; and then, that this is so."""
        while self._dispatch is dispatch:
            try:
                if self._shipper is not None and not self._is_done:
                    self._shipper.ship()
                if self._closed.is_set() and not self._is_done:
                    self._end(dispatch)
                self._report(dispatch)
            except RPCError:
                pass  # Locust has said so, and connects again
            self._runner.last_heartbeat_timestamp = None  # Locust would end this after a minute
            if self._closed.is_set():
                gevent.sleep(1.0 if self._is_done else 0.1)
            else:
                self._closed.wait(1.0)

    def _end(self, dispatch: Dispatch) -> None:
        """Count the share as done, where the master has all records of it."""
        if self._shipper is not None:
            if self._shipper.unconfirmed:
                return
            self._shipper.close()
            self._discard(dispatch)
        self._is_done = True

    @staticmethod
    def _discard(dispatch: Dispatch) -> None:
        """Remove this worker's files, of which the master has all, or which hold nothing."""
        dispatch.close()
        for stream in (dispatch.records, dispatch.health_rows):
            stream.path.unlink(missing_ok=True)
        folder = dispatch.folder
        folder.begun_by(dispatch.share.rank).unlink(missing_ok=True)
        for each in (folder.raw, folder.path) if not folder.manifest.exists() else ():
            with contextlib.suppress(OSError):  # another worker of this machine is in it
                each.rmdir()

    def _report(self, dispatch: Dispatch) -> None:
        seconds, self._seconds = self._seconds, []
        report = {
            "run_id": dispatch.folder.run_id,
            "begun": dispatch.begun,
            "ended": dispatch.health.ended,
            "failed": dispatch.health.failed,
            "in_flight": dispatch.in_flight,
            "slots": dispatch.slots,
            "missed": dispatch.guard.counts if dispatch.guard is not None else [],
            "seconds": seconds,
            "ended_as": dispatch.ended_as,
            "reason": dispatch.reason,
            "is_stopped": dispatch.stopped.is_set(),
            "is_done": self._is_done,
        }
        self._tell("report", report)

    def _tell_part(self, dispatch: Dispatch, part: Mapping[str, Any]) -> None:
        about = {"run_id": dispatch.folder.run_id, "begun": dispatch.begun}
        self._tell("part", {**part, **about})

    def _watch_master(self) -> None:
        """End the share, and this process, once the master is gone for good."""
        while not self._is_gone():
            gevent.sleep(1.0)
        say("The master is gone.")
        self._leave("The master was gone.")
        self._environment.process_exit_code = _UNTRUSTED
        self._runner.quit()

    def _is_gone(self) -> bool:
        silence_s = time.monotonic() - self._heard_s
        if silence_s < QUIET_S:
            return False
        try:
            address = (self._runner.master_host, self._runner.master_port)
            socket.create_connection(address, timeout=1.0).close()
        except ConnectionRefusedError:
            return True
        except OSError:
            pass  # a link that is cut may come back
        return silence_s > MASTER_LOST_S

    def _leave(self, reason: str) -> None:
        """Take no more, await what is in flight, and say where records are that nobody took."""
        dispatch = self._dispatch
        if dispatch is None or self._is_done:
            return
        dispatch.stop("interrupted", reason)
        if dispatch.start_ns == 0:  # and so nothing was sent
            self._discard(dispatch)
            return
        self._closed.wait(DRAIN_S)
        until_s = time.monotonic() + _SHIPPING_S
        while not self._is_done and time.monotonic() < until_s and not self._is_gone():
            gevent.sleep(0.1)
        if self._shipper is not None and self._shipper.unconfirmed:
            place = dispatch.folder.raw
            say(
                f"The master lacks records of this worker. They are kept in {place}: copy its "
                f"files into requests/ of the run folder {dispatch.folder.run_id}, and "
                "`abreast report` judges them with the others."
            )
        self._dispatch = None

    def _quit(self, **_: object) -> None:
        self._leave("This worker was told to end.")


def _have_no_orders(_: User) -> object:
    raise StopUser


def _prepared(orders: Mapping[str, Any], own: tuple[str, list[str]] | None) -> Prepared:
    """Make what requests need from the master's orders.

    Raises:
        AbreastError: the two would not send the same.
    """
    version = fingerprint.versions()["abreast"]
    if version != orders["abreast"]:
        raise AbreastError(
            f"It is abreast {version}, and the master is {orders['abreast']}.",
            "Install the same version on both.",
        )
    plan = Plan.model_validate(orders["plan"])
    if own is not None and load(find(own[0]), own[1]).model_dump() != plan.model_dump():
        raise AbreastError(
            f"Its --plan {own[0]} is another than the master's.",
            "Leave out --plan and --set on workers: the master sends its own.",
        )
    transport, name, why_not_fast = transport_of(plan)
    if name != orders["transport"]:
        raise AbreastError(
            f"Its requests would go by {name} ({why_not_fast or 'nothing is in the way'}), and "
            f"those of the master's machine go by {orders['transport']}.",
            "Make their proxies and variables alike, or set traffic.transport in the plan.",
        )
    trace = orders["trace_s"]
    return Prepared(
        plan=plan,
        plan_path=Path(),
        plan_text="",
        payloads=tuple(Payload("", body, None, fields) for body, fields in orders["payloads"]),
        facts=EndpointFacts(),
        transport=transport,
        transport_name=name,
        why_not_fast=why_not_fast,
        select_prediction=prediction_selector(plan.answers),
        trace_s=None if trace is None else np.frombuffer(trace),
        local=None,
    )
