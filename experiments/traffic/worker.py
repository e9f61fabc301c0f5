"""A worker: it sends its share of a master's run, and brings the records to where the run is.

Without orders it sends nothing, whatever users Locust gives it. Where the master falls silent it
goes on with its share for a minute, since links come back; where nobody listens at the master's
port any more, it ends at once, and its records stay where it says.
"""

import contextlib
import os
import socket
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import gevent
from gevent.event import Event
from locust import User
from locust.exception import RPCError, StopUser

from experiments import fingerprint, run_folder
from experiments.errors import AbreastError, RunFolderError
from experiments.live import Second
from experiments.run_folder import RunFolder
from experiments.share import Share
from experiments.traffic import clocks, messages
from experiments.traffic.dispatch import Dispatch
from experiments.traffic.orders import prepared_by, understood
from experiments.traffic.shipping import Shipper
from experiments.traffic.telling import say
from experiments.traffic.users import DRAIN_S, await_users, give_clients

QUIET_S = 3.0
"""A master that is silent for so long is asked at its port whether it is there."""
MASTER_LOST_S = 60.0
_SHIPPING_S = 30.0
_UNTRUSTED = 4


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
        self._seconds: list[Second] = []
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
        orders = messages.name_of(messages.Orders)
        self._runner.register_message(
            orders, lambda msg, **_: self._take_orders(msg.data), concurrent=True
        )
        self._on(messages.Ping, lambda ping: self._tell(clocks.pong(ping)))
        # Behind the greenlet that Locust began for the users of an earlier message.
        self._on(messages.Start, lambda start: gevent.spawn(self._start, start.zero_ns))
        self._on(messages.Stop, self._stop)
        self._on(messages.Ack, self._confirm)
        self._environment.events.heartbeat_received.add_listener(self._hear)
        self._environment.events.quitting.add_listener(self._quit)
        gevent.spawn(self._watch_master)

    def _on(self, kind: type[messages.Kind], take: Callable[[messages.Kind], object]) -> None:
        """Take messages of a kind that are of the run under way, and no others."""

        def hear(msg: Any, **_: object) -> None:
            message, dispatch = messages.read(kind, msg.data), self._dispatch
            if message and dispatch and message.run_id == dispatch.folder.run_id:
                take(message)

        self._runner.register_message(messages.name_of(kind), hear)

    def _hear(self, **_: object) -> None:
        self._heard_s = time.monotonic()

    def _tell(self, message: messages.Message) -> None:
        self._runner.send_message(messages.name_of(type(message)), messages.told(message))

    def _take_orders(self, data: Mapping[str, Any]) -> None:
        run_id, host, pid = str(data.get("run_id")), socket.gethostname(), os.getpid()
        try:
            orders = understood(data)
            folder, is_direct = self._folder(orders)
            prepared = prepared_by(orders, self._own_plan)
            share = Share(rank=orders.rank, of=orders.of, together=orders.together)
            dispatch = Dispatch(prepared, folder, prepared.plan.traffic.concurrency, share)
        except Exception as error:  # noqa: BLE001 - else the master would wait for a minute
            is_ours = isinstance(error, AbreastError | OSError)
            refused = str(error) if is_ours else f"{type(error).__name__}: {error}"
            self._tell(messages.Ready(run_id=run_id, host=host, pid=pid, refused=refused))
            return
        give_clients(self._without_client, dispatch, is_watched=False)
        self._shipper = None
        if not is_direct:
            streams = [dispatch.records, dispatch.health_rows]
            self._shipper = Shipper(streams, lambda *part: self._tell_part(dispatch, *part))
        self._closed.clear()
        self._dispatch, self._seconds, self._is_done = dispatch, [], False
        cpu, spool = fingerprint.host()["cpu"], None if is_direct else str(folder.raw)
        self._tell(messages.Ready(run_id=run_id, host=host, pid=pid, cpu=cpu, spool=spool))

    def _folder(self, orders: messages.Orders) -> tuple[RunFolder, bool]:
        """Give where the streams go: the run folder itself where it is here, else one like it.

        Say which of the two it is: paths may be alike on two machines.
        """
        folder = RunFolder(Path(orders.folder))
        with contextlib.suppress(RunFolderError):
            is_it = run_folder.read_manifest(folder).get("run_id") == orders.run_id
            if is_it and os.access(folder.raw, os.W_OK):
                return folder, True
        folder = RunFolder((self._out / orders.run_id).absolute())
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

    def _stop(self, stop: messages.Stop) -> None:
        if self._dispatch is not None:
            self._dispatch.stop(stop.ended_as, stop.reason)

    def _confirm(self, ack: messages.Ack) -> None:
        self._hear()
        if self._shipper is None or self._is_done:
            return
        self._shipper.confirm(ack.sizes)
        with contextlib.suppress(RPCError):  # Locust has said so, and connects again
            self._shipper.ship()

    def _tick_each_second(self, dispatch: Dispatch) -> None:
        while True:
            gevent.sleep(1.0)
            self._tick(dispatch)

    def _tick(self, dispatch: Dispatch) -> None:
        dispatch.tick(lambda _: None)
        self._seconds.append(dispatch.health.live.newest)

    def _close_when_served(self, dispatch: Dispatch) -> None:
        await_users(self._runner, dispatch, serves_schedule=self._serves_schedule)
        gevent.killall(self._helpers)
        try:
            self._tick(dispatch)
            dispatch.close()
        finally:
            self._closed.set()  # else the master would await this share for ever

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
        report = messages.Report(
            run_id=dispatch.folder.run_id,
            begun=dispatch.begun,
            ended=dispatch.health.ended,
            failed=dispatch.health.failed,
            in_flight=dispatch.in_flight,
            slots=dispatch.slots,
            missed=tuple(dispatch.guard.counts) if dispatch.guard is not None else (),
            seconds=tuple(seconds),
            ended_as=dispatch.ended_as,
            reason=dispatch.reason,
            is_stopped=dispatch.stopped.is_set(),
            is_done=self._is_done,
        )
        self._tell(report)

    def _tell_part(self, dispatch: Dispatch, name: str, at: int, content: bytes) -> None:
        run_id, begun = dispatch.folder.run_id, dispatch.begun
        self._tell(messages.Part(run_id=run_id, begun=begun, name=name, at=at, content=content))

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
