"""What an analysis found: frozen values, and at the same time the schema of report.json.

A missing number is `None` with a reason beside it, never a number that looks like an answer.
Times are in milliseconds, shares are fractions of 1.
"""

from dataclasses import dataclass, field
from typing import Literal

SCHEMA_VERSION = 1

Call = Literal["worse", "better", "same", "undecided", "refused"]
"""worse: slower, or more errors. refused: too few requests or too short a run for any statement."""

State = Literal["better", "worse", "same", "met", "broken", "undecided", "untrusted"]
"""What a verdict is: of a comparison, or of an SLO (met or broken)."""

SloCall = Literal["met", "broken", "undecided", "refused"]

RateCall = Literal["pass", "fail", "unresolved", "client", "invalid"]
"""Whether a rate keeps the SLO. client: the generator was in the way. invalid: not to be judged."""

CapacityEnd = Literal["smooth", "cliff", "no_pass", "no_fail", "undecided", "client", "invalid"]
"""How the SLO broke: by and by or all at once; at every rate, or at none; or not to be told."""

Measure = Literal["response", "service", "first_byte", "outcome"]
"""response: from the scheduled start. service: from the real start. first_byte: of a stream, to its
first part, from where the run's latency counts. outcome: failed or not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A confidence interval; a side that is `None` is unbounded."""

    low: float | None
    high: float | None
    level: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """An estimate with its intervals: 95 % to call a difference, 90 % to call it irrelevant."""

    value: float
    interval: Interval
    interval_90: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Smoothed:
    """The ratio at a percentile smoothed over a `band` of quantiles, from requests sent in pairs.

    It is narrower than the ratio at the percentile itself, which decides; `conflict` says how the
    two contradict each other, and is `None` where they do not. Of the pairs, `incomplete_pairs`
    are left out, since one of the two requests has no latency.
    """

    ratio: Estimate
    band: tuple[float, float]
    pairs: int
    incomplete_pairs: int
    conflict: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One metric of one arm against the baseline.

    `ratio` is arm/baseline and given for latency; `difference` is arm - baseline and given for
    error rates. A difference in milliseconds has no interval here: the ratio's does not hold how
    uncertain the baseline itself is. `margin` is relative for latency and absolute for error rates,
    and `None` where the metric is not guarded. Of the error rates "error_rate" counts every
    failure, and "error_rate.throttled" and the like those of one outcome.
    `tail_requests` counts the requests beyond the quantile in the smaller arm (for error rates:
    the failed requests of both arms); it decides whether the sample can carry a statement.
    """

    arm: str
    baseline: str
    metric: str
    measure: Measure
    unit: Literal["ms", "share"]
    baseline_value: float | None = None
    arm_value: float | None = None
    ratio: Estimate | None = None
    difference: Estimate | None = None
    margin: float | None
    tail_requests: int = 0
    precision: Literal["enough", "imprecise", "refused"] = "refused"
    call: Call = "refused"
    p_value: float | None = None
    p_value_holm: float | None = None
    autocorrelation: float | None = None
    reason: str | None = None
    smoothed: Smoothed | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShiftPoint:
    """The ratio arm/baseline at one percentile: one point of the shift function."""

    arm: str
    quantile: float
    baseline_ms: float
    arm_ms: float
    ratio: float
    interval: Interval | None


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
class ArmAnswers:
    """How often one arm's answer was right, one vote per payload."""

    arm: str
    right: int
    payloads: int
    share: float | None
    interval: Interval | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswersDifference:
    """Whether two arms answer the same payload alike, and which is right more often.

    `only_baseline_right` and `only_arm_right` count payloads; `p_value` is the exact McNemar
    test on them. `unstable` counts payloads that one arm answered in more than one way.
    """

    arm: str
    baseline: str
    payloads: int
    agree: int
    agreement: float | None
    agreement_interval: Interval | None
    unstable: int
    only_baseline_right: int | None
    only_arm_right: int | None
    p_value: float | None
    call: Call
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What the arms answered, compared on the same payloads."""

    arms: tuple[ArmAnswers, ...]
    differences: tuple[AnswersDifference, ...]


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One sentence, what else belongs to it, and one exit code."""

    state: State
    validity: Literal["VALID", "SUSPECT", "INVALID"]
    sentence: str
    context: tuple[str, ...]
    exit_code: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitAtRate:
    """One limit of the SLO at one rate, over all probes of it: who missed it, and the latency.

    The ends of `interval`, of the share missed, are each meant to hold at 95 %, as are those of
    `value_interval`, in milliseconds. A latency that failures reach is `None`.
    """

    metric: str
    limit_ms: float | None
    allowed: float
    requests: int
    missed: int
    interval: Interval
    value_ms: float | None
    value_interval: Interval | None
    call: SloCall


