"""One run as its users see it: what is due next, where records go, and when to stop."""

import gc
import math
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from gevent.event import Event

from experiments.assignment import assign
from experiments.invocation import operation_of, request_of_arm
from experiments.record import HEALTH_SCHEMA, SCHEMA, Record
from experiments.run_folder import RunFolder
from experiments.schedule import due_times_ns
from experiments.share import Share
from experiments.traffic.arms import arm_teller
from experiments.traffic.guard import Guard
from experiments.traffic.health import Health
from experiments.traffic.limits import limit_broken
from experiments.traffic.pacing import Pacer
from experiments.traffic.prepare import Prepared
from experiments.traffic.recorder import Recorder, counter

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEAD_S = 0.25
"""From the start signal to time zero, so that no slot is late for the first request."""

WHOLE = Share()
UNKNOWN_PAYLOAD = -1
"""The payload of a request whose body is none of the plan's."""

_ASSIGNED_AHEAD = 4_096
"""Requests that get arm, payload and group at once: few, since the event loop stands meanwhile."""


class Arrival(NamedTuple):
    """A request, of the schedule or of a task of the locustfile's own."""

    seq: int
    scheduled_ns: int
    phase: str
    arm: str | None
    """`None`: told by the request's parameters and by who answers."""
    payload: int
    group: int | None


