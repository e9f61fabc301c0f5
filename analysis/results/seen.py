"""Seen beside the verdict: the run over time, who answered, and what CloudWatch counted."""

from dataclasses import dataclass

from analysis.results.values import Measure


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudWatchArm:
    """What CloudWatch counted of one arm's variant, beside the run's own records.

    `arm` names several arms where CloudWatch counts them together. Counts are over the whole
    minutes that the run filled, or touched where it filled none; `records` may have been seen by
    the service. Latencies are means: `client_ms` the mean service time of the records that have an
    answer, which the service's own `model_ms` and `overhead_ms` and `network_ms`, all the rest, add
    up to. `None`: not published, or for the network, not known for a reason in the notes.
    """

    arm: str
    invocations: int | None
    records: int
    errors_4xx: int | None
    errors_5xx: int | None
    model_ms: float | None
    overhead_ms: float | None
    client_ms: float | None
    network_ms: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudWatch:
    """The run's records against the endpoint's own metrics.

    `complete_through` is the UTC end of the last minute that CloudWatch had published for every
    arm; `notes` say what was missing, and what the comparison cannot show.
    """

    arms: tuple[CloudWatchArm, ...]
    complete_through: str | None
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Heat:
    """How many good answers of an arm took how long, and when.

    `counts` holds, for each time step, a count for each bin of latency from low to high.
    """

    arm: str
    counts: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OverTime:
    """The run in steps of `step_s` from its start, warm-up included, by when requests were due.

    Bins of latency have equal widths on a log scale from `low_ms` to `high_ms`. `planned_rps` is
    the schedule's rate in the middle of a step, of a trace what was due in it, and `None` where
    nothing is planned; `achieved_rps` is what left. `errors` counts each outcome but the good ones.
    `phases` says when each began, in seconds.
    """

    step_s: float
    measure: Measure
    low_ms: float
    high_ms: float
    arms: tuple[Heat, ...]
    planned_rps: tuple[float | None, ...]
    achieved_rps: tuple[float, ...]
    errors: dict[str, tuple[int, ...]]
    phases: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Which variants answered the requests that asked for one, and how many none did."""

    asked: str
    answered: dict[str, int]
    unanswered: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Routed:
    """A variant's share of the answers in each stretch, and where routing by weight keeps it.

    `band` holds 99 % of what so many answers give by chance; `None` where there was none.
    """

    variant: str
    weight: float
    shares: tuple[float | None, ...]
    band: tuple[tuple[float, float] | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WhoAnswered:
    """Which variants answered what was measured: `asked` of pinned requests, `routed` of others.

    `routed` is by stretches of `step_s` from `start_s` on.
    """

    asked: tuple[Asked, ...]
    routed: tuple[Routed, ...]
    start_s: float
    step_s: float
