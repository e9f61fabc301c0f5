"""The endpoint file: which variants a local endpoint has, and what stands behind each."""

import tomllib
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, ValidationError, model_validator

from experiments.errors import PlanError
from experiments.local.faults import Fault
from experiments.local.models.digits import ModelName
from experiments.local.service_time import Distribution
from experiments.local.slowness import Slowness
from experiments.units import Name, PositiveSeconds, Seconds
from experiments.validation import explain

_OF_SIMULATED = ("instance_factors", "pauses", "episodes", "drifts")


class Simulated(Distribution):
    """A service-time distribution and the workers of each instance that draw from it."""

    workers: PositiveInt = 1
    per_kb: Seconds = 0.0
    """Added for each 1,024 bytes of the request's body."""


class Variant(Slowness):
    """One production variant: its share of the traffic, and what answers for it."""

    weight: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    instance_type: str = Field(default="ml.m5.large", pattern=r"^ml\.[a-z0-9.-]+$")
    instances: PositiveInt = 1
    """Each is a model process, or a simulated queue; behind a URL it is only what is described."""
    instance_factors: list[PositiveFloat] = Field(default=[])
    """What the service times of each instance are multiplied by; without it, 1."""
    routing: Literal["RANDOM", "LEAST_OUTSTANDING_REQUESTS"] = "RANDOM"
    model: ModelName | None = None
    url: str | None = Field(default=None, pattern=r"^http://[\w.-]+(:\d{1,5})?/?$")
    simulated: Simulated | None = None

    @model_validator(mode="after")
    def _one_thing_answers(self) -> Self:
        given = [key for key in ("model", "url", "simulated") if getattr(self, key) is not None]
        if len(given) != 1:
            raise ValueError(
                "needs exactly one of model, url and simulated; it has "
                f"{' and '.join(given) or 'none'}"
            )
        strays = [key for key in _OF_SIMULATED if getattr(self, key)]
        if strays and self.simulated is None:
            raise ValueError(f"{' and '.join(strays)} can be of a simulated variant only")
        if self.instance_factors and len(self.instance_factors) != self.instances:
            raise ValueError(
                f"instance_factors has {len(self.instance_factors)} values for "
                f"{self.instances} instances"
            )
        return self


class Endpoint(Slowness):
    """A local endpoint, complete. The credentials are what its clients must sign with.

    Pauses, episodes and drifts of its own strike all simulated variants at the same times.
    """

    name: Name
    region: str = Field(default="us-east-1", pattern=r"^[a-z]{2}(-[a-z]+)+-\d+$")
    account: str = Field(default="123456789012", pattern=r"^\d{12}$")
    access_key_id: str = Field(default="local", pattern=r"^\w+$")
    secret_access_key: str = Field(default="local", min_length=1)
    model_timeout: PositiveSeconds = 60.0
    body_limit: PositiveInt = 6_291_456
    """Bytes of the body of an invocation; by itself, SageMaker's own limit."""
    seed: int = Field(default=0, ge=0)
    """Of all that is drawn: requests that arrive at the same times get the same."""
    served_log: str | None = Field(default=None, min_length=1)
    """A file for a line a request, in the folder of the logs or, without one, where it runs."""
    faults: list[Fault] = Field(default=[])
    variants: dict[Name, Variant] = Field(min_length=1)

    @model_validator(mode="after")
    def _some_variant_has_weight(self) -> Self:
        if not any(variant.weight for variant in self.variants.values()):
            raise ValueError("the weight of at least one variant must be above 0")
        return self

    @model_validator(mode="after")
    def _faults_strike_what_there_is(self) -> Self:
        for number, fault in enumerate(self.faults):
            if fault.variant is None:
                continue
            if fault.variant not in self.variants:
                known = ", ".join(self.variants)
                raise ValueError(f"faults.{number}: variant {fault.variant} is none of {known}")
            instances = self.variants[fault.variant].instances
            if fault.instance is not None and fault.instance > instances:
                raise ValueError(
                    f"faults.{number}: variant {fault.variant} has no instance {fault.instance}; "
                    f"it has {instances}"
                )
        return self


def load(path: Path) -> Endpoint:
    """Read an endpoint file and check it.

    Raises:
        PlanError: naming the file, the key, the value and the rule.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
        return Endpoint.model_validate(tables, context={"folder": path.parent, "is_a_users": True})
    except ValidationError as error:
        raise explain(error, str(path), Endpoint) from None
    except tomllib.TOMLDecodeError as error:
        raise PlanError(f"{path}: not valid TOML: {error}.", "Mend that line.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError(f"{path}: cannot be read: {error}.", "Give a readable TOML file.") from None
