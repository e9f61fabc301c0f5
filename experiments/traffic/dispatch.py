"""One run as its slots see it: what is due next, where records go, and when to stop."""

import gc
import time
from bisect import bisect_right
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from gevent.event import Event

from experiments.assignment import assign
from experiments.invocation import parameters_of_arm, parameters_of_request
from experiments.record import HEALTH_SCHEMA, SCHEMA, Record
from experiments.run_folder import RunFolder
from experiments.schedule import due_times_ns
from experiments.traffic.health import Health
from experiments.traffic.pacing import Pacer
from experiments.traffic.prepare import Prepared
from experiments.traffic.recorder import Recorder

LEAD_S = 0.25
"""From the start signal to time zero, so that no slot is late for the first request."""

WORKER = 0
_SHOWN_S = 10.0


class Arrival(NamedTuple):
    """A request of the schedule."""

    seq: int
    scheduled_ns: int
    phase: str
    arm: str | None
    payload: int
    group: int | None


class Dispatch:
    """Hands out the schedule in order, counts, and keeps the records."""

    def __init__(self, prepared: Prepared, folder: RunFolder, slots: int) -> None:
        self.prepared = prepared
        self.folder = folder
        self.slots = slots
        self.due_ns = due_times_ns(prepared.plan.traffic, prepared.plan.seed, prepared.trace_s)
        limits = prepared.plan.limits
        if limits is not None:
            self.due_ns = self.due_ns[: limits.max_requests]
        self._assigned = assign(prepared.plan, range(len(self.due_ns)), len(prepared.payloads))
        self._arms = list(prepared.plan.arms)
        self._of_arm = {arm: parameters_of_arm(prepared.plan, arm) for arm in [None, *self._arms]}
        self._arm_by_variant = {prepared.plan.variant_of(arm): arm for arm in self._arms}
        phases = prepared.plan.traffic.phases
        self._phase_names = [phase.name for phase in phases]
        self._phase_ends_ns = [round(phase.end_s * 1e9) for phase in phases[:-1]]
        metadata = {"run_id": folder.run_id, "worker": str(WORKER)}
        self.records = Recorder(folder.raw / f"requests-{WORKER}.arrows", SCHEMA, metadata)
        self.health_rows = Recorder(folder.raw / f"health-{WORKER}.arrows", HEALTH_SCHEMA, metadata)
        self.health = Health()
        self.started = Event()
        self.stopped = Event()
        self.pacer = Pacer(self.stopped)
        self.ended_as = "complete"
        self.reason: str | None = None
        self.start_ns = 0
        self.in_flight = 0
        self.begun = 0
        self._next = 0
        self._due_before = 0
        self._slots_started = 0

    @property
    def planned(self) -> int:
        """Requests in the schedule."""
        return len(self.due_ns)

    def start(self) -> None:
        """Set time zero and let the slots go."""
        # What was made so far stays: collections need not walk it while requests are under way.
        gc.collect()
        gc.freeze()
        self.start_ns = time.perf_counter_ns() + round(LEAD_S * 1e9)
        self.started.set()

    def stop(self, ended_as: str, reason: str | None) -> None:
        """Take no more requests; those in flight finish. The first reason given stays."""
        if not self.stopped.is_set():
            self.ended_as, self.reason = ended_as, reason
            self.stopped.set()
            self.started.set()

    def new_slot(self) -> int:
        """Number the slots from 0."""
        self._slots_started += 1
        return self._slots_started - 1

    def take(self) -> Arrival | None:
        """Give the next request of the schedule; `None` when there is no more to do."""
        seq = self._next
        if seq >= len(self.due_ns) or self.stopped.is_set():
            return None
        self._next += 1
        scheduled_ns = int(self.due_ns[seq])
        arm, group = int(self._assigned.arm[seq]), int(self._assigned.group[seq])
        return Arrival(
            seq,
            scheduled_ns,
            self._phase_names[bisect_right(self._phase_ends_ns, scheduled_ns)],
            None if arm < 0 else self._arms[arm],
            int(self._assigned.payload[seq]),
            None if group < 0 else group,
        )

    def parameters(self, arrival: Arrival) -> dict[str, object]:
        """Give boto3's keyword arguments for one request."""
        body = self.prepared.payloads[arrival.payload].body
        return parameters_of_request(
            self.prepared.plan, self._of_arm[arrival.arm], body, self.folder.run_id, arrival.seq
        )

    def arm_of(self, arrival: Arrival, invoked: str | None) -> str | None:
        """Name the arm that a request belongs to: as assigned, or by the variant that answered."""
        return arrival.arm if arrival.arm is not None else self._arm_by_variant.get(invoked)

    def variant_asked(self, arrival: Arrival) -> str | None:
        """Name the variant that the request is pinned to."""
        return None if arrival.arm is None else self.prepared.plan.variant_of(arrival.arm)

    def keep(self, record: Record) -> None:
        """Record a request that has ended or was dropped."""
        self.records.append(record)
        self.health.note_end(record)

    @property
    def elapsed_s(self) -> float:
        """Seconds since time zero; 0 before it is set."""
        return 0.0 if self.start_ns == 0 else (time.perf_counter_ns() - self.start_ns) / 1e9

    def tick(self, tell: Callable[[dict[str, object]], None]) -> None:
        """Write what came in the last second, and tell how the run goes.

        Raises:
            OSError: the records cannot be written.
        """
        elapsed_s = self.elapsed_s
        due = int(np.searchsorted(self.due_ns, elapsed_s * 1e9))
        recorder_ms = self.records.take_longest_ns() / 1e6
        self.health_rows.append(
            self.health.row(
                int(elapsed_s),
                due - self._due_before,
                self.in_flight,
                WORKER,
                recorder_ms=recorder_ms,
            )
        )
        self._due_before = due
        self.records.flush()
        self.health_rows.flush()
        tell(
            {
                "kind": "progress",
                "elapsed_s": max(elapsed_s, 0.0),
                "length_s": self.prepared.plan.traffic.planned_s,
                "due_rps": self._recently_due_rps(due, elapsed_s),
                "begun": self.begun,
                "ended": self.health.ended,
                "failed": self.health.failed,
                "in_flight": self.in_flight,
                **self.health.recent(),
            }
        )

    def _recently_due_rps(self, due: int, elapsed_s: float) -> float:
        since_s = max(elapsed_s - _SHOWN_S, 0.0)
        before = int(np.searchsorted(self.due_ns, since_s * 1e9))
        return (due - before) / max(elapsed_s - since_s, 1.0)

    def close(self) -> None:
        """End the streams.

        Raises:
            OSError: the last records cannot be written.
        """
        self.health.close()
        self.pacer.close()
        gc.unfreeze()
        try:
            self.records.close()
        finally:
            self.health_rows.close()
