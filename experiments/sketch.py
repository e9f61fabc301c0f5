"""A mergeable sketch of durations: how often each came, to half a percent.

Durations are counted in buckets that grow by a constant factor, so that any quantile has the same
relative error, and sketches of other seconds or workers are added bucket by bucket: the DDSketch of
Masson, Rim and Lee (VLDB 2019), with every bucket kept. For watching only: verdicts come from the
records.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field

Count = Annotated[int, Field(ge=0, lt=2**53)]
"""A number of things, as a message of another process may give it."""

_BUCKETS_PER_E = 100
"""Buckets a factor e wide: each spans 1 %, and its middle is at most 0.5 % from either end."""
_Bucket = Annotated[int, Field(ge=0, lt=math.ceil(_BUCKETS_PER_E * math.log(2**63)))]


@dataclass(slots=True)
class Sketch:
    """How often each duration came, to 0.5 %, and the longest exactly."""

    counts: dict[_Bucket, Count] = field(default_factory=dict)
    """By the number of the bucket: bucket b holds what lies from e^(b/100) to e^((b+1)/100) ns."""
    longest_ns: int | None = None

    def add(self, duration_ns: int) -> None:
        """Count one duration; what is below 1 ns counts as that."""
        if self.longest_ns is None or duration_ns > self.longest_ns:
            self.longest_ns = duration_ns
        bucket = int(math.log(duration_ns) * _BUCKETS_PER_E) if duration_ns > 1 else 0
        counts = self.counts
        counts[bucket] = counts.get(bucket, 0) + 1

    def merge(self, other: "Sketch") -> None:
        """Count what another has counted too."""
        counts = self.counts
        for bucket, count in other.counts.items():
            counts[bucket] = counts.get(bucket, 0) + count
        if other.longest_ns is not None:
            self.longest_ns = max(other.longest_ns, self.longest_ns or other.longest_ns)

    def quantile_ms(self, quantile: float) -> float | None:
        """Give the middle of the bucket that holds a quantile, by nearest rank, in milliseconds."""
        left = max(math.ceil(quantile * sum(self.counts.values())), 1)
        for middle_ms, count in self.durations_ms():
            left -= count
            if left <= 0:
                return middle_ms
        return None

    def durations_ms(self) -> Iterator[tuple[float, int]]:
        """Give the middle of each bucket, in milliseconds and rising, and how many it holds."""
        longest_ns = self.longest_ns or 0
        for bucket in sorted(self.counts):
            middle_ns = math.exp((bucket + 0.5) / _BUCKETS_PER_E)
            yield min(middle_ns, longest_ns) / 1e6, self.counts[bucket]

    @property
    def longest_ms(self) -> float | None:
        """The longest, in milliseconds."""
        return None if self.longest_ns is None else self.longest_ns / 1e6
