"""What the master of a run and its workers tell each other, and how it is read.

Locust carries it, as "abreast_" and the kind's name. Totals are told, not what was added to them,
so that a message that is lost costs nothing once the next has come. Whoever reaches the master's
port can send anything: what is not of its kind's shape is no message.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import Field, Strict, TypeAdapter, ValidationError

from experiments.live import Second
from experiments.sketch import Count

_Nanoseconds = Annotated[int, Field(ge=0, lt=2**63)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What every message says: the run that it is of."""

    run_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]+$")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders(Message):
    """The master's: the plan as run, what its requests need, and which of them are the worker's."""

    abreast: str
    folder: str
    plan: dict[str, Any]
    payloads: tuple[tuple[bytes, dict[str, Any]], ...]
    trace_s: bytes | None
    transport: str
    first_requests: Count
    """How many were sent before, which the plan's limits count too."""
    rank: Count
    of: Annotated[int, Field(ge=1, le=32_767)]  # as many as a record can tell apart
    together: Annotated[int, Field(ge=1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready(Message):
    """The worker's answer to its orders: who it is, or why it refuses."""

    host: str
    pid: Count
    refused: str | None = None
    cpu: str = ""
    spool: str | None = None
    """Where its records are until the master has them; `None`: they are in the run folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ping(Message):
    """The master's clocks: the one that requests are timed by, and the time of day."""

    asked_ns: _Nanoseconds
    asked_wall_ns: _Nanoseconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Pong(Ping):
    """The worker's clocks, sent back at once."""

    at_ns: _Nanoseconds
    at_wall_ns: _Nanoseconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Start(Message):
    """The master's: time zero by the worker's own clock."""

    zero_ns: Annotated[int, Field(gt=0, lt=2**63)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop(Message):
    """The master's: take no more requests."""

    ended_as: str
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Part(Message):
    """The worker's: what stands in one of its streams from a place on."""

    begun: Count
    name: str
    at: Count
    content: Annotated[bytes, Strict()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report(Message):
    """The worker's, each second: how far it is, and what is new."""

    begun: Count
    ended: Count
    failed: Count
    in_flight: Count
    slots: Count
    missed: tuple[tuple[Count, Count], ...]
    """Requests and misses of each limit of the SLO."""
    seconds: tuple[Second, ...]
    ended_as: str
    reason: str | None
    is_stopped: bool
    is_done: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Ack(Message):
    """The master's: how much of each stream it has; of no stream, that it heard a report."""

    sizes: dict[str, Count]


_ADAPTERS: Mapping[type[Message], TypeAdapter[Any]] = {
    kind: TypeAdapter(kind) for kind in (Orders, Ready, Ping, Pong, Start, Stop, Part, Report, Ack)
}
Kind = TypeVar("Kind", bound=Message)


def name_of(kind: type[Message]) -> str:
    """Name a kind as Locust is to know it."""
    return f"abreast_{kind.__name__.lower()}"


def told(message: Message) -> dict[str, Any]:
    """Give what Locust can carry of a message."""
    carried: dict[str, Any] = _ADAPTERS[type(message)].dump_python(message)
    return carried


def read(kind: type[Kind], data: object) -> Kind | None:
    """Read what Locust carried; `None`: it is no such message."""
    try:
        message: Kind = _ADAPTERS[kind].validate_python(data)
    except (ValidationError, RecursionError):
        return None
    return message
