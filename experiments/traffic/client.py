"""The way of one user to the endpoint: every request is sent, recorded, and told to Locust here.

Users who serve the schedule say when a request leaves and what it carries. A task of the
locustfile's own calls `invoke_endpoint`, or its streaming sister, when it likes, and has boto3's
answer.
"""

import hashlib
import time
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from gevent import GreenletExit

from experiments.invocation import INVOKE, STREAM
from experiments.record import NEW_SESSION, Record
from experiments.sagemaker.reply import Reply
from experiments.traffic.dispatch import Arrival, Dispatch

_LONGEST_ERROR = 2000


class EndpointClient:
    """One slot of concurrency: what `self.client` is in a locustfile.

    `tell_locust` takes the arguments of Locust's `request` event; `None`: nobody listens to it.
    """

    def __init__(self, dispatch: Dispatch, tell_locust: Callable[..., None] | None) -> None:
        self.dispatch = dispatch
        self.slot = next(dispatch.slot_numbers)
        self._tell_locust = tell_locust

    def invoke_endpoint(self, **parameters: Any) -> dict[str, Any]:
        """Call InvokeEndpoint as boto3 does, with its keywords; the call is one of the run's.

        The Body of the answer has been read when this returns, since reading it is timed, and can
        be read again. When the run is over, the calling user ends, as Locust ends one who waits:
        not by an `Exception`, which a task that looks for failures would take for one.

        Raises:
            Exception: what boto3 raises, once it is recorded.
        """
        return self._call(INVOKE, parameters)

    def invoke_endpoint_with_response_stream(self, **parameters: Any) -> dict[str, Any]:
        """Call InvokeEndpointWithResponseStream as boto3 does; else as `invoke_endpoint`.

        The Body of the answer gives the events that came, whose parts are timed by then, and ends
        as the stream did.
        """
        return self._call(STREAM, parameters)

    def _call(self, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        if (body := _as_bytes(parameters.get("Body"))) is not None:
            parameters["Body"] = body
        arrival = self.dispatch.admit(body or b"")
        if arrival is None:
            raise GreenletExit
        # A user who calls several times at once has no slot for each, yet none of them waits.
        slots_busy = min(self.dispatch.in_flight, self.dispatch.slots - 1)
        started_ns = self.dispatch.start_ns + arrival.scheduled_ns
        return self.send(arrival, operation, parameters, started_ns, slots_busy).as_boto3()

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(
            f"The client of a locustfile has no {name}: it records invoke_endpoint and "
            "invoke_endpoint_with_response_stream, and does nothing else. Make a client of boto3 "
            "for other calls, which are not recorded."
        )

    def send(
        self,
        arrival: Arrival,
        operation: str,
        parameters: Mapping[str, Any],
        started_ns: int,
        slots_busy: int,
    ) -> Reply:
        """Send a request now, and record it whatever comes of it.

        `started_ns` is now on `time.perf_counter_ns()`; `slots_busy` equals the slots where none
        was free when the request was due.
        """
        dispatch = self.dispatch
        due_ns = dispatch.start_ns + arrival.scheduled_ns
        dispatch.begun += 1
        dispatch.in_flight += 1
        dispatch.health.note_start(started_ns - due_ns, had_free_slot=slots_busy < dispatch.slots)
        try:
            reply = dispatch.prepared.transport(parameters, operation)
        except BaseException as error:
            # Locust ends a greenlet in mid-request with GreenletExit; what was sent is recorded.
            outcome = "aborted" if isinstance(error, GreenletExit) else "other"
            said = f"{type(error).__name__}: {error}"
            reply = Reply(outcome, None, None, time.perf_counter_ns(), error=said)
            raise
        finally:
            dispatch.in_flight -= 1
            zero_ns, slot = dispatch.start_ns, self.slot
            record = record_of(
                dispatch, zero_ns, slot, arrival, parameters, reply, started_ns, slots_busy
            )
            dispatch.keep(record)
        if reply.connect_ns is not None:
            dispatch.health.note_connection(reply.connect_ns)
        if self._tell_locust is not None:
            self._tell_locust(**_for_locust(record, reply, due_ns))
        return reply

    def drop(self, arrival: Arrival) -> None:
        """Record a request that is not sent, since no slot was free when it was due."""
        dispatch = self.dispatch
        dispatch.begun += 1
        parameters = dispatch.parameters(arrival)
        nothing = Reply("dropped", None, None, 0)
        zero_ns, slots = dispatch.start_ns, dispatch.slots
        record = record_of(dispatch, zero_ns, None, arrival, parameters, nothing, 0, slots)
        dispatch.keep(record._replace(started_ns=None, ended_ns=None))


def record_of(
    dispatch: Dispatch,
    zero_ns: int,
    slot: int | None,
    arrival: Arrival,
    parameters: Mapping[str, Any],
    reply: Reply,
    started_ns: int,
    slots_busy: int,
) -> Record:
    """Make the record of a call, with times from `zero_ns`; all but that is as `send` has it."""
    sent, body = parameters.get("Body"), reply.body
    # By place, in the order of the fields: their names would cost 2 µs a request.
    record = Record(
        arrival.seq,
        arrival.group,
        arrival.phase,
        arrival.arm or dispatch.arm_of(parameters, reply.variant),
        arrival.scheduled_ns,
        started_ns - zero_ns,
        None if reply.sent_ns is None else reply.sent_ns - zero_ns,
        None if reply.first_byte_ns is None else reply.first_byte_ns - zero_ns,
        reply.ended_ns - zero_ns,
        parameters.get("TargetVariant"),
        reply.variant,
        arrival.payload,
        reply.outcome,
        reply.http_status,
        reply.original_status,
        None if reply.error is None else reply.error[:_LONGEST_ERROR],
        reply.request_id,
        reply.content_type,
        len(sent) if isinstance(sent, bytes) else 0,
        None if body is None else len(body),
        None if body is None else _digest(body),
        None if body is None else dispatch.prepared.select_prediction(body, reply.content_type),
        reply.retries,
        reply.new_connection,
        slots_busy,
        dispatch.share.rank,
        slot,
        parameters.get("SessionId", NEW_SESSION) != NEW_SESSION,
    )
    if reply.parts is None:
        return record
    return record._replace(
        bytes_in=sum(map(len, reply.parts)),
        chunks=len(reply.parts),
        longest_gap_ns=reply.longest_gap_ns,
    )


def _for_locust(record: Record, reply: Reply, due_ns: int) -> dict[str, Any]:
    """Give what feeds Locust's own table, which is for watching and never evidence."""
    return {
        "request_type": "InvokeEndpoint",
        "name": record.arm or "unknown arm",
        "response_time": (reply.ended_ns - due_ns) / 1e6,
        "response_length": record.bytes_in or 0,
        "exception": None if reply.outcome == "ok" else f"{reply.outcome}: {reply.error}",
        "context": {},
    }


def _as_bytes(body: Any) -> bytes | None:
    """Give the bytes of what boto3 takes for a Body; `None`: it is none, and boto3 will say so."""
    if hasattr(body, "read"):
        body = body.read()
    if isinstance(body, str):
        return body.encode()
    return bytes(body) if isinstance(body, bytes | bytearray) else None


def _digest(body: bytes) -> str:
    return hashlib.blake2b(body, digest_size=8).hexdigest()
