"""How much work a request is: service-time distributions, as the endpoint file states them."""

import csv
import math
from collections.abc import Iterator
from functools import lru_cache
from itertools import repeat
from pathlib import Path
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat, ValidationInfo, field_validator, model_validator

from experiments.units import PositiveSeconds, Seconds, Table

_PARAMETERS = {
    "constant": {"constant"},
    "exponential": {"mean"},
    "lognormal": {"median", "sigma"},
    "gamma": {"mean", "shape"},
    "mixture": {"components"},
    "empirical": {"file"},
}
_BLOCK = 512
"""Draws made at once: one at a time takes many times as long."""
_COLUMN = "service_ms"


class Distribution(Table):
    """A distribution of service times, and the parameters that it has."""

    distribution: Literal[
        "constant", "exponential", "lognormal", "gamma", "mixture", "empirical"
    ] = "constant"
    constant: Seconds = 0.0
    mean: PositiveSeconds = 0.0
    median: PositiveSeconds = 0.0
    sigma: PositiveFloat = 0.0
    shape: PositiveFloat = 0.0
    components: list["Component"] = Field(default=[], min_length=2)
    file: str = ""
    """A CSV file beside the endpoint file, with a column service_ms; each row is as likely."""

    @field_validator("file")
    @classmethod
    def _holds_times(cls, value: str, info: ValidationInfo) -> str:
        path = (info.context or {}).get("folder", Path()) / value
        _read(path)
        return str(path)

    @model_validator(mode="after")
    def _has_its_parameters(self) -> Self:
        needed = _PARAMETERS[self.distribution]
        given = self.model_fields_set & set().union(*_PARAMETERS.values())
        if given != needed:
            raise ValueError(
                f'distribution = "{self.distribution}" needs {" and ".join(sorted(needed))}; '
                f"it has {' and '.join(sorted(given)) or 'none'}"
            )
        return self

    @property
    def mean_s(self) -> float:
        """The mean of the distribution, in seconds."""
        match self.distribution:
            case "constant":
                return self.constant
            case "lognormal":
                return self.median * math.exp(self.sigma**2 / 2)
            case "mixture":
                total = sum(component.weight for component in self.components)
                return sum(part.weight * part.mean_s for part in self.components) / total
            case "empirical":
                return float(_read(Path(self.file)).mean())
            case _:
                return self.mean


class Component(Distribution):
    """One of the distributions of a mixture; a request is of it with a chance by its weight."""

    weight: PositiveFloat = 1.0


Distribution.model_rebuild()


def draws(table: Distribution, generator: np.random.Generator) -> Iterator[float]:
    """Draw service times without end, in seconds."""
    if table.distribution == "constant":
        yield from repeat(table.constant)
    while True:
        yield from _sample(table, generator, _BLOCK).tolist()


def _sample(table: Distribution, generator: np.random.Generator, count: int) -> NDArray[np.float64]:
    match table.distribution:
        case "constant":
            return np.full(count, table.constant)
        case "exponential":
            return generator.exponential(table.mean, count)
        case "lognormal":
            return generator.lognormal(math.log(table.median), table.sigma, count)
        case "gamma":
            return generator.gamma(table.shape, table.mean / table.shape, count)
        case "mixture":
            weights = np.array([component.weight for component in table.components])
            of = generator.choice(len(weights), count, p=weights / weights.sum())
            parts = [_sample(component, generator, count) for component in table.components]
            return np.array(parts)[of, np.arange(count)]
        case "empirical":
            return generator.choice(_read(Path(table.file)), count)


@lru_cache(maxsize=32)
def _read(path: Path) -> NDArray[np.float64]:
    """Read the column of service times, in seconds."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            times_ms = [float(row[_COLUMN]) for row in csv.DictReader(file)]
    except KeyError:
        raise ValueError(f"{path} must have a column {_COLUMN}") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} must hold a number in each row: {error}") from None
    if not times_ms or not all(0 <= time_ms < math.inf for time_ms in times_ms):
        raise ValueError(f"{path} must hold one time or more, all of 0 ms or above")
    return np.array(times_ms) / 1000
