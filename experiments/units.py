"""Values with a unit, as files give them: durations as seconds, shares as fractions of 1."""

import math
import re
from fractions import Fraction
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo

OF_FIRST_BYTE = "ttfb_"
"""Begins the metrics of the time to the first byte."""
_LATENCY_METRIC = re.compile(rf"({OF_FIRST_BYTE})?(mean|p(?!0+(\.0*)?$)\d{{1,2}}(\.\d{{1,3}})?)")


def _in_units(rule: str, **units: str) -> BeforeValidator:
    """Read a number with one of the units; a manifest, which is no user's file, has it as one."""
    quantity = re.compile(rf"\s*(\d+(?:\.\d+)?)\s*({'|'.join(units)})\s*")

    def read(value: object, info: ValidationInfo) -> object:
        if isinstance(value, str) and (match := quantity.fullmatch(value)):
            try:
                return float(Fraction(match[1]) * Fraction(units[match[2]]))  # rounded once
            except OverflowError:
                return math.inf  # which is refused as not finite
        if isinstance(value, float) and not (info.context or {}).get("is_a_users"):
            return value
        raise ValueError(f"must be {rule}")

    return BeforeValidator(read)


_DURATION = _in_units(
    'a duration such as "500ms", "10s", "5m" or "1h"', ms="0.001", s="1", m="60", h="3600"
)
_SHARE = _in_units('a share such as "5%" or "0.5pp"', **{"%": "0.01", "pp": "0.01"})

Seconds = Annotated[float, _DURATION, Field(ge=0)]
PositiveSeconds = Annotated[float, _DURATION, Field(gt=0)]
Share = Annotated[float, _SHARE, Field(gt=0, lt=1)]
Name = Annotated[str, Field(pattern=r"^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}$")]
"""SageMaker's own pattern for endpoint and variant names."""


def is_latency_metric(metric: str) -> bool:
    """Whether a metric is a latency: "mean", or a percentile such as "p99.9" or "ttfb_p50"."""
    return _LATENCY_METRIC.fullmatch(metric) is not None


def quantile_of(metric: str) -> float | None:
    """Read "p99.9" as 0.999; `None` for a metric that is no quantile."""
    if not is_latency_metric(metric) or metric.endswith("mean"):
        return None
    # By way of text, since 99.9 / 100 is not 0.999 in binary.
    return float(f"{float(metric.removeprefix(OF_FIRST_BYTE)[1:]) / 100:.6f}")


def is_of_first_byte(metric: str) -> bool:
    """Whether a metric is of the time to the first byte, and not of the whole answer."""
    return metric.startswith(OF_FIRST_BYTE)


class Table(BaseModel):
    """One table of a plan: no unknown key, no value of another type, and never changed."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        serialize_by_alias=True,
    )
