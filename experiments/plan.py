"""Plan: what to ask, of which endpoint, with which traffic; its tables must hang together."""

from collections.abc import Collection
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from experiments.arrivals import Traffic
from experiments.errors import EndpointError
from experiments.questions import Capacity, Compare, Regression, of_its_first_probe
from experiments.record import NEW_SESSION, WARMUP
from experiments.slo import Slo, Threshold, thresholds
from experiments.tables import Answers, Arm, CloudWatch, Endpoint, Limits, Request
from experiments.templates import refuse_other_blanks
from experiments.units import Name, Table, is_of_first_byte


class Plan(Table):
    """One experiment, complete."""

    question: Literal["compare", "capacity", "regression", "load"]
    seed: int = Field(ge=0, lt=2**63)
    endpoint: Endpoint
    arms: dict[Name, Arm] = Field(min_length=1, max_length=16)
    request: Request
    answers: Answers | None = None
    traffic: Traffic
    limits: Limits | None = None
    slo: Slo | None = None
    compare: Compare | None = None
    capacity: Capacity | None = None
    regression: Regression | None = None
    cloudwatch: CloudWatch = CloudWatch()

    @property
    def comparison(self) -> Compare:
        """What is compared, in a plan whose question is to compare."""
        assert self.compare is not None
        return self.compare

    @property
    def capacity_asked(self) -> Capacity:
        """How a capacity plan's search is made."""
        return self.capacity or Capacity()

    @property
    def gate(self) -> Regression:
        """How runs of this plan are held against a baseline."""
        if self.regression is None and self.compare is not None:
            return Regression(margins=self.compare.margins)
        return self.regression or Regression()

    @property
    def is_streamed(self) -> bool:
        """Whether answers come in parts: InvokeEndpointWithResponseStream."""
        return self.request.operation == "stream"

    @property
    def baseline(self) -> str | None:
        """Name the arm that the others are held against, where the plan names one."""
        asked = (self.regression, self.compare)
        return next((table.baseline for table in asked if table and table.baseline), None)

    @property
    def reads_cloudwatch(self) -> bool:
        """Whether the endpoint's metrics are read after a run."""
        asked = self.cloudwatch.read
        return self.endpoint.target == "aws" if asked is None else asked

    @property
    def thresholds(self) -> tuple[Threshold, ...]:
        """What the arms must keep; none without an [slo]."""
        return thresholds(self.slo, self.arms) if self.slo else ()

    @property
    def requests(self) -> dict[str, dict[str, Any]]:
        """The parameters that each table of the plan gives, by the table's name."""
        tables = {"request": self.request.model_dump(exclude_none=True)}
        for name, arm in self.arms.items():
            tables[f"arms.{name}.request"] = arm.request.model_dump(exclude_none=True)
        return tables

    def endpoint_of(self, arm: str) -> str:
        """Name the endpoint that an arm's requests go to."""
        return self.arms[arm].request.endpoint_name or self.endpoint.name

    @property
    def other_endpoints(self) -> tuple[str, ...]:
        """Name the endpoints of the arms beside the plan's own."""
        named = dict.fromkeys(self.endpoint_of(arm) for arm in self.arms)
        return tuple(name for name in named if name != self.endpoint.name)

    def variant_of(self, arm: str) -> str | None:
        """Name the production variant that answers for `arm`; `None`: told apart otherwise."""
        told_by = self.arms[arm].request
        return told_by.target_variant or (None if told_by.is_given else arm)

    @model_validator(mode="before")
    @classmethod
    def _has_the_traffic_of_its_first_probe(cls, table: object) -> object:
        return of_its_first_probe(table)

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        self._can_be_answered()
        self._is_of_its_operation()
        if self.traffic.set_weights and self.question == "capacity":
            raise ValueError(
                "traffic.set_weights does not go with a search, whose probes name their variant"
            )
        if self.traffic.routing == "weighted":
            told = [name for name, arm in self.arms.items() if arm.request.is_given]
            if told:
                raise ValueError(
                    f"arms.{told[0]}.request does not go with traffic.routing = "
                    '"weighted": there the endpoint chooses the variant'
                )
        if self.traffic.routing == "paired" and len({a.share for a in self.arms.values()}) > 1:
            raise ValueError('traffic.routing = "paired" sends to every arm alike; leave out share')
        return self._stays_within_limits()

    def _is_of_its_operation(self) -> None:
        """Refuse what a stream does not take, and what only a stream can be judged by."""
        margins = (self.compare, self.regression)
        metrics = [f"margins.{name}" for table in margins if table for name in table.margins]
        metrics += [f"slo.{each.metric}" for each in self.thresholds]
        of_streams = [name for name in metrics if is_of_first_byte(name.partition(".")[2])]
        if of_streams and not self.is_streamed:
            raise ValueError(
                f'{of_streams[0]} needs request.operation = "stream": where an answer comes whole, '
                "its first byte says little"
            )
        for where, given in self.requests.items():
            for key, value in given.items():
                if self.is_streamed and key in ("target_model", "enable_explanations"):
                    raise ValueError(f'{where}.{key} does not go with operation = "stream"')
                if isinstance(value, str):
                    refuse_other_blanks(f"{where}.{key}", value)
        if self.is_streamed and self.request.session_id == NEW_SESSION:
            raise ValueError('request.session_id: operation = "stream" opens no NEW_SESSION')

    def _can_be_answered(self) -> None:
        if self.question == "compare":
            if self.compare is None or len(self.arms) < 2:
                raise ValueError('question = "compare" needs two arms or more, and [compare]')
        elif self.question == "regression":
            if len(self.arms) > 2 or (len(self.arms) == 2 and self.baseline not in self.arms):
                named = "is not given" if self.baseline is None else f'is "{self.baseline}"'
                raise ValueError(
                    'question = "regression" needs one arm, or two of which regression.baseline '
                    f"names one; it {named}, and the arms are {', '.join(self.arms)}"
                )
        elif self.slo is None:
            raise ValueError(f'question = "{self.question}" needs [slo], such as p99 = "300ms"')
        elif self.question == "capacity":
            self.capacity_asked.refuse(self.traffic, self.slo)
            self.capacity_asked.measured_of(self.arms, {each.arm for each in self.thresholds})
        arms = ", ".join(self.arms)
        if self.compare and len(self.arms) > 1 and self.compare.baseline not in self.arms:
            raise ValueError(
                f'compare.baseline is "{self.compare.baseline}", but the arms are {arms}'
            )
        if self.slo is not None:
            self._slo_fits(self.slo, arms)

    def _slo_fits(self, slo: Slo, arms: str) -> None:
        for arm in slo.arms:
            if arm not in self.arms:
                raise ValueError(f'slo.arms names "{arm}", but the arms are {arms}')
        phases = [phase.name for phase in self.traffic.phases if phase.name != WARMUP]
        for phase in slo.phases:
            if phase not in phases:
                raise ValueError(
                    f'slo.phases names "{phase}", but what is measured is {", ".join(phases)}'
                )
        lengths_s = (p.end_s - p.start_s for p in self.traffic.phases if p.name in slo.phases)
        shortest_s = min([self.traffic.measured_s, *lengths_s])
        if slo.window and 0 < shortest_s < slo.window:
            raise ValueError(
                f"slo.window is {slo.window:g} s, longer than the {shortest_s:g} s of what "
                "it must hold in"
            )

    def _stays_within_limits(self) -> Self:
        if self.limits is None:
            if not self.endpoint.is_loopback:
                raise ValueError(
                    "the endpoint is not on this machine, and there is no [limits] table\n"
                    "Add it with max_requests and max_minutes, for what a run may cost at most."
                )
            return self
        expected = self.traffic.expected_requests
        if expected is not None and expected > self.limits.max_requests:
            raise ValueError(
                f"the plan sends about {expected:,.0f} requests; limits.max_requests is "
                f"{self.limits.max_requests:,}\nRaise it, or send less: traffic.rate, duration."
            )
        planned_s = self.traffic.planned_s
        if planned_s > self.limits.max_minutes * 60:
            raise ValueError(
                f"the plan takes {planned_s / 60:.1f} minutes; limits.max_minutes is "
                f"{self.limits.max_minutes:g}\nRaise the limit, or shorten traffic.duration."
            )
        return self


def check_variants(plan: Plan, variants: Collection[str]) -> None:
    """Refuse a plan with an arm whose variant is none of its endpoint's.

    Those of other endpoints than the plan's own stand behind their endpoint's name, as in "b/blue".
    """
    for arm in plan.arms:
        variant, endpoint = plan.variant_of(arm), plan.endpoint_of(arm)
        other = "" if endpoint == plan.endpoint.name else endpoint
        there = [own for of, _, own in (name.rpartition("/") for name in variants) if of == other]
        if there and variant not in {None, *there}:
            raise EndpointError(
                f'arms.{arm}: the endpoint "{endpoint}" has no production variant '
                f'"{variant}"; it has {", ".join(there)}.',
                f"Rename the arm, or say which variant it is: arms.{arm}.request.target_variant.",
            )
