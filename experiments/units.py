"""Values with a unit, as files give them: durations as seconds, shares as fractions of 1."""

import re
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo

OF_FIRST_BYTE = "ttfb_"
"""Begins the metrics of the time to the first byte."""
_LATENCY_METRIC = re.compile(rf"({OF_FIRST_BYTE})?(mean|p(?!0+(\.0*)?$)\d{{1,2}}(\.\d{{1,3}})?)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_NUMBER = r"(\d+(?:\.\d+)?)"


def _duration(value: object, info: ValidationInfo) -> object:
    """Read "10s" as seconds; units are ms, s, m and h."""
    if isinstance(value, str) and (
        match := re.fullmatch(_NUMBER + r"\s*(ms|s|m|h)", value.strip())
    ):
        return float(match[1]) * _SECONDS[match[2]]
    if isinstance(value, float) and not _is_a_users(info):
        return value
    raise ValueError('must be a duration such as "500ms", "10s", "5m" or "1h"')


def _share(value: object, info: ValidationInfo) -> object:
    """Read "5%" or "0.5pp" as a fraction of 1."""
    if isinstance(value, str) and (match := re.fullmatch(_NUMBER + r"\s*(%|pp)", value.strip())):
        return float(match[1]) / 100
    if isinstance(value, float) and not _is_a_users(info):
        return value
    raise ValueError('must be a share such as "5%" or "0.5pp"')


def _is_a_users(info: ValidationInfo) -> bool:
    """Whether the value is from a file of the user's, and not a plan read back from a manifest."""
    return bool((info.context or {}).get("is_a_users"))


Seconds = Annotated[float, BeforeValidator(_duration), Field(ge=0)]
PositiveSeconds = Annotated[float, BeforeValidator(_duration), Field(gt=0)]
Share = Annotated[float, BeforeValidator(_share), Field(gt=0, lt=1)]
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
