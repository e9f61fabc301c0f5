"""An endpoint's weights and instance counts: those it has, and those it is told to have."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from experiments.local import config


@dataclass(slots=True, kw_only=True)
class Variant:
    """What one variant has, and what it is to have."""

    current_weight: float
    desired_weight: float
    current_instances: int
    desired_instances: int


class Activity(NamedTuple):
    """One change of a variant's instances by Application Auto Scaling; times since the epoch."""

    variant: str
    before: int
    after: int
    started_s: float
    ended_s: float | None


class Change(NamedTuple):
    """What a variant is to have; `None` leaves it as it is."""

    weight: float | None = None
    instances: int | None = None


@dataclass(slots=True)
class Fleet:
    """The variants of an endpoint as they stand."""

    variants: dict[str, Variant]
    created_s: float = field(default_factory=time.time)
    """Since the epoch, as is when it was last changed."""
    modified_s: float = field(default_factory=time.time)
    is_updating: bool = False
    activities: list[Activity] = field(default_factory=list)

    def ask(self, changes: Mapping[str, Change]) -> None:
        """Say what the variants are to have from `settle` on."""
        self.is_updating = True
        self.modified_s = time.time()
        for name, change in changes.items():
            variant = self.variants[name]
            if change.weight is not None:
                variant.desired_weight = change.weight
            if change.instances is not None:
                variant.desired_instances = change.instances

    def settle(self) -> None:
        """Give the variants what they are to have."""
        self.is_updating = False
        self.modified_s = time.time()
        for variant in self.variants.values():
            variant.current_weight = variant.desired_weight
            variant.current_instances = variant.desired_instances
        self.activities = [
            one._replace(ended_s=self.modified_s) if one.ended_s is None else one
            for one in self.activities
        ]

    def scaled(self, instances: Mapping[str, int]) -> dict[str, Change]:
        """Note that Application Auto Scaling changes variants; return what it asks for."""
        for name, after in instances.items():
            before = self.variants[name].current_instances
            self.activities.append(Activity(name, before, after, time.time(), None))
        return {name: Change(instances=after) for name, after in instances.items()}


def fleet_of(endpoint: config.Endpoint) -> Fleet:
    """Return the fleet that an endpoint file states."""
    return Fleet(
        {
            name: Variant(
                current_weight=variant.weight,
                desired_weight=variant.weight,
                current_instances=variant.instances,
                desired_instances=variant.instances,
            )
            for name, variant in endpoint.variants.items()
        }
    )
