"""One request's record: its columns, their units, and the version of the layout.

Times are nanoseconds from the run's start on the monotonic clock of the process that sent the
request. Response time is ended - scheduled (what a user feels); service time is ended - started.
"""

from typing import Any, NamedTuple, get_args, get_type_hints

import pyarrow as pa

SCHEMA_VERSION = 1

OUTCOMES = (
    "ok",
    "throttled",
    "model_error",
    "model_timeout",
    "model_not_ready",
    "validation",
    "unavailable",
    "internal",
    "dependency",
    "stream_error",
    "auth",
    "timeout",
    "connection",
    "aborted",
    "dropped",
    "other",
)
"""How a request can end; a closed set. `dropped`: never sent, since no slot was free."""

NO_DESCRIPTOR = "Too many open files"
"""In the error of a request for which this process (EMFILE) or machine (ENFILE) had no socket."""
NEW_SESSION = "NEW_SESSION"
"""The SessionId that opens one."""
COLD = "cold"
"""The first request to each target, before the clock starts; in a file of their own, timed from
the first of them."""
WARMUP = "warmup"
MEASURE = "measure"


class Record(NamedTuple):
    """Everything that is kept of one request. `None` is "not known", never zero."""

    seq: int
    """Index in the schedule, from 0."""
    group: int | None
    """Ties the requests of one pair."""
    phase: str
    arm: str | None
    """`None` where the endpoint routes and no answer named the variant."""
    scheduled_ns: int
    started_ns: int | None
    sent_ns: int | None
    """After signing, just before the first byte leaves."""
    first_byte_ns: int | None
    """The response headers were parsed; of a stream, its first part was."""
    ended_ns: int | None
    """The body was read to its end, or the failure was known."""
    variant_asked: str | None
    variant_invoked: str | None
    payload: int
    """Id of the payload: its index in the payload set."""
    outcome: str
    http_status: int | None
    original_status: int | None
    """The container's own status behind a ModelError; 0 is a model that did not answer."""
    error: str | None
    request_id: str | None
    content_type: str | None
    bytes_out: int
    bytes_in: int | None
    response_digest: str | None
    prediction: str | None
    """What the plan's `answers.prediction` selects from the answer."""
    retries: int | None
    new_connection: bool | None
    slots_busy: int
    """Requests in flight when this one was due; equal to the slots when none was free."""
    worker: int
    slot: int | None
    in_session: bool = False
    """Whether the call went into a session that was open, and so to where that is."""
    chunks: int | None = None
    """The parts that came of a stream; `None`: the answer was not streamed."""
    longest_gap_ns: int | None = None
    """The longest that one part of a stream came after the one before."""


_NARROW = {
    **dict.fromkeys(("http_status", "original_status", "retries", "worker"), pa.int16()),
    **dict.fromkeys(("payload", "slots_busy", "slot", "chunks"), pa.int32()),
}
_TYPES = {int: pa.int64(), str: pa.string(), bool: pa.bool_()}


def _type_of(name: str, annotated: Any) -> pa.DataType:
    kind, *_ = get_args(annotated) or [annotated]  # without its "| None"
    return _NARROW.get(name, _TYPES[kind])


SCHEMA = pa.schema(
    [(name, _type_of(name, annotated)) for name, annotated in get_type_hints(Record).items()],
    metadata={"abreast_schema_version": str(SCHEMA_VERSION)},
)

HEALTH_SCHEMA = pa.schema(
    [
        ("second", pa.int32()),
        ("due", pa.int32()),
        ("started", pa.int32()),
        ("ended", pa.int32()),
        ("failed", pa.int32()),
        ("in_flight", pa.int32()),
        ("without_free_slot", pa.int32()),
        ("lateness_p99_ms", pa.float64()),
        ("lateness_max_ms", pa.float64()),
        ("loop_lag_p99_ms", pa.float64()),
        ("loop_lag_max_ms", pa.float64()),
        ("cpu", pa.float64()),
        ("gc_pause_ms", pa.float64()),
        ("new_connections", pa.int32()),
        ("connect_max_ms", pa.float64()),
        ("recorder_ms", pa.float64()),
        ("worker", pa.int16()),
    ],
    metadata={"abreast_schema_version": str(SCHEMA_VERSION)},
)
"""The generator's own health, a row a second. `lateness` counts requests that had a free slot.

`gc_pause_ms` and `recorder_ms` are the longest that garbage collection and writing records held
the event loop; `new_connections` counts requests that ended and had opened their connection, and
`connect_max_ms` is the longest that one of them took to open it.
"""
