"""What a plan asks: the tables [compare], [capacity] and [regression]."""

from collections.abc import Container, Iterable
from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from experiments.arrivals import Traffic
from experiments.slo import Slo
from experiments.units import Name, PositiveSeconds, Seconds, Share, Table, is_latency_metric

ERROR_RATE_MARGIN = 0.005


class Margins(Table):
    """How small a difference does not matter, for each guarded metric."""

    margins: dict[str, Share] = Field(min_length=1)

    @property
    def guarded(self) -> dict[str, float]:
        """The margins, with one for the error rate: a fast arm that fails is not the better."""
        return {**self.margins, "error_rate": self.margins.get("error_rate", ERROR_RATE_MARGIN)}

    @model_validator(mode="after")
    def _metrics_are_known(self) -> Self:
        for metric in self.margins:
            if metric != "error_rate" and not is_latency_metric(metric):
                raise ValueError(
                    f"margins.{metric} is no metric; give p50, p99, mean, error_rate, or ttfb_p50 "
                    "and the like for a stream's time to its first byte"
                )
        return self


class Compare(Margins):
    """Which arm is the baseline, and how small a difference does not matter."""

    baseline: Name
    confidence: float = 0.95
    memory: PositiveSeconds | None = None
    """How long noise lasts, where earlier runs of this endpoint show it; a run is suspect where
    that is below 10 s."""

    @model_validator(mode="after")
    def _is_answerable(self) -> Self:
        if self.confidence != 0.95:
            raise ValueError(
                f"confidence is {self.confidence}; the method's error rates are known at 0.95 only"
            )
        return self


class Capacity(Table):
    """How the highest rate that keeps the SLO is searched, and what is to be bought for it."""

    arm: Name | None = None
    """Which arm is measured, in a plan of several."""
    start_rate: PositiveFloat | None = None
    """Where the search begins; without it, at a quarter of what one user at a time gets done."""
    resolution: Annotated[Share, Field(ge=0.01)] = 0.05
    """How small the search's steps get; the ends of its answer are four of them apart at most."""
    probe: PositiveSeconds = 30.0
    cooldown: Seconds = 5.0
    replicates: PositiveInt = 3
    """How often the two rates that the answer lies between are tried."""
    ladder: list[PositiveFloat] | None = Field(default=None, min_length=1, max_length=100)
    """Fixed rates, each tried once, instead of a search."""
    peak_rate: PositiveFloat | None = None
    target_utilisation: float = Field(default=0.7, gt=0, le=1)
    zones: int = Field(default=3, ge=2, le=6)
    """Availability Zones that the instances are spread over."""

    def measured_of(self, arms: Iterable[str], limited: Container[str] | None = None) -> str:
        """Name the arm that is measured.

        Raises:
            ValueError: that is none of `arms`, or not said where there are several; or it is none
                of those that are `limited`.
        """
        names = list(arms)
        measured = names[0] if self.arm is None and len(names) == 1 else self.arm
        if measured not in names:
            said = "is not given" if measured is None else f'is "{measured}"'
            raise ValueError(f"capacity.arm {said}, and the arms are {', '.join(names)}")
        if limited is not None and measured not in limited:
            raise ValueError(f"[slo] sets no limit for {measured}, whose capacity is asked")
        return measured

    def refuse(self, traffic: Traffic, slo: Slo) -> None:
        """Refuse what a search for a rate cannot be made of."""
        if traffic.is_closed or traffic.stages or traffic.trace:
            raise ValueError(
                'question = "capacity" searches for a rate of the open model; in [traffic] leave '
                'out stages, trace, users and arrivals = "closed"'
            )
        if slo.window or slo.phases:
            raise ValueError("a probe is judged whole; leave out slo.window and slo.phases")


def of_its_first_probe(table: object) -> object:
    """Fill in the rate and the length of a capacity plan, which is to find the rate itself."""
    if not isinstance(table, dict) or table.get("question") != "capacity":
        return table
    traffic, asked = table.get("traffic"), table.get("capacity", {})
    if not isinstance(traffic, dict) or not isinstance(asked, dict):
        return table
    if traffic.keys() & {"stages", "trace", "users"}:
        return table
    first = {"rate": asked.get("start_rate", 1.0), "duration": asked.get("probe", "30s")}
    return {**table, "traffic": {**first, **traffic}}


class Regression(Margins):
    """How many runs a side are made, in which order, and how much slower is a regression."""

    baseline: Name | None = None
    runs_per_side: PositiveInt = 5
    order: Literal["blocks", "abba"] = "blocks"
    margins: dict[str, Share] = Field(
        default_factory=lambda: {"p50": 0.05, "p90": 0.075, "p99": 0.10}, min_length=1
    )
