"""What makes an instance slow for a while: pauses, slow episodes and drift. Pure, virtual time."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import exp, inf, sqrt

import numpy as np
from pydantic import Field

from experiments.local.seeded import generator
from experiments.local.windows import Lasting, Windows
from experiments.units import PositiveSeconds, Table

_STEPS_PER_MEMORY = 20


class Pause(Lasting):
    """No work is done: what is being served waits for the pause to end."""


class Episode(Lasting):
    """Work takes `factor` times as long."""

    factor: float = Field(gt=0, le=1_000_000)


class Drift(Table):
    """Service times wander: their factor's logarithm is an Ornstein-Uhlenbeck process.

    Its standard deviation is `spread`, and over `memory` its correlation falls to 1/e.
    """

    spread: float = Field(gt=0, le=2)
    memory: PositiveSeconds


class Slowness(Table):
    """The slow times of one variant, or those that all variants share."""

    pauses: list[Pause] = Field(default=[])
    episodes: list[Episode] = Field(default=[])
    drifts: list[Drift] = Field(default=[])


class Wander:
    """The path of one drift on a grid of time, drawn as far as somebody asks."""

    def __init__(self, table: Drift, generator: np.random.Generator) -> None:
        self._generator = generator
        self._step_s = table.memory / _STEPS_PER_MEMORY
        self._keep = exp(-1 / _STEPS_PER_MEMORY)
        self._noise = table.spread * sqrt(1 - self._keep**2)
        self._logs = [generator.normal(0.0, table.spread)]

    def factor(self, at_s: float) -> float:
        """Return by how much service times are multiplied at `at_s`; its median is 1."""
        place = int(at_s / self._step_s)
        while place >= len(self._logs):
            step = self._noise * self._generator.standard_normal()
            self._logs.append(self._keep * self._logs[-1] + step)
        return exp(self._logs[place])


@dataclass(frozen=True, slots=True, eq=False)
class Pace:
    """How fast work gets done: the `speed` in each of some windows, and drifts."""

    speeds: tuple[tuple[Windows, float], ...] = ()
    drifts: tuple[Wander, ...] = ()

    def __add__(self, other: "Pace") -> "Pace":
        """Return the pace under both; windows that overlap multiply their speeds."""
        return Pace(self.speeds + other.speeds, self.drifts + other.drifts)

    def ends_at(self, begins_at_s: float, work_s: float) -> float:
        """Return when work is done that takes `work_s` at full speed; seconds on one clock."""
        for drift in self.drifts:
            work_s *= drift.factor(begins_at_s)
        at_s = begins_at_s
        while self.speeds:
            speed, until_s = 1.0, inf
            for windows, within in self.speeds:
                is_open, changes_at_s = windows.around(at_s)
                speed *= within if is_open else 1.0
                until_s = min(until_s, changes_at_s)
            if speed and work_s <= (until_s - at_s) * speed:
                return at_s + work_s / speed
            work_s -= (until_s - at_s) * speed
            at_s = until_s
        return at_s + work_s


def pace(table: Slowness, seed: int, owner: str) -> Pace:
    """Return the pace that a table states; `owner` tells its random times from others'."""

    def windows(kind: str, schedules: Iterable[Lasting]) -> list[Windows]:
        return [
            Windows(schedule, generator(seed, owner, kind, number))
            for number, schedule in enumerate(schedules)
        ]

    speeds = [0.0] * len(table.pauses) + [1 / one.factor for one in table.episodes]
    slow = windows("pauses", table.pauses) + windows("episodes", table.episodes)
    wanders = (
        Wander(drift, generator(seed, owner, "drifts", number))
        for number, drift in enumerate(table.drifts)
    )
    return Pace(tuple(zip(slow, speeds, strict=True)), tuple(wanders))