class Dispatch:
    """Hands out the schedule in order, counts, and keeps the records."""

    def __init__(
        self, prepared: Prepared, folder: RunFolder, slots: int, share: Share = WHOLE
    ) -> None:
        self.prepared = prepared
        self.share = share
        self.operation = operation_of(prepared.plan)
        self.folder = folder
        self.slots = slots
        traffic, limits = prepared.plan.traffic, prepared.plan.limits
        self._most_requests = limits.max_requests - prepared.sent_before if limits else None
        self._due_ns: NDArray[np.int64] | None = None
        self._is_cut = False
        if not traffic.is_closed:
            due_ns = due_times_ns(traffic, prepared.plan.seed, prepared.trace_s)
            self._due_ns = due_ns[: self._most_requests]
            self._is_cut = len(self._due_ns) < len(due_ns)
        self._think_ns = round((traffic.think_time or 0.0) * 1e9)
        self._length_ns = round(traffic.planned_s * 1e9)
        self._assigned_to = range(0)
        self._assigned_since = 0
        self._assigned: Sequence[tuple[int, int, int]] = ()
        self._arms = list(prepared.plan.arms)
        self._request = {
            arm: request_of_arm(prepared.plan, arm, folder.run_id) for arm in (None, *self._arms)
        }
        self.arm_of = arm_teller(prepared.plan)
        bodies = [payload.body for payload in prepared.payloads]
        self._payload_of = {body: i for i, body in reversed(list(enumerate(bodies)))}
        phases = traffic.phases
        self._phase_names = [phase.name for phase in phases]
        self._phase_ends_ns = [round(phase.end_s * 1e9) for phase in phases[:-1]]
        slo = prepared.plan.slo
        watches = slo is not None and slo.abort_on_fail
        self.guard = Guard(prepared.plan, self._planned_by_phase()) if watches else None
        self._open_streams()
        # What was made so far stays: collections need not walk it while requests are under way.
        # Before the health is watched, which would count this collection as a pause of the run.
        gc.collect()
        gc.freeze()
        self.health = Health()
        self.started = Event()
        self.stopped = Event()
        self.pacer = Pacer(self.stopped)
        self.ended_as = "complete"
        self.reason: str | None = None
        self.slo_lost: list[str | float | None] | None = None
        """Arm, phase, metric and window of the limit that the run was stopped for."""
        self.start_ns = 0
        self.in_flight = 0
        self._next = 0
        self._due_before = 0
        self.slot_numbers = count()

    def _open_streams(self) -> None:
        folder, rank = self.folder, self.share.rank
        metadata = {"run_id": folder.run_id, "worker": str(rank)}
        self.records = Recorder(folder.raw / f"requests-{rank}.arrows", SCHEMA, metadata)
        self.health_rows = Recorder(folder.raw / f"health-{rank}.arrows", HEALTH_SCHEMA, metadata)
        self._begun = counter(folder.begun_by(rank))

    @property
    def planned(self) -> int | None:
        """Requests of the schedule that are to be sent; `None` in a closed model, without one."""
        return None if self._due_ns is None else self.share.below(len(self._due_ns))

    @property
    def conditions(self) -> dict[str, str]:
        """What, beside the plan and the endpoint, must be alike in runs that are compared."""
        return {}

    @property
    def begun(self) -> int:
        """Requests that have left the schedule, sent or dropped; a killed process leaves it too."""
        return self._begun[0]

    @begun.setter
    def begun(self, begun: int) -> None:
        self._begun[0] = begun

    @property
    def has_sent_all(self) -> bool:
        """Whether the schedule is served, or the time of a closed model is over."""
        if self._due_ns is None:
            return self.start_ns > 0 and self.remaining_s == 0
        return self.begun == self.planned

    def start(self, zero_ns: int | None = None) -> None:
        """Set time zero, on `time.perf_counter_ns()`, and let the slots go."""
        self.start_ns = zero_ns or time.perf_counter_ns() + round(LEAD_S * 1e9)
        self.started.set()

    def stop(self, ended_as: str, reason: str | None) -> None:
        """Take no more requests; those in flight finish. The first reason given stays."""
        if not self.stopped.is_set():
            self.ended_as, self.reason = ended_as, reason
            self.stopped.set()
            self.started.set()

    def take(self, slot: int, ended_ns: int | None) -> Arrival | None:
        """Give the next request to a slot; `None` when there is no more to do.

        `ended_ns` is when the slot's last request ended, from which a closed model's user thinks.
        """
        if self.stopped.is_set():
            return None
        seq = self.share.index(self._next)
        if self._due_ns is None:
            scheduled_ns = self._due_after_thinking_ns(slot, ended_ns)
            is_over = scheduled_ns >= self._length_ns
            is_cut = not is_over and seq >= (self._most_requests or math.inf)
        else:
            is_over = seq >= len(self._due_ns)
            is_cut = is_over and self._is_cut
            scheduled_ns = 0 if is_over else int(self._due_ns[seq])
        if is_cut:
            # Not stopped: those who took theirs already still send it.
            said = self._all_that_may_be()
            self.ended_as, self.reason = "stopped", said
        if is_over or is_cut:
            return None
        self._next += 1
        if seq >= self._assigned_to.stop:
            self._assign_from(seq)
        arm, payload, group = self._assigned[self._next - self._assigned_since]
        return Arrival(
            seq,
            scheduled_ns,
            self._phase_at(scheduled_ns),
            None if arm < 0 else self._arms[arm],
            payload,
            None if group < 0 else group,
        )

    def _assign_from(self, seq: int) -> None:
        self._assigned_to = range(seq, seq + _ASSIGNED_AHEAD)
        self._assigned_since = self._next
        found = assign(self.prepared.plan, self._assigned_to, len(self.prepared.payloads))
        own = self.share.holds(np.arange(seq, seq + _ASSIGNED_AHEAD))
        columns = (found.arm, found.payload, found.group)
        self._assigned = list(zip(*(column[own].tolist() for column in columns), strict=True))

    def admit(self, body: bytes) -> Arrival | None:
        """Take in a request that a task of the locustfile's own makes now; `None`: the run is over.

        Who comes before time zero waits for it.
        """
        self.started.wait()
        if self.pacer.wait_until(self.start_ns):
            return None
        now_ns = time.perf_counter_ns() - self.start_ns
        if now_ns >= self._length_ns:
            return None
        seq = self.share.index(self._next)
        if seq >= (self._most_requests or math.inf):
            self.stop("stopped", self._all_that_may_be())
            return None
        self._next += 1
        payload = self._payload_of.get(body, UNKNOWN_PAYLOAD)
        return Arrival(seq, now_ns, self._phase_at(now_ns), None, payload, None)

    def _all_that_may_be(self) -> str:
        limits = self.prepared.plan.limits
        assert limits is not None
        return f"limits.max_requests = {limits.max_requests:,} were sent, the first ones included."

    def _planned_by_phase(self) -> dict[str, int] | None:
        if self._due_ns is None:
            return None
        ends = np.searchsorted(self._due_ns, [*self._phase_ends_ns, np.iinfo(np.int64).max])
        return dict(zip(self._phase_names, np.diff(ends, prepend=0).tolist(), strict=True))

    def _phase_at(self, at_ns: int) -> str:
        return self._phase_names[bisect_right(self._phase_ends_ns, at_ns)]

    def _due_after_thinking_ns(self, slot: int, ended_ns: int | None) -> int:
        if ended_ns is None:
            # Users who began together would stay in step.
            share = self.share
            return self._think_ns * (slot * share.of + share.rank) // (self.slots * share.of)
        return max(ended_ns + self._think_ns, time.perf_counter_ns() - self.start_ns)

    def parameters(self, arrival: Arrival) -> dict[str, object]:
        """Give boto3's keyword arguments for one request."""
        payload = self.prepared.payloads[arrival.payload]
        return self._request[arrival.arm](payload, arrival.seq)

    def keep(self, record: Record) -> None:
        """Record a request that has ended or was dropped."""
        self.records.append(record)
        self.health.note_end(record)
        if self.guard is not None:
            self.guard.note(record)

    def stop_where_it_must(self) -> None:
        """Stop where the plan's limits or its SLO say so; to be called once a second."""
        lost = self.guard.lost(self.elapsed_s) if self.guard is not None else None
        if self.stopped.is_set() or self.has_sent_all:
            return  # or it can no longer be stopped
        if lost is not None:
            limit, reason = lost
            self.slo_lost = [limit.arm, limit.phase, limit.metric, limit.window_s]
            self.stop("stopped", reason)
        plan, health = self.prepared.plan, self.health
        if broken := limit_broken(plan, self.elapsed_s, health.ended, health.failed):
            self.stop(*broken)

    @property
    def remaining_s(self) -> float:
        """Seconds until the planned end, once time zero is set."""
        return max(self._length_ns / 1e9 - self.elapsed_s, 0.0)

    @property
    def elapsed_s(self) -> float:
        """Seconds since time zero; 0 before it is set."""
        return 0.0 if self.start_ns == 0 else (time.perf_counter_ns() - self.start_ns) / 1e9

    @property
    def stage(self) -> str:
        """Where the run is: before time zero, in a phase of the plan, or awaiting the last answers.

        "starting", the phase's name, or "draining".
        """
        if self.stopped.is_set() or self.has_sent_all:
            return "draining"
        elapsed_s = self.elapsed_s
        return self._phase_at(round(elapsed_s * 1e9)) if elapsed_s > 0 else "starting"

    @property
    def recent(self) -> dict[str, Any]:
        """What the last seconds were like; no rate is due in a closed model."""
        recent = self.health.live.recent
        return recent if self._due_ns is not None else {**recent, "due_rps": None}

    def tick(self, tell: Callable[[dict[str, object]], None]) -> None:
        """Write what came in the last second, and tell how the run goes."""
        elapsed_s = self.elapsed_s
        with self._recording():
            due, before = self._due_by(elapsed_s), self._due_before
            self._due_before = due
            stall_ms = self.records.take_longest_ns() / 1e6
            row = self.health.row(
                elapsed_s, due - before, self.in_flight, self.share.rank, recorder_ms=stall_ms
            )
            self.health_rows.append(row)
            self.records.flush()
            self.health_rows.flush()
        self._tell_progress(tell, elapsed_s)

    @contextmanager
    def _recording(self, failed: str = "The records cannot be written") -> Iterator[None]:
        """Stop the run where what it is for has `failed`: there is nothing to send for."""
        try:
            yield
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            self.stop("aborted", f"{failed}: {where}{error.strerror or error}.")
        except Exception as error:  # noqa: BLE001 - whatever it is, the run must not go on
            self.stop("fault", f"{failed}: {error}.")

    def _tell_progress(self, tell: Callable[[dict[str, object]], None], elapsed_s: float) -> None:
        tell(
            {
                "kind": "progress",
                "stage": self.stage,
                "elapsed_s": max(elapsed_s, 0.0),
                "length_s": self.prepared.plan.traffic.planned_s,
                "begun": self.begun,
                "ended": self.health.ended,
                "failed": self.health.failed,
                "in_flight": self.in_flight,
                **self.recent,
            }
        )

    def _due_by(self, elapsed_s: float) -> int:
        if self._due_ns is None:
            return self.begun
        # A whole number: for a float, numpy would cast the whole schedule first.
        return self.share.below(int(np.searchsorted(self._due_ns, round(elapsed_s * 1e9))))

    def close(self) -> None:
        """End the streams, and note where the last records cannot be written."""
        self.health.close()
        self.pacer.close()
        gc.unfreeze()
        with self._recording():
            self._close_streams()

    def _close_streams(self) -> None:
        try:
            self.records.close()
        finally:
            self.health_rows.close()
