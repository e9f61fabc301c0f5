"""The plan's [traffic]: where requests go, and when; as an open or as a closed model.

In an open model the schedule decides when a request is due, whatever the endpoint does. In a closed
model each of a number of users sends, waits for the answer, thinks, and sends again.
"""

from itertools import accumulate, pairwise
from typing import Literal, NamedTuple, Self

from pydantic import AliasChoices, Field, model_validator

from experiments.record import MEASURE, WARMUP
from experiments.units import Name, PositiveSeconds, Seconds, Table

_SLOTS = 64


class Stage(Table):
    """A stretch of the schedule: a rate that holds, or that moves evenly from `rate` to `to`."""

    rate: float = Field(ge=0, le=1_000_000)
    to: float | None = Field(default=None, ge=0, le=1_000_000)
    length: PositiveSeconds = Field(
        validation_alias=AliasChoices("for", "length"), serialization_alias="for"
    )
    name: Name | None = None

    @property
    def end_rate(self) -> float:
        """Requests a second at the stage's end."""
        return self.rate if self.to is None else self.to

    @property
    def expected_requests(self) -> float:
        """Requests within the stage: the integral of its rate."""
        return (self.rate + self.end_rate) / 2 * self.length


class Phase(NamedTuple):
    """A named stretch of the run, from `start_s` up to `end_s`."""

    name: str
    start_s: float
    end_s: float


class Traffic(Table):
    """How requests are spread over arms and over time."""

    routing: Literal["pinned", "paired", "weighted"]
    arrivals: Literal["poisson", "constant", "trace", "closed"] = "poisson"
    rate: float | None = Field(default=None, gt=0, le=1_000_000)
    stages: list[Stage] | None = Field(default=None, min_length=1, max_length=1000)
    trace: str | None = None
    users: int | None = Field(default=None, ge=1, le=20_000)
    think_time: Seconds | None = None
    warmup: Seconds = 10.0
    duration: PositiveSeconds | None = None
    slots: int | None = Field(default=None, ge=1, le=20_000)
    overflow: Literal["queue", "drop"] | None = None
    """What happens to a request that finds no free slot; `None` is "queue"."""
    transport: Literal["fast", "boto3"] = "fast"
    """boto3 itself, or what sends the same bytes at a fraction of its CPU."""
    set_weights: bool = False
    """Whether the endpoint gets the arms' shares as weights for the run, and its own afterwards."""

    @property
    def is_closed(self) -> bool:
        """Whether users wait for an answer before they send again."""
        return self.arrivals == "closed"

    @property
    def concurrency(self) -> int:
        """The most requests in flight: the slots, or the users of a closed model."""
        return self.users or self.slots or _SLOTS

    @property
    def measured_s(self) -> float:
        """Length of what is measured; a trace's own length is filled in when its plan is loaded."""
        return self.duration or sum(stage.length for stage in self.stages or ())

    @property
    def planned_s(self) -> float:
        """Length of the run, warm-up included."""
        return self.warmup + self.measured_s

    @property
    def expected_requests(self) -> float | None:
        """Requests over the whole run, warm-up included; `None` where the plan does not say."""
        if self.stages:
            first = self.stages[0].rate
            return self.warmup * first + sum(stage.expected_requests for stage in self.stages)
        return None if self.rate is None else self.rate * self.planned_s

    @property
    def rate_rps(self) -> float | None:
        """Requests a second over what is measured; `None` where the plan does not say."""
        if self.stages:
            return sum(stage.expected_requests for stage in self.stages) / self.measured_s
        return self.rate

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The warm-up, where there is one, and then the stages, or the one measured phase."""
        stages = [(s.name or f"stage-{n}", s.length) for n, s in enumerate(self.stages or (), 1)]
        named = stages or [(MEASURE, self.measured_s)]
        ends = accumulate((length_s for _, length_s in named), initial=self.warmup)
        measured = [Phase(name, *at) for (name, _), at in zip(named, pairwise(ends), strict=True)]
        before = [Phase(WARMUP, 0.0, self.warmup)] if self.warmup else []
        return (*before, *measured)

    @property
    def summary(self) -> str:
        """Say in a few words how requests arrive."""
        if self.trace is not None:
            return f"arrivals as in {self.trace}"
        if self.is_closed:
            thinking = "" if self.think_time is None else f" who think for {self.think_time:g} s"
            return f"a closed loop of {self.users:,} users{thinking}"
        if self.stages is not None:
            rates = ", ".join(
                f"{s.rate:g}" + ("" if s.to is None else f" to {s.to:g}") for s in self.stages
            )
            return f"{self.arrivals} arrivals by stages of {rates} req/s"
        return f"{self.arrivals} arrivals at {self.rate:g} req/s"

    @model_validator(mode="before")
    @classmethod
    def _a_trace_says_its_arrivals(cls, table: object) -> object:
        if isinstance(table, dict) and "trace" in table:
            return {"arrivals": "trace", **table}
        return table

    @model_validator(mode="after")
    def _is_one_kind(self) -> Self:
        if self.set_weights and self.routing != "weighted":
            raise ValueError(
                f'set_weights goes with routing = "weighted"; with "{self.routing}" a request says '
                "which variant answers, whatever the weights"
            )
        if self.is_closed:
            self._takes_no("the closed model", "rate", "stages", "trace", "slots", "overflow")
            if self.users is None or self.duration is None:
                raise ValueError("the closed model needs users and duration")
            return self
        if self.users is not None or self.think_time is not None:
            raise ValueError('users and think_time go with arrivals = "closed"\nSet that too.')
        if self.trace is not None:
            self._takes_no("a schedule by trace", "rate", "stages")
        elif self.stages is not None:
            self._takes_no("a schedule by stages", "rate", "duration")
            self._stages_can_be_sent(self.stages)
        elif self.rate is None or self.duration is None:
            raise ValueError("it needs rate and duration, or stages, or a trace")
        if (self.trace is None) == (self.arrivals == "trace"):
            raise ValueError('arrivals = "trace" and trace, a file of arrival times, go together')
        return self

    def _takes_no(self, kind: str, *keys: str) -> None:
        if given := [key for key in keys if getattr(self, key) is not None]:
            but = ", and set traffic.users" if self.is_closed and not self.users else ""
            raise ValueError(
                f"{kind} takes no {' and no '.join(given)}\n"
                f"Leave out {' and '.join(given)}{but}; --set traffic.{given[0]}= does so."
            )

    def _stages_can_be_sent(self, stages: list[Stage]) -> None:
        if self.warmup and stages[0].rate == 0:
            raise ValueError(
                "the warm-up is sent at the first stage's rate, which is 0; begin above 0, or set "
                'warmup = "0s"'
            )
        if not self.rate_rps:
            raise ValueError("the stages send nothing: each has a rate of 0")
        if any(stage.name == WARMUP for stage in stages):
            raise ValueError(f'a stage cannot be named "{WARMUP}", which is not measured')
        names = [phase.name for phase in self.phases]
        if len(set(names)) < len(names):
            raise ValueError(f"two phases have one name: {', '.join(names)}")
