"""The endpoint file: which variants a local endpoint has, and what stands behind each."""

from collections import Counter
from pathlib import Path
from typing import Literal, Self
from zlib import crc32

from pydantic import (
    AwareDatetime,
    Field,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from experiments.errors import PlanError
from experiments.local.faults import Fault
from experiments.local.models.digits import ModelName
from experiments.local.service_time import Distribution
from experiments.local.slowness import Slowness
from experiments.local.windows import Schedule
from experiments.units import Name, PositiveSeconds, Seconds, Share, Table
from experiments.validation import explain, read_toml

_OF_SIMULATED = ("instance_factors", "pauses", "episodes", "drifts")
_ANSWERING = ("model", "url", "simulated", "models", "containers", "components")


class Simulated(Distribution):
    """A service-time distribution and the workers of each instance that draw from it."""

    workers: PositiveInt = 1
    per_kb: Seconds = 0.0
    """Added for each 1,024 bytes of the request's body."""
    chunks: PositiveInt = 1
    """Of a streamed answer, evenly over the service time."""


class Backing(Table):
    """What answers: one of our own models, a model server elsewhere, or a simulation."""

    model: ModelName | None = None
    url: str | None = Field(default=None, pattern=r"^http://[\w.-]+(:\d{1,5})?/?$")
    simulated: Simulated | None = None

    @model_validator(mode="after")
    def _one_thing_answers(self) -> Self:
        keys = [key for key in _ANSWERING if key in type(self).model_fields]
        given = [key for key in keys if getattr(self, key)]
        if len(given) != 1:
            raise ValueError(
                f"needs exactly one of {', '.join(keys[:-1])} and {keys[-1]}; it has "
                f"{' and '.join(given) or 'none'}"
            )
        return self


class Part(Backing):
    """One of several models, containers or inference components behind a variant."""

    load: Seconds = 0.0
    """Of one of `models`: how long its first call on an instance waits while it is loaded."""


class Scaling(Table):
    """Application Auto Scaling's doing, as scripted: `instances` there are `at` a time."""

    at: Seconds
    instances: PositiveInt


class Bounds(Table):
    """The fewest and the most instances of a variant."""

    min: PositiveInt = 1
    max: PositiveInt

    @model_validator(mode="after")
    def _max_is_not_below_min(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min is {self.min} and max is {self.max}: max must be at least min")
        return self


class Autoscaling(Bounds):
    """A variant's scalable target and its target-tracking policy, as they are described."""

    invocations_per_instance: PositiveFloat
    """The target, a minute."""
    activities: list[Scaling] = Field(default=[])


class Pending(Schedule):
    """When a deployment of another configuration, named `config`, is in progress."""

    config: Name


class Variant(Slowness, Backing):
    """One production variant: its share of the traffic, and what answers for it."""

    weight: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    instance_type: str = Field(default="ml.m5.large", pattern=r"^ml\.[a-z0-9.-]+$")
    instances: PositiveInt = 1
    """Each is a model process, or a simulated queue; behind a URL it is only what is described."""
    instance_factors: list[PositiveFloat] = Field(default=[])
    """What the service times of each instance are multiplied by; without it, 1."""
    routing: Literal["RANDOM", "LEAST_OUTSTANDING_REQUESTS", "PREFIX_AWARE"] = "RANDOM"
    autoscaling: Autoscaling | None = None
    managed: Bounds | None = None
    """ManagedInstanceScaling, as it is described; it changes nothing."""
    models: dict[str, Part] = Field(default={})
    """By TargetModel."""
    containers: dict[Name, Part] = Field(default={})
    """By TargetContainerHostname."""
    components: dict[Name, Part] = Field(default={})
    """By InferenceComponentName."""

    @property
    def parts(self) -> dict[str, Part]:
        """The models, containers or components of a variant that has some."""
        return self.models or self.containers or self.components

    def backings(self, name: str) -> dict[str, Backing]:
        """What answers for the variant of this name: its parts or, where it has none, itself."""
        return {f"{name}/{part}": table for part, table in self.parts.items()} or {name: self}

    @property
    def prepared(self) -> int:
        """How many instances it can have at most."""
        return max(self.instances, self.autoscaling.max if self.autoscaling else 0)

    @property
    def factors(self) -> list[float]:
        """What the service times of each instance that it can have are multiplied by."""
        return self.instance_factors or [1.0] * self.prepared

    @model_validator(mode="after")
    def _fits_what_answers(self) -> Self:
        if not self.models and any(part.load for part in self.parts.values()):
            raise ValueError("load can be of one of models only")
        strays = [key for key in _OF_SIMULATED if getattr(self, key)]
        if strays and self.simulated is None:
            raise ValueError(f"{' and '.join(strays)} can be of a simulated variant only")
        if self.instance_factors and len(self.instance_factors) != self.prepared:
            raise ValueError(
                f"instance_factors has {len(self.instance_factors)} values for "
                f"{self.prepared} instances"
            )
        for scaling in self.autoscaling.activities if self.autoscaling else []:
            if scaling.instances > self.prepared:
                raise ValueError(f"autoscaling.activities has more instances than {self.prepared}")
        return self


class Key(Table):
    """One more access key: its secret, and the account that it belongs to."""

    secret_access_key: str = Field(min_length=1, repr=False)
    account: str = Field(pattern=r"^\d{12}$")
    session_token: str | None = Field(default=None, repr=False)
    """Of temporary credentials; without it any token, or none, will do."""
    expires: AwareDatetime | None = None


class Capture(Table):
    """Data capture: of which share of the invocations, and into which folder."""

    folder: str = Field(min_length=1)
    """In the folder of the logs or, without one, where it runs."""
    share: Share | None = None
    """Without it, all."""
    csv_content_types: list[str] = Field(default=["text/csv"])
    json_content_types: list[str] = Field(default=["application/json"])
    """What is of no listed type is written in base64."""


class Endpoint(Slowness):
    """A local endpoint, complete. The credentials are what its clients must sign with.

    Pauses, episodes and drifts of its own strike all simulated variants at the same times.
    """

    name: Name
    also: list[str] = Field(default=[])
    """Files of other endpoints, beside this one, that the same server answers for."""
    region: str = Field(default="us-east-1", pattern=r"^[a-z]{2}(-[a-z]+)+-\d+$")
    account: str = Field(default="123456789012", pattern=r"^\d{12}$")
    access_key_id: str = Field(default="local", pattern=r"^\w+$")
    secret_access_key: str = Field(default="local", min_length=1, repr=False)
    keys: dict[str, Key] = Field(default={})
    """More access keys, by their id; an endpoint is found by those of its own account."""
    model_timeout: PositiveSeconds = 60.0
    stream_timeout: PositiveSeconds = 480.0
    """Of a streamed answer as a whole."""
    body_limit: PositiveInt = 6_291_456
    """Bytes of the body of an invocation; by itself, SageMaker's own limit."""
    seed: int = Field(default=0, ge=0)
    """Of all that is drawn: requests that arrive at the same times get the same."""
    served_log: str | None = Field(default=None, min_length=1)
    """A file for a line a request, in the folder of the logs or, without one, where it runs."""
    capture: Capture | None = None
    metrics_delay: Seconds = 60.0
    """How long after its end a request counts in what CloudWatch says."""
    update_takes: Seconds = 5.0
    """How long UpdateEndpointWeightsAndCapacities leaves the endpoint Updating."""
    pending: Pending | None = None
    faults: list[Fault] = Field(default=[])
    variants: dict[Name, Variant] = Field(min_length=1)

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if not any(variant.weight for variant in self.variants.values()):
            raise ValueError("the weight of at least one variant must be above 0")
        if self.access_key_id in self.keys:
            raise ValueError(
                f"keys.{self.access_key_id} has the id of the endpoint's own key: give another "
                "id, or set access_key_id"
            )
        components = Counter(name for one in self.variants.values() for name in one.components)
        for name, count in components.items():
            if count > 1:
                raise ValueError(f"the component {name} is of {count} variants")
        for number, fault in enumerate(self.faults):
            if fault.variant is None:
                continue
            if (variant := self.variants.get(fault.variant)) is None:
                known = ", ".join(self.variants)
                raise ValueError(f"faults.{number}: variant {fault.variant} is none of {known}")
            if fault.instance is not None and fault.instance > variant.prepared:
                raise ValueError(
                    f"faults.{number}: variant {fault.variant} has no instance {fault.instance}; "
                    f"it has {variant.prepared}"
                )
        return self


def load_all(path: Path) -> tuple[Endpoint, ...]:
    """Read an endpoint file and those that it names in `also`.

    Region, account and keys are those of the first, so that one client can call all.
    """
    first = load(path)
    shared = ("region", "account", "access_key_id", "secret_access_key", "keys")
    found = {first.name: first}
    for name in first.also:
        other = load(path.parent / name)
        if other.name in found or other.also:
            why = "has its own also" if other.also else f'is the endpoint "{other.name}" again'
            raise PlanError(f"{path}: also: {name} {why}.", "Name each endpoint once, in one file.")
        # By name, since endpoints of one seed would draw the same service times.
        seed = {"seed": other.seed + crc32(other.name.encode())}
        found[other.name] = other.model_copy(
            update={key: getattr(first, key) for key in shared} | seed
        )
    return tuple(found.values())


def load(path: Path) -> Endpoint:
    """Read an endpoint file and check it."""
    table = read_toml(path)
    if "question" in table:
        raise PlanError(f"{path}: is a plan, not an endpoint file.", "Give its endpoint.config.")
    try:
        given = {"folder": path.parent, "is_a_users": True}
        return Endpoint.model_validate(table, context=given)
    except ValidationError as error:
        raise explain(error, str(path), Endpoint) from None
