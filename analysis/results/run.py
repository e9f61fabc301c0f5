"""What was run: its counts, its arms, its failures, and the reasons to trust it or not."""

from dataclasses import dataclass, field
from typing import Literal

from analysis.results.values import Interval, Measure, SloCall


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """planned = ended + dropped + unsent + missing, over all phases."""

    planned: int
    ended: int
    dropped: int
    unsent: int
    missing: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo:
    """Which run this is and how it was made."""

    id: str
    plan: str
    endpoint: str
    target: str
    started_at: str
    measured_s: float
    warmup_s: float
    rate_rps: float | None
    achieved_rps: float | None
    routing: str
    arrivals: str
    transport: str
    seed: int
    payloads: int
    counts: Counts
    plan_toml: str
    ended_as: str = "complete"
    why_not_fast: str | None = None
    """Why boto3 stood in for the fast transport that the plan asked for."""
    versions: dict[str, str] = field(default_factory=dict)
    host: dict[str, str] = field(default_factory=dict)
    subject: dict[str, str] = field(default_factory=dict)
    conditions: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Check:
    """One reason to trust this run or not: ok, warn (SUSPECT) or fail (INVALID)."""

    name: str
    title: str
    state: Literal["ok", "warn", "fail"]
    finding: str
    next_step: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Percentile:
    """A measured latency quantile of one arm."""

    quantile: float
    response_ms: float | None
    """`None` in a closed loop, which has no schedule that a request could be behind."""
    service_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Streaming:
    """How an arm's good answers were streamed: their parts, and the longest wait within each.

    Gaps lie between two parts; `None` where no answer had two.
    """

    mean_chunks: float
    longest_gap_p50_ms: float | None
    longest_gap_p99_ms: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ColdStart:
    """The first request to each of an arm's targets, sent one at a time before the clock started.

    Latencies are those of the `targets` that answered, from when each request was sent, which
    through boto3 is before it connects; `None` where none answered.
    """

    targets: int
    failed: int
    median_ms: float | None
    slowest_ms: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmSummary:
    """What one arm did in the measured phase."""

    name: str
    share: float
    requests: int
    succeeded: int
    failed: int
    error_rate: float | None
    mean_response_ms: float | None
    mean_service_ms: float | None
    percentiles: tuple[Percentile, ...]
    usd_per_hour: float | None = None
    """What the arm's instances cost, where their price and number are known."""
    usd_per_million: float | None = None
    """What a million good answers cost at the rate at which the arm gave them in this run."""
    streaming: Streaming | None = None
    cold: ColdStart | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorKind:
    """Failures of one outcome in one arm, with one example."""

    arm: str | None
    outcome: str
    count: int
    first_s: float
    last_s: float
    example: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SloResult:
    """One limit of the SLO: what it asks of an arm, and what was found.

    At most the share `allowed` of `requests` may miss the limit; `missed` did. A request misses a
    latency limit unless a good answer came within `limit_ms`; it misses the error rate, whose
    `limit_ms` is `None`, by failing or being dropped. `value_ms` is the latency at the percentile,
    `None` where failures reach it. `interval` is that of the share missed; each of its ends is
    meant to hold at 95 %. With `window_s`, requests and misses are those of the worst stretch of
    that length, which begins `at_s` into the run.
    """

    arm: str
    phase: str | None
    metric: str
    measure: Measure
    limit_ms: float | None
    allowed: float
    window_s: float | None
    requests: int
    missed: int
    interval: Interval | None
    value_ms: float | None
    at_s: float | None
    call: SloCall
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunValues:
    """What one arm did in one of several runs that are judged together, a number a metric.

    `arm` is the name of its side. `values` are in milliseconds and, for the error rate, a share;
    `None` where the run does not give one. `subject` may differ between the sides.
    """

    run: str
    arm: str
    started_at: str
    requests: int
    failed: int
    values: dict[str, float | None]
    subject: dict[str, str]