@dataclass(frozen=True, slots=True, kw_only=True)
class RateFound:
    """What all probes at one rate show together; `saturated` counts those whose queue grew."""

    rate_rps: float
    call: RateCall
    probes: int
    measured_s: float
    requests: int
    saturated: int
    limits: tuple[LimitAtRate, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeMade:
    """One probe: a run of its own. `left_out` says why it does not count, where it does not."""

    run: str
    rate_rps: float
    measured_s: float
    achieved_rps: float
    requests: int
    left_out: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PeakNeed:
    """What a peak rate takes: `with_zone_lost` instances still carry it when one zone is gone.

    Costs are those of `with_zone_lost` instances that carry this peak, in US dollars, and `None`
    where no price is known. `beyond_measured`: the peak is more than all that was measured carried
    together, or takes fewer instances than it was measured with: one instance is then taken to
    carry its share of what they carried.
    """

    peak_rps: float
    instances: int
    with_zone_lost: int
    usd_per_hour: float | None
    usd_per_million: float | None
    beyond_measured: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitNeed:
    """What another limit on the same latency percentile would take.

    `rate_rps` is the highest rate that was tried and shown to keep it, as were all below; `None`
    where none was. The instances are those for the plan's peak, `None` without one.
    """

    metric: str
    limit_ms: float
    is_asked: bool
    rate_rps: float | None
    instances: int | None
    with_zone_lost: int | None
    usd_per_hour: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizing:
    """What to buy and how to scale it, from the lower bound of what an instance carries.

    `planned_rps` is what an instance is given: `instance_rps` times the utilisation.
    `invocations_per_instance` is the same a minute, the target of autoscaling; `with_zone_lost` is
    the target at which those that are left when a zone is gone are given no more than that.
    `scaling_policy` is the input of PutScalingPolicy as JSON, and `terraform` says the same.
    `usd_per_hour` is what the measured instances cost, and `usd_per_million` what a million
    inferences do at `planned_rps`; both are `None` where no price is known.
    """

    instance_rps: float
    utilisation: float
    planned_rps: float
    zones: int
    peak_rps: float | None
    """The plan's; `peaks` holds it and its shares and multiples."""
    peaks: tuple[PeakNeed, ...]
    limits: tuple[LimitNeed, ...]
    """The plan's latency limit and shares and multiples of it."""
    usd_per_hour: float | None
    usd_per_million: float | None
    invocations_per_instance: float
    with_zone_lost: float
    scaling_policy: str
    terraform: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """The highest rate of an arm that keeps the SLO, how the search ended, and what follows.

    Rates are those of all `instances` of the arm. `low_rps` was shown to keep the SLO, and
    `high_rps` to break it; `None` where there is no such rate, and both where the search is not to
    be trusted. `rate_rps` is the point estimate between them and `interval` the two as an interval:
    `None` of a ladder, and where there is no answer. `limit` is the metric that breaks first.
    `sizing` is `None` for the reason in `no_sizing`.
    """

    arm: str
    end: CapacityEnd
    rate_rps: float | None
    interval: Interval | None
    low_rps: float | None
    high_rps: float | None
    limit: str | None
    instances: int | None
    instance_type: str | None
    rates: tuple[RateFound, ...]
    probes: tuple[ProbeMade, ...]
    sizing: Sizing | None
    no_sizing: str | None


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything a renderer needs, and all of report.json."""

    schema_version: int
    question: Literal["compare", "capacity", "regression", "load"]
    run: RunInfo
    verdict: Verdict
    checks: tuple[Check, ...]
    arms: tuple[ArmSummary, ...]
    differences: tuple[Difference, ...]
    shifts: tuple[ShiftPoint, ...]
    slo: tuple[SloResult, ...]
    answers: Answers | None
    errors: tuple[ErrorKind, ...]
    method: tuple[str, ...]
    cannot_tell: tuple[str, ...]
    capacity: Capacity | None = None
    runs: tuple[RunValues, ...] = ()
    """Where several runs are judged together: the numbers of each."""
    cloudwatch: CloudWatch | None = None
    over_time: OverTime | None = None
    who_answered: WhoAnswered | None = None
