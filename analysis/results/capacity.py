"""What a search for the highest rate found, and what follows for what to buy."""

from dataclasses import dataclass
from typing import Literal

from analysis.results.values import Interval, SloCall

RateCall = Literal["pass", "fail", "unresolved", "client", "invalid"]
"""Whether a rate keeps the SLO. client: the generator was in the way. invalid: not to be judged."""

CapacityEnd = Literal["smooth", "cliff", "no_pass", "no_fail", "undecided", "client", "invalid"]
"""How the SLO broke: by and by or all at once; at every rate, or at none; or not to be told."""


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
    """One probe: a run of its own. `left_out` says why it does not count, where it does not.

    `value_ms` is the first latency that the SLO limits, `None` without one or where failures reach
    it.
    """

    run: str
    rate_rps: float
    measured_s: float
    achieved_rps: float
    requests: int
    value_ms: float | None = None
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
