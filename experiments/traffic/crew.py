"""The run as its master sees it: it sends nothing itself, and is what its workers do together.

Messages are Locust's own. The master sends "abreast_ping", "abreast_plan", "abreast_start",
"abreast_stop" and "abreast_ack"; a worker sends "abreast_pong", "abreast_ready", "abreast_part" (of
a stream) and, each second, "abreast_report". What is told is told as a total, so that a message
that is lost costs nothing once the next has come.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import gevent
from locust.runners import HEARTBEAT_LIVENESS

from experiments import fingerprint, run_folder
from experiments.errors import AbreastError
from experiments.run_folder import RunFolder
from experiments.share import Share
from experiments.together import as_one
from experiments.traffic import clocks
from experiments.traffic.dispatch import Dispatch
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


@dataclass(slots=True)
class _Worker:
    id: str
    share: Share
    answer: Mapping[str, Any] | None = None
    """How it answered the plan."""
    offsets: list[clocks.Offset] = field(default_factory=list)
    offsets_after: list[clocks.Offset] = field(default_factory=list)
    """At the run's end."""
    slots: int = 0
    state: str = "briefed"
    """"briefed", "sending", "silent", and at the end "done", "interrupted" or "lost"."""
    was_silent: bool = False
    report: Mapping[str, Any] = field(default_factory=dict)
    heard_s: float = 0.0
    begun: memoryview = field(default_factory=lambda: memoryview(bytearray(8)).cast("q"))

    @property
    def name(self) -> str:
        return f"Worker {self.share.rank} on {self.told.get('host', 'an unknown host')}"

    @property
    def told(self) -> Mapping[str, Any]:
        return self.answer or {}

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
        self._seconds: list[Mapping[str, Any]] = []
        self._copies = Copies(folder.raw)
        self._is_given_up = False

    def _open_streams(self) -> None:
        self._begun = memoryview(bytearray(8)).cast("q")

    def brief(self) -> None:
        """Give every ready worker its share, and wait until each can send; measure their clocks.

        Raises:
            AbreastError: a worker does not answer, or refuses.
        """
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
            self._workers[node] = _Worker(node, share)
            self._runner.send_message("abreast_plan", self._orders(share), node)
        gevent.with_timeout(_BRIEFING_S, self._await_answers, timeout_value=None)
        for worker in self._workers.values():
            refused = worker.told.get("refused", "It did not answer within a minute.")
            if worker.answer is None or "refused" in worker.answer:
                raise AbreastError(
                    f"{worker.name} ({worker.id}) cannot take part: {refused}",
                    "Mend that on its machine, and start the workers and the run again.",
                )
        self._ping()
        gevent.with_timeout(SILENT_S, self._await_pongs, timeout_value=None)
        for worker in self._workers.values():
            if not worker.offsets:
                raise AbreastError(f"{worker.name} fell silent.", "Start the workers again.")
            if not worker.told["is_direct"]:
                worker.begun = counter(self.folder.begun_by(worker.share.rank))
        self._note_workers()

    def _ping(self) -> None:
        for _ in range(_PINGS):
            for node in self._workers:
                self._runner.send_message("abreast_ping", clocks.question(), node)
            gevent.sleep(0.02)

    def _orders(self, share: Share) -> dict[str, Any]:
        prepared = self.prepared
        trace_s = prepared.trace_s
        return {
            "abreast": fingerprint.versions()["abreast"],
            "run_id": self.folder.run_id,
            "folder": str(self.folder.path),
            "plan": prepared.plan.model_dump(mode="json", exclude_none=True),
            "payloads": [(payload.body, dict(payload.fields)) for payload in prepared.payloads],
            "trace_s": None if trace_s is None else trace_s.tobytes(),
            "transport": prepared.transport_name,
            "rank": share.rank,
            "of": share.of,
            "together": share.together,
        }

    def _await_answers(self) -> None:
        while any(worker.answer is None for worker in self._workers.values()):
            gevent.sleep(0.02)

    def _await_pongs(self) -> None:
        while any(not worker.offsets for worker in self._workers.values()):
            gevent.sleep(0.02)

    @property
    def nodes(self) -> list[Any]:
        """The workers as Locust knows them, to whom it may give users."""
        return [self._runner.clients[node] for node in self._workers]

    @property
    def conditions(self) -> dict[str, str]:
        """What of the workers must be alike in runs that are compared."""
        cpus = sorted({worker.told["cpu"] for worker in self._workers.values()})
        return {"workers": str(len(self._workers)), "client CPU": ", ".join(cpus)}

    def start(self, zero_ns: int | None = None) -> None:
        """Tell every worker when time zero is, by its own clock."""
        now_ns = time.perf_counter_ns()
        super().start(zero_ns or now_ns + round(START_LEAD_S * 1e9))
        for node, worker in self._workers.items():
            worker.slots = sum(self._runner.clients[node].user_classes_count.values())
            worker.state, worker.heard_s = "sending", time.monotonic()
            ahead_ns = clocks.best(worker.offsets).ahead_ns
            self._runner.send_message("abreast_start", {"zero_ns": self.start_ns + ahead_ns}, node)
        self._note_workers()

    def stop(self, ended_as: str, reason: str | None) -> None:
        """Let every worker take no more; those in flight finish."""
        if not self.stopped.is_set():
            super().stop(ended_as, reason)
            for node in self._workers:
                self._send_stop(node)

    def _send_stop(self, node: str) -> None:
        told = {"ended_as": self.ended_as, "reason": self.reason}
        self._runner.send_message("abreast_stop", told, node)

    def hear(self, kind: str, node: str, data: Mapping[str, Any]) -> None:
        """Take in what a worker sent; what is of another run, or of no worker of this, is nothing.

        It runs where Locust receives messages, and so waits for nothing.
        """
        worker = self._workers.get(node)
        if worker is None or data.get("run_id", self.folder.run_id) != self.folder.run_id:
            return
        worker.heard_s = time.monotonic()
        if kind == "abreast_pong":
            found = worker.offsets_after if self.start_ns else worker.offsets
            found.append(clocks.offset(data, time.perf_counter_ns()))
        elif kind == "abreast_ready":
            worker.answer = data
        elif kind == "abreast_part":
            self._append(worker, data)
        else:
            self._note(worker, data)

    def _append(self, worker: _Worker, part: Mapping[str, Any]) -> None:
        if worker.state == "lost":
            return
        try:
            sizes = self._copies.add(worker.share.rank, part)
        except (OSError, ValueError) as error:
            # Never confirmed, it would send the part for ever: it keeps its records.
            worker.state = "lost"
            reason = f"The records of {worker.name} cannot be written: {error}."
            self._say(reason)
            self.folder.reserve.unlink(missing_ok=True)
            self.stop("aborted", reason)
            return
        worker.begun[0] = max(worker.begun[0], part["begun"])
        self._runner.send_message("abreast_ack", {"sizes": sizes}, worker.id)

    def _note(self, worker: _Worker, report: Mapping[str, Any]) -> None:
        worker.report, worker.slots = report, report["slots"]
        worker.begun[0] = max(worker.begun[0], report["begun"])
        self._seconds.extend(report["seconds"])
        self._runner.send_message("abreast_ack", {"sizes": {}}, worker.id)
        if worker.state == "silent":
            worker.state = "sending"
            self._say(f"{worker.name} is heard again.")
        ended_as, reason = report["ended_as"], f"{worker.name}: {report['reason']}"
        if report["is_done"] and not worker.is_done:
            cut_short = ended_as == "interrupted" and not self.stopped.is_set()
            worker.state = "interrupted" if cut_short else "done"
            if cut_short:
                self._say(f"{reason} The run goes on with the others.")
            elif ended_as == "stopped" and not self.stopped.is_set():
                self.ended_as, self.reason = ended_as, report["reason"]
        if ended_as in ("fault", "aborted"):
            self.stop(ended_as, reason)
        elif self.stopped.is_set() and not report["is_stopped"]:
            self._send_stop(worker.id)  # the first did not reach it

    def tick(self, tell: Callable[[dict[str, object]], None]) -> None:
        """Put together what the workers told in the last second, and tell how the run goes."""
        now_s, workers = time.monotonic(), self._workers.values()
        for client in self._runner.clients.all:
            # Who is there is judged here. Locust would stop the run, or move users, on its own.
            client.heartbeat = HEARTBEAT_LIVENESS
        for worker in workers:
            if worker.state == "sending" and now_s - worker.heard_s > SILENT_S:
                worker.state, worker.was_silent = "silent", True
                self._say(f"{worker.name} is silent. The run goes on with the others.")
        seconds, self._seconds = self._seconds, []
        elapsed_s = self.elapsed_s
        self.health.live.add(as_one(max(elapsed_s, 0.0), seconds))
        reports = [worker.report for worker in workers if worker.report]
        self.health.ended, self.health.failed, self.in_flight = (
            sum(report[key] for report in reports) for key in ("ended", "failed", "in_flight")
        )
        self.begun = sum(worker.begun[0] for worker in workers)
        if self.guard is not None and reports:
            self.guard.set_counts([report["missed"] for report in reports])
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

    def close(self) -> None:
        """Close the copies of the workers' streams, and note what became of each worker.

        Raises:
            OSError: the disk refuses.
        """
        self.health.close()
        self.pacer.close()
        try:
            self._copies.close()
        finally:
            self._note_workers()

    def _note_workers(self) -> None:
        run_folder.update_manifest(
            self.folder, workers=[self._facts(worker) for worker in self._workers.values()]
        )

    def _facts(self, worker: _Worker) -> dict[str, Any]:
        found, after = clocks.best(worker.offsets), worker.offsets_after
        drift_ns = clocks.best(after).ahead_ns - found.ahead_ns if after else None
        whole = super().planned
        return {
            "rank": worker.share.rank,
            "host": worker.told["host"],
            "pid": worker.told["pid"],
            "offset_ms": found.wall_ns / 1e6,
            "rtt_ms": found.round_trip_ns / 1e6,
            "drift_ms": None if drift_ns is None else drift_ns / 1e6,
            "slots": worker.slots,
            "planned": None if whole is None else worker.share.below(whole),
            "begun": worker.begun[0],
            "ended": worker.report.get("ended", 0),
            "state": worker.state,
            "was_silent": worker.was_silent,
            "spool": worker.told["spool"],
        }
