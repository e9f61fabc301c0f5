"""The run as its master sees it: it sends nothing itself, and is what its workers do together."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import gevent
from locust.runners import HEARTBEAT_LIVENESS

from experiments import run_folder
from experiments.errors import AbreastError
from experiments.live import Second, as_one
from experiments.run_folder import RunFolder
from experiments.share import Share
from experiments.traffic import clocks, messages
from experiments.traffic.dispatch import Dispatch
from experiments.traffic.orders import orders
from experiments.traffic.prepare import Prepared
from experiments.traffic.recorder import counter
from experiments.traffic.shipping import Copies

START_LEAD_S = 1.0
"""From the start message to time zero, by when it has reached every worker."""
SILENT_S = 4.0
AWAITED_S = 10.0
"""How long a silent worker is awaited when the others are done."""
AWAITED_ALONE_S = 60.0
"""How long all of them may be silent before the run's planned end."""
_BRIEFING_S = 60.0
_PINGS = 9
_MOST_GARBLED = 20
"""Messages of a worker that cannot be read, after which nothing more is expected of it."""


@dataclass(slots=True)
class _Worker:
    id: str
    share: Share
    begun: memoryview
    ready: messages.Ready | None = None
    offsets: list[clocks.Offset] = field(default_factory=list)
    offsets_after: list[clocks.Offset] = field(default_factory=list)
    """At the run's end."""
    slots: int = 0
    state: str = "briefed"
    """"briefed", "sending", "silent", and at the end "done", "interrupted" or "lost"."""
    was_silent: bool = False
    garbled: int = 0
    """Messages that could not be read."""
    report: messages.Report | None = None
    heard_s: float = 0.0

    @property
    def name(self) -> str:
        host = self.ready.host if self.ready else "an unknown host"
        return f"Worker {self.share.rank} on {host}"

    @property
    def is_done(self) -> bool:
        """Whether nothing more is to come of it."""
        return self.state in ("done", "interrupted", "lost")


