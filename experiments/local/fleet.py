"""An endpoint's weights and instance counts: those it has, and those it is told to have."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from experiments.local import config


class Size(NamedTuple):
    """A variant's weight and how many instances it has."""

    weight: float
    instances: int


def stated(variants: Mapping[str, config.Variant]) -> dict[str, Size]:
    """Return the sizes of variants by the endpoint file."""
    return {name: Size(one.weight, one.instances) for name, one in variants.items()}


@dataclass(slots=True)
class Activity:
    """One change of a variant's instances by Application Auto Scaling; times since the epoch."""

    variant: str
    before: int
    after: int
    started_s: float
    ended_s: float | None = None


@dataclass(slots=True)
class Fleet:
    """The variants of an endpoint as they stand."""

    current: dict[str, Size]
    desired: dict[str, Size] = field(init=False)
    created_s: float = field(default_factory=time.time)
    """Since the epoch, as is when it was last changed."""
    modified_s: float = field(default_factory=time.time)
    is_updating: bool = False
    activities: list[Activity] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.desired = dict(self.current)

    def ask(self, desired: Mapping[str, Size]) -> None:
        """Say what variants are to have from `settle` on."""
        self.is_updating = True
        self.modified_s = time.time()
        self.desired |= desired

    def settle(self) -> None:
        """Give the variants what they are to have."""
        self.is_updating = False
        self.modified_s = time.time()
        self.current.update(self.desired)  # which the router reads
        for one in self.activities:
            one.ended_s = one.ended_s or self.modified_s

    def scaled(self, instances: Mapping[str, int]) -> dict[str, Size]:
        """Note that Application Auto Scaling changes variants; return what it asks for."""
        self.activities += [
            Activity(name, self.current[name].instances, after, time.time())
            for name, after in instances.items()
        ]
        return {
            name: self.desired[name]._replace(instances=after) for name, after in instances.items()
        }
