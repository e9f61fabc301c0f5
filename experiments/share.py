"""Which requests of the schedule are whose, where several workers serve it.

The schedule is split by index, as k6 splits its execution segments: every worker knows the whole of
it and takes its own, so that totals are exact at any rate and nobody has to ask. The requests of a
pair stay with one worker.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """The requests i with (i // together) % of == rank; by default all."""

    rank: int = 0
    of: int = 1
    together: int = 1
    """So many requests in a row are one worker's."""

    def index(self, count: int) -> int:
        """Give the index in the schedule of the share's request number `count`, from 0."""
        turn, at = divmod(count, self.together)
        return (turn * self.of + self.rank) * self.together + at

    def holds(self, indices: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Say which requests of the schedule, by their indices, are the share's."""
        return np.equal(indices // self.together % self.of, self.rank)

    def below(self, end: int) -> int:
        """Count the share's requests among the first `end` of the schedule."""
        turns, left = divmod(end, self.of * self.together)
        return turns * self.together + min(max(left - self.rank * self.together, 0), self.together)
