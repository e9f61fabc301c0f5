"""How sure is a share of requests, given that requests close in time share their luck.

The unit is the stretch of time. The design effect says how many times wider the share varies than
that of independent requests; an exact interval for that many fewer requests follows (Korn, E. L.
and Graubard, B. I., 1998, Confidence intervals for proportions with small expected number of
positive counts estimated from survey data, Survey Methodology 24). It is taken at ten and at five
stretches and, on runs that are short for how long noise lasts, from equally weighted cosines
(Müller 2007; Lazarus, Lewis, Stock and Watson 2018); the widest holds.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import betaincinv, ndtri, stdtrit

from analysis.noise import MEMORY_S, cosine_waves, guard_of
from analysis.windows import WINDOWS, Floats, merged

_CLUSTERS = (10, 5)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusteredShare:
    """How many of `requests` were `counted`, and how that varies in time.

    `spreads` pairs each estimate of the design effect with its degrees of freedom.
    """

    requests: int
    counted: int
    spreads: tuple[tuple[float, int], ...]

    @property
    def share(self) -> float:
        """The share counted, of 1."""
        return self.counted / self.requests

    def bounds(self, level: float, *, times_longer: float = 1.0) -> tuple[float, float]:
        """Give the lower and the upper bound, each of which alone holds at `level`.

        With `times_longer`, as they would be had a run of so many times the length gone the same.
        """
        found = [self._bounds(level, times_longer, *spread) for spread in self.spreads]
        return min(low for low, _ in found), max(high for _, high in found)

    def _bounds(
        self, level: float, times_longer: float, design_effect: float, freedom: int
    ) -> tuple[float, float]:
        size = self.requests * times_longer
        if design_effect > 1:
            # The effect is itself estimated: Student's t instead of the normal.
            t_over_z = stdtrit(freedom, level) / ndtri(level)
            size /= design_effect * t_over_z**2
        hits = self.share * size
        low = betaincinv(hits, size - hits + 1, 1 - level) if self.counted else 0.0
        high = betaincinv(hits + 1, size - hits, level) if self.counted < self.requests else 1.0
        return float(low), float(high)


def clustered_share(
    at_s: Floats, counted: Floats, *, start_s: float, end_s: float, memory_s: float = MEMORY_S
) -> ClusteredShare:
    """Count what is 1 in `counted`, at the times `at_s` of a stretch that holds them all.

    Raises ValueError where there is no request.
    """
    if at_s.size == 0:
        raise ValueError("a share of nothing has no interval")
    place = ((at_s - start_s) * (WINDOWS / (end_s - start_s))).astype(np.int64)
    place = place.clip(0, WINDOWS - 1)
    requests = np.bincount(place, minlength=WINDOWS).astype(np.float64)
    hits = np.bincount(place, weights=counted, minlength=WINDOWS)
    share = float(counted.mean())
    independent = at_s.size * share * (1 - share)
    surplus = hits - share * requests
    spreads = [(1.0, 1)]
    if independent > 0:
        for clusters in _CLUSTERS:
            variance = clusters * float(np.var(merged(surplus, clusters), ddof=1))
            spreads.append((variance / independent, clusters - 1))
        waves = cosine_waves(guard_of(end_s - start_s, memory_s))
        if len(waves):
            variance = 2 * float(np.mean((waves @ surplus) ** 2))
            spreads.append((variance / independent, len(waves)))
    return ClusteredShare(
        requests=at_s.size, counted=round(float(counted.sum())), spreads=tuple(spreads)
    )
