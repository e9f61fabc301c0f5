"""Times that come and go: when pauses, slow episodes and faults are on. Pure, in virtual time."""

from bisect import bisect_right
from math import inf
from typing import Self

import numpy as np
from pydantic import AliasChoices, Field, model_validator

from experiments.units import PositiveSeconds, Seconds, Table


class Schedule(Table):
    """When something is on, in seconds since the endpoint's first invocation.

    From `at` on, `for` so long (or always), and again `every` so often. Where it is `random`, the
    time from one end to the next beginning is exponential with the same mean.
    """

    at: Seconds = 0.0
    length: PositiveSeconds | None = Field(
        default=None,
        validation_alias=AliasChoices("for", "length"),
        serialization_alias="for",
    )
    every: PositiveSeconds | None = None
    random: bool = False

    @model_validator(mode="after")
    def _ends_before_it_begins_again(self) -> Self:
        if self.every is None:
            if self.random:
                raise ValueError("random = true needs every, the mean time between beginnings")
        elif self.length is None or self.length >= self.every:
            raise ValueError("every needs a for that is shorter")
        return self


class Lasting(Schedule):
    """A schedule of something that has to end."""

    length: PositiveSeconds = Field(
        validation_alias=AliasChoices("for", "length"), serialization_alias="for"
    )


class Windows:
    """The windows of a schedule, drawn along time as far as somebody asks.

    They depend on the schedule and the generator only, so who asks when changes nothing.
    """

    def __init__(self, schedule: Schedule, generator: np.random.Generator) -> None:
        self._every = schedule.every
        self._length = inf if schedule.length is None else schedule.length
        self._off_s = (schedule.every or 0.0) - (schedule.length or 0.0)
        self._generator = generator if schedule.random else None
        first_s = generator.exponential(self._off_s) if schedule.random else 0.0
        self._starts = [schedule.at + first_s]

    def around(self, at_s: float) -> tuple[bool, float]:
        """Say whether a window is open at `at_s`, and until when that stays so."""
        starts = self._starts
        while self._every is not None and starts[-1] <= at_s:
            step_s = self._every
            if self._generator is not None:
                step_s = self._length + self._generator.exponential(self._off_s)
            starts.append(starts[-1] + step_s)
        last = bisect_right(starts, at_s) - 1
        if last >= 0 and at_s < starts[last] + self._length:
            return True, starts[last] + self._length
        return False, starts[last + 1] if last + 1 < len(starts) else inf
