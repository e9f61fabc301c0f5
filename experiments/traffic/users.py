"""EndpointUser: a Locust user that is one slot of concurrency.

The schedule, not the user, decides when a request leaves: a free slot takes the next request,
waits until it is due, sends it, and records it. When no slot is free, requests start late (and
their response time says so) or are dropped, as the plan wants it.
"""

import hashlib
import time
from typing import ClassVar

import gevent
from locust import User, constant, task
from locust.exception import StopUser

from experiments.record import Record
from experiments.sagemaker.invoke import Reply
from experiments.traffic.dispatch import WORKER, Arrival, Dispatch

_LONGEST_ERROR = 2000


class EndpointUser(User):
    """One slot: at most one request in flight."""

    abstract = True
    wait_time = constant(0)
    dispatch: ClassVar[Dispatch]
    """The run under way, set before the users start."""

    def on_start(self) -> None:
        """Number this slot."""
        self.slot = self.dispatch.new_slot()

    @task
    def take_requests(self) -> None:
        """Serve the schedule until it is exhausted or the run is stopped."""
        dispatch = self.dispatch
        dispatch.started.wait()
        ended_ns = None
        try:
            while (arrival := dispatch.take(self.slot, ended_ns)) is not None:
                ended_ns = self._serve(dispatch, arrival)
        except Exception as error:
            dispatch.stop("fault", f"{type(error).__name__}: {error}")
            raise
        raise StopUser

    def _serve(self, dispatch: Dispatch, arrival: Arrival) -> int | None:
        """Send one request when it is due, and say when it ended; `None`: it was not sent."""
        traffic = dispatch.prepared.plan.traffic
        due_ns = dispatch.start_ns + arrival.scheduled_ns
        had_free_slot = traffic.is_closed or time.perf_counter_ns() <= due_ns
        if not had_free_slot and traffic.overflow == "drop":
            dispatch.begun += 1
            dispatch.keep(self._dropped(dispatch, arrival))
            return None
        if dispatch.pacer.wait_until(due_ns):
            return None
        parameters = dispatch.parameters(arrival)
        slots_busy = dispatch.in_flight if had_free_slot else dispatch.slots
        dispatch.begun += 1
        dispatch.in_flight += 1
        started_ns = time.perf_counter_ns()
        dispatch.health.note_start(started_ns - due_ns, had_free_slot=had_free_slot)
        try:
            reply = dispatch.prepared.transport(parameters)
        except BaseException as error:
            # Locust ends a greenlet in mid-request with GreenletExit; what was sent is recorded.
            outcome = "aborted" if isinstance(error, gevent.GreenletExit) else "other"
            said = f"{type(error).__name__}: {error}"
            reply = Reply(outcome, None, None, time.perf_counter_ns(), error=said)
            raise
        finally:
            dispatch.in_flight -= 1
            dispatch.keep(self._record(dispatch, arrival, reply, started_ns, slots_busy))
        self._tell_locust(dispatch, arrival, reply, due_ns)
        return reply.ended_ns - dispatch.start_ns

    def _record(
        self, dispatch: Dispatch, arrival: Arrival, reply: Reply, started_ns: int, slots_busy: int
    ) -> Record:
        zero_ns = dispatch.start_ns
        body = reply.body
        return Record(
            seq=arrival.seq,
            group=arrival.group,
            phase=arrival.phase,
            arm=dispatch.arm_of(arrival, reply.variant),
            scheduled_ns=arrival.scheduled_ns,
            started_ns=started_ns - zero_ns,
            sent_ns=None if reply.sent_ns is None else reply.sent_ns - zero_ns,
            first_byte_ns=None if reply.first_byte_ns is None else reply.first_byte_ns - zero_ns,
            ended_ns=reply.ended_ns - zero_ns,
            variant_asked=dispatch.variant_asked(arrival),
            variant_invoked=reply.variant,
            payload=arrival.payload,
            outcome=reply.outcome,
            http_status=reply.http_status,
            original_status=reply.original_status,
            error=None if reply.error is None else reply.error[:_LONGEST_ERROR],
            request_id=reply.request_id,
            content_type=reply.content_type,
            bytes_out=len(dispatch.prepared.payloads[arrival.payload].body),
            bytes_in=None if body is None else len(body),
            response_digest=None if body is None else _digest(body),
            prediction=None
            if body is None
            else dispatch.prepared.select_prediction(body, reply.content_type),
            retries=reply.retries,
            new_connection=reply.new_connection,
            slots_busy=slots_busy,
            worker=WORKER,
            slot=self.slot,
        )

    def _dropped(self, dispatch: Dispatch, arrival: Arrival) -> Record:
        nothing = Reply("dropped", None, None, 0)
        record = self._record(dispatch, arrival, nothing, 0, dispatch.slots)
        return record._replace(started_ns=None, ended_ns=None, slot=None)

    def _tell_locust(self, dispatch: Dispatch, arrival: Arrival, reply: Reply, due_ns: int) -> None:
        """Feed Locust's own table, which is for watching and never evidence."""
        self.environment.events.request.fire(
            request_type="InvokeEndpoint",
            name=dispatch.arm_of(arrival, reply.variant) or "unknown arm",
            response_time=(reply.ended_ns - due_ns) / 1e6,
            response_length=0 if reply.body is None else len(reply.body),
            exception=None if reply.outcome == "ok" else f"{reply.outcome}: {reply.error}",
            context={},
        )


def _digest(body: bytes) -> str:
    return hashlib.blake2b(body, digest_size=8).hexdigest()
