"""The endpoint file: which variants a local endpoint has, and what stands behind each."""

import tomllib
from pathlib import Path
from typing import Literal, Self

from pydantic import (
    Field,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from experiments.errors import PlanError
from experiments.local.models.digits import ModelName
from experiments.units import Name, PositiveSeconds, Table
from experiments.validation import explain

_PARAMETERS = {"constant": {"constant"}, "lognormal": {"median", "sigma"}}


class Simulated(Table):
    """A service-time distribution and the workers that draw from it, each at its own pace."""

    distribution: Literal["constant", "lognormal"] = "constant"
    constant: PositiveSeconds = 0.0
    median: PositiveSeconds = 0.0
    sigma: PositiveFloat = 0.0
    workers: PositiveInt = 1

    @model_validator(mode="after")
    def _has_its_parameters(self) -> Self:
        needed = _PARAMETERS[self.distribution]
        given = self.model_fields_set - {"distribution", "workers"}
        if given != needed:
            raise ValueError(
                f'distribution = "{self.distribution}" needs {" and ".join(sorted(needed))}; '
                f"it has {' and '.join(sorted(given)) or 'none'}"
            )
        return self


class Variant(Table):
    """One production variant: its share of the traffic, and what answers for it."""

    weight: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    instance_type: str = Field(default="ml.m5.large", pattern=r"^ml\.[a-z0-9.-]+$")
    instances: PositiveInt = 1
    """Each is a model process, or a simulated queue; behind a URL it is only what is described."""
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
        return self


class Endpoint(Table):
    """A local endpoint, complete. The credentials are what its clients must sign with."""

    name: Name
    region: str = Field(default="us-east-1", pattern=r"^[a-z]{2}(-[a-z]+)+-\d+$")
    account: str = Field(default="123456789012", pattern=r"^\d{12}$")
    access_key_id: str = Field(default="local", pattern=r"^\w+$")
    secret_access_key: str = Field(default="local", min_length=1)
    model_timeout: PositiveSeconds = 60.0
    variants: dict[Name, Variant] = Field(min_length=1)

    @model_validator(mode="after")
    def _some_variant_has_weight(self) -> Self:
        if not any(variant.weight for variant in self.variants.values()):
            raise ValueError("the weight of at least one variant must be above 0")
        return self


def load(path: Path) -> Endpoint:
    """Read an endpoint file and check it.

    Raises:
        PlanError: naming the file, the key, the value and the rule.
    """
    try:
        return Endpoint.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        raise explain(error, str(path), Endpoint) from None
    except tomllib.TOMLDecodeError as error:
        raise PlanError(f"{path}: not valid TOML: {error}.", "Mend that line.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError(f"{path}: cannot be read: {error}.", "Give a readable TOML file.") from None