class Crew(Dispatch):
    """One run of several workers; `say` tells what happens to them."""

    def __init__(
        self,
        prepared: Prepared,
        folder: RunFolder,
        slots: int,
        runner: Any,
        say: Callable[[str], object],
    ) -> None:
        super().__init__(prepared, folder, slots)
        self._runner = runner
        self._say = say
        self._workers: dict[str, _Worker] = {}
        self._seconds: list[Second] = []
        self._copies = Copies(folder.raw)
        self._is_given_up = False

    def _open_streams(self) -> None:
        self._begun = _number()

    def brief(self) -> None:
        """Give every ready worker its share, and wait until each can send; measure their clocks."""
        ids = sorted(client.id for client in self._runner.clients.ready)
        if len(ids) > self.slots:
            raise AbreastError(
                f"{len(ids)} workers would share {self.slots} slots, and one without a slot "
                "cannot send its share.",
                "Give more slots (traffic.slots, or users), or fewer workers.",
            )
        plan = self.prepared.plan
        together = len(plan.arms) if plan.traffic.routing == "paired" else 1
        for rank, node in enumerate(ids):
            share = Share(rank=rank, of=len(ids), together=together)
            self._workers[node] = _Worker(node, share, _number())
            self._send(orders(self.prepared, self.folder, share), node)
        _await(_BRIEFING_S, lambda: all(worker.ready for worker in self._workers.values()))
        for worker in self._workers.values():
            refused = "It did not answer within a minute."
            if worker.ready is None or (refused := worker.ready.refused or ""):
                raise AbreastError(
                    f"{worker.name} ({worker.id}) cannot take part: {refused}",
                    "Mend that on its machine, and start the workers and the run again.",
                )
        self._ping()
        _await(SILENT_S, lambda: all(worker.offsets for worker in self._workers.values()))
        for worker in self._workers.values():
            if not worker.offsets:
                raise AbreastError(f"{worker.name} fell silent.", "Start the workers again.")
            if worker.ready and worker.ready.spool is not None:
                worker.begun = counter(self.folder.begun_by(worker.share.rank))
        self._note_workers()

    def _send(self, message: messages.Message, node: str) -> None:
        self._runner.send_message(messages.name_of(type(message)), messages.told(message), node)

    def _ping(self) -> None:
        for _ in range(_PINGS):
            for node in self._workers:
                self._send(clocks.ping(self.folder.run_id), node)
            gevent.sleep(0.02)

    @property
    def nodes(self) -> list[Any]:
        """The workers as Locust knows them, to whom it may give users."""
        return [self._runner.clients[node] for node in self._workers]

    @property
    def conditions(self) -> dict[str, str]:
        """What of the workers must be alike in runs that are compared."""
        cpus = sorted({each.ready.cpu for each in self._workers.values() if each.ready})
        return {"workers": str(len(self._workers)), "client CPU": ", ".join(cpus)}

    def start(self, zero_ns: int | None = None) -> None:
        """Tell every worker when time zero is, by its own clock."""
        now_ns = time.perf_counter_ns()
        super().start(zero_ns or now_ns + round(START_LEAD_S * 1e9))
        for node, worker in self._workers.items():
            worker.slots = sum(self._runner.clients[node].user_classes_count.values())
            worker.state, worker.heard_s = "sending", time.monotonic()
            zero_of_it_ns = self.start_ns + clocks.best(worker.offsets).ahead_ns
            self._send(messages.Start(run_id=self.folder.run_id, zero_ns=zero_of_it_ns), node)
        self._note_workers()

    def stop(self, ended_as: str, reason: str | None) -> None:
        """Let every worker take no more; those in flight finish."""
        if not self.stopped.is_set():
            super().stop(ended_as, reason)
            for node in self._workers:
                self._send_stop(node, ended_as, reason)

    def _send_stop(self, node: str, ended_as: str, reason: str | None) -> None:
        why = messages.Stop(run_id=self.folder.run_id, ended_as=ended_as, reason=reason)
        self._send(why, node)

    def hear(self, kind: type[messages.Message], node: str, data: object) -> None:
        """Take in what a worker sent; what is of another run, or of no worker of this, is nothing.

        It runs where Locust receives messages, and so waits for nothing.
        """
        if (worker := self._workers.get(node)) is None:
            return
        message = messages.read(kind, data)
        if message is not None and message.run_id != self.folder.run_id:
            return
        try:
            if message is None or not self._is_sound(worker, message):
                raise ValueError(f"{worker.name} sent what is no {messages.name_of(kind)} of its.")
            self._take_in(worker, message)
        except ValueError as error:
            worker.garbled += 1
            if worker.garbled == 1:
                self._say(f"{error} It is left out, as others of the kind will be.")
            elif worker.garbled == _MOST_GARBLED and not worker.is_done:
                worker.state = "lost"
                self._say(f"{worker.name} is lost: it sends what cannot be read.")
                self._send_stop(node, "interrupted", "The master cannot read what it sends.")

    def _is_sound(self, worker: _Worker, message: messages.Message) -> bool:
        """Whether its figures can be those of the worker's share."""
        if not isinstance(message, messages.Part | messages.Report):
            return True
        own = self._planned_of(worker)
        limits = len(self.guard.counts) if self.guard is not None else 0
        return (own is None or message.begun <= own) and (
            isinstance(message, messages.Part) or len(message.missed) == limits
        )

    def _planned_of(self, worker: _Worker) -> int | None:
        return None if self.planned is None else worker.share.below(self.planned)

    def _take_in(self, worker: _Worker, message: messages.Message) -> None:
        worker.heard_s = time.monotonic()
        match message:
            case messages.Pong():
                found = worker.offsets_after if self.start_ns else worker.offsets
                found.append(clocks.offset(message, time.perf_counter_ns()))
            case messages.Ready():
                worker.ready = message
            case messages.Part():
                self._append(worker, message)
            case messages.Report():
                self._note(worker, message)

    def _append(self, worker: _Worker, part: messages.Part) -> None:
        if worker.state == "lost":
            return
        try:
            sizes = self._copies.add(worker.share.rank, part)
        except OSError as error:
            # Never confirmed, it would send the part for ever: it keeps its records.
            worker.state = "lost"
            reason = f"The records of {worker.name} cannot be written: {error}."
            self._say(reason)
            self.folder.reserve.unlink(missing_ok=True)
            self.stop("aborted", reason)
            return
        worker.begun[0] = max(worker.begun[0], part.begun)
        self._send(messages.Ack(run_id=self.folder.run_id, sizes=sizes), worker.id)

    def _note(self, worker: _Worker, report: messages.Report) -> None:
        worker.report, worker.slots = report, report.slots
        worker.begun[0] = max(worker.begun[0], report.begun)
        self._seconds.extend(report.seconds)
        self._send(messages.Ack(run_id=self.folder.run_id, sizes={}), worker.id)
        if worker.state == "silent":
            worker.state = "sending"
            self._say(f"{worker.name} is heard again.")
        reason = f"{worker.name}: {report.reason}"
        if report.is_done and not worker.is_done:
            cut_short = report.ended_as == "interrupted" and not self.stopped.is_set()
            worker.state = "interrupted" if cut_short else "done"
            if cut_short:
                self._say(f"{reason} The run goes on with the others.")
            elif report.ended_as == "stopped" and not self.stopped.is_set():
                self.ended_as, self.reason = report.ended_as, report.reason
        if report.ended_as in ("fault", "aborted"):
            self.stop(report.ended_as, reason)
        elif self.stopped.is_set() and not report.is_stopped:
            # The first did not reach it.
            self._send_stop(worker.id, self.ended_as, self.reason)

    def tick(self, tell: Callable[[dict[str, object]], None]) -> None:
        """Put together what the workers told in the last second, and tell how the run goes."""
        elapsed_s = self.elapsed_s
        with self._recording("What the workers tell cannot be put together"):
            now_s, workers = time.monotonic(), self._workers.values()
            for client in self._runner.clients.all:
                # Who is there is judged here. Locust would stop the run, or move users, on its own.
                client.heartbeat = HEARTBEAT_LIVENESS
            for worker in workers:
                if worker.state == "sending" and now_s - worker.heard_s > SILENT_S:
                    worker.state, worker.was_silent = "silent", True
                    self._say(f"{worker.name} is silent. The run goes on with the others.")
            seconds, self._seconds = self._seconds, []
            self.health.live.add(as_one(max(elapsed_s, 0.0), seconds))
            reports = [worker.report for worker in workers if worker.report]
            self.health.ended = sum(report.ended for report in reports)
            self.health.failed = sum(report.failed for report in reports)
            self.in_flight = sum(report.in_flight for report in reports)
            self.begun = sum(worker.begun[0] for worker in workers)
            if self.guard is not None and reports:
                self.guard.set_counts([report.missed for report in reports])
        self._tell_progress(tell, elapsed_s)

    def await_served(self) -> None:
        """Wait until every worker has sent its share and its records, or is given up."""
        while not self.is_served:
            gevent.sleep(0.1)
        for worker in self._workers.values():
            if not worker.is_done:
                worker.state = "lost"
                self._say(f"{worker.name} is lost.")
        if not self._is_given_up:
            self._ping()

    @property
    def is_served(self) -> bool:
        """Whether nobody is awaited any more."""
        workers = self._workers.values()
        return self._is_given_up or not any(self._is_awaited(worker) for worker in workers)

    def give_up(self) -> None:
        """Wait for nobody any more."""
        self._is_given_up = True

    def _is_awaited(self, worker: _Worker) -> bool:
        is_early = not self.stopped.is_set() and self.remaining_s > 0
        silence_s = time.monotonic() - worker.heard_s
        return not worker.is_done and silence_s < (AWAITED_ALONE_S if is_early else AWAITED_S)

    def _close_streams(self) -> None:
        try:
            self._copies.close()
        finally:
            self._note_workers()

    def _note_workers(self) -> None:
        run_folder.update_manifest(
            self.folder, workers=[self._facts(worker) for worker in self._workers.values()]
        )

    def _facts(self, worker: _Worker) -> dict[str, Any]:
        found, after, ready = clocks.best(worker.offsets), worker.offsets_after, worker.ready
        drift_ns = clocks.best(after).ahead_ns - found.ahead_ns if after else None
        assert ready is not None
        return {
            "rank": worker.share.rank,
            "host": ready.host,
            "pid": ready.pid,
            "offset_ms": found.wall_ns / 1e6,
            "rtt_ms": found.round_trip_ns / 1e6,
            "drift_ms": None if drift_ns is None else drift_ns / 1e6,
            "slots": worker.slots,
            "planned": self._planned_of(worker),
            "begun": worker.begun[0],
            "ended": worker.report.ended if worker.report else 0,
            "state": worker.state,
            "was_silent": worker.was_silent,
            "garbled": worker.garbled,
            "spool": ready.spool,
        }


def _number() -> memoryview:
    return memoryview(bytearray(8)).cast("q")


def _await(seconds: float, happened: Callable[[], bool]) -> None:
    until_s = time.monotonic() + seconds
    while not happened() and time.monotonic() < until_s:
        gevent.sleep(0.02)
