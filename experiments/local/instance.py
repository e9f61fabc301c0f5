"""One instance: parallel workers behind one first-in, first-out queue. Pure, in virtual time.

The endpoint asks it with the wall clock's times, the calculation of the truth with its own.
"""

import heapq
from collections.abc import Iterator
from typing import NamedTuple

from experiments.local import config
from experiments.local.seeded import generator
from experiments.local.service_time import draws
from experiments.local.slowness import Pace, pace

_EVEN = Pace()


class Served(NamedTuple):
    """When an instance begins with a request, and when it is done; in seconds."""

    begins_at_s: float
    ends_at_s: float


class Instance:
    """An instance whose requests are `work_s` of work each, in seconds at its full speed.

    `s_per_byte` of the body come on top, and `factor` multiplies both.
    """

    def __init__(
        self,
        work_s: Iterator[float],
        *,
        workers: int = 1,
        s_per_byte: float = 0.0,
        factor: float = 1.0,
        pace: Pace = _EVEN,
    ) -> None:
        self._work_s = work_s
        self._s_per_byte = s_per_byte
        self._factor = factor
        self._pace = pace
        self._free_at_s = [0.0] * workers
        self._ends_at_s: list[float] = []

    def outstanding(self, at_s: float) -> int:
        """Count the requests that have arrived and are not done at `at_s`; times must ascend."""
        ends_at_s = self._ends_at_s
        while ends_at_s and ends_at_s[0] <= at_s:
            heapq.heappop(ends_at_s)
        return len(ends_at_s)

    def arrives(self, at_s: float, body_bytes: int = 0, extra_s: float = 0.0) -> Served:
        """Take the request that arrives at `at_s`, and say when it is served; times must ascend.

        `extra_s` is work that comes on top.
        """
        work_s = (next(self._work_s) + self._s_per_byte * body_bytes) * self._factor + extra_s
        begins_at_s = max(at_s, self._free_at_s[0])
        ends_at_s = self._pace.ends_at(begins_at_s, work_s)
        heapq.heapreplace(self._free_at_s, ends_at_s)
        self.outstanding(at_s)  # so that what is done is forgotten, asked for or not
        heapq.heappush(self._ends_at_s, ends_at_s)
        return Served(begins_at_s, ends_at_s)


def simulated(endpoint: config.Endpoint) -> dict[str, list[Instance]]:
    """Return the instances of each simulated variant, with streams of random numbers of their own.

    Those of a variant's part are under "variant/part". All share the endpoint's own slow times.
    """
    seed = endpoint.seed
    shared = pace(endpoint, seed, "endpoint")
    instances = {}
    for name, variant in endpoint.variants.items():
        own = shared + pace(variant, seed, f"variants.{name}")
        for label, backing in variant.backings(name).items():
            if (table := backing.simulated) is not None:
                instances[label] = [
                    Instance(
                        draws(table, generator(seed, "variants", label, "work", number)),
                        workers=table.workers,
                        s_per_byte=table.per_kb / 1024,
                        factor=factor,
                        pace=own,
                    )
                    for number, factor in enumerate(variant.factors, start=1)
                ]
    return instances
