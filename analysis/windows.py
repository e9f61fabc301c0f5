"""Two arms' values cut into windows of time and sorted once, so that any threshold is counted fast.

Counting the values beyond a threshold in every window at once takes two binary searches, however
many values there are.
"""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

WINDOWS = 60

_WORTH_A_THREAD = 200_000
_TIE = 1e-12
"""Values this close, relatively, are the same: scaling must not part what is tied."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WindowedArm:
    """One arm's values, sorted once, with the window of each.

    `places` is window x size + rank in `ordered`, ascending. `counts` and `sums` are per window.
    """

    ordered: Floats
    places: Ints
    counts: Floats
    sums: Floats
    variance: float

    @property
    def size(self) -> int:
        """How many values there are."""
        return self.ordered.size

    @property
    def mean(self) -> float:
        """The mean of all values."""
        return float(self.sums.sum()) / self.size

    def quantile(self, quantile: float) -> float:
        """The smallest value that at least this share of the values do not exceed."""
        return float(self.ordered[_rank(quantile, self.size) - 1])

    def beyond(self, threshold: float, share: float) -> Floats:
        """How many values lie above a threshold, per window.

        Of the values tied with it a part counts as above: the part that brings this arm nearest to
        `share` above in all. Else two arms with the same quantile on a coarse clock would differ.
        """
        first_tied = int(np.searchsorted(self.ordered, threshold * (1 - _TIE)))
        first_above = int(np.searchsorted(self.ordered, threshold * (1 + _TIE), side="right"))
        above = self._from_rank(first_above)
        if first_tied == first_above:
            return above
        wanted = share * self.size - (self.size - first_above)
        part = min(max(wanted / (first_above - first_tied), 0.0), 1.0)
        return above + part * (self._from_rank(first_tied) - above)

    def first_places(self, rank: int) -> Ints:
        """Where in `places` the values of at least this rank begin, per window."""
        return np.searchsorted(self.places, np.arange(WINDOWS) * self.size + rank)

    def _from_rank(self, rank: int) -> Floats:
        return np.asarray(np.cumsum(self.counts) - self.first_places(rank))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample:
    """Two arms that ran side by side for `span_s` seconds, cut into the same windows."""

    baseline: WindowedArm
    arm: WindowedArm
    span_s: float

    @property
    def smaller(self) -> int:
        """The number of values in the smaller arm."""
        return min(self.baseline.size, self.arm.size)

    def pooled_quantile(self, quantile: float, arm_scale: float) -> float:
        """The quantile of both arms' values together, the arm's multiplied by `arm_scale`."""
        a, b = self.baseline.ordered, self.arm.ordered
        rank = _rank(quantile, a.size + b.size)
        low, high = max(0, rank - b.size), min(rank, a.size)
        while low < high:  # how many of the `rank` smallest are the baseline's
            middle = (low + high) // 2
            if a[middle] < b[rank - middle - 1] * arm_scale:
                low = middle + 1
            else:
                high = middle
        largest = [a[low - 1]] if low else []
        largest += [b[rank - low - 1] * arm_scale] if rank > low else []
        return float(max(largest))


def windowed(
    baseline: ArrayLike,
    baseline_at_s: ArrayLike,
    arm: ArrayLike,
    arm_at_s: ArrayLike,
    *,
    start_s: float,
    end_s: float,
) -> Sample:
    """Sort two arms' values into equal windows of the time they ran side by side.

    `*_at_s` are the scheduled times that decide the window; for paired requests pass the pair's
    time for both. Values scheduled outside start_s..end_s are left out. Raises ValueError for a
    value that is not finite or is negative, a time that is not finite, and an empty span.
    """
    given = (baseline, arm), (baseline_at_s, arm_at_s), (start_s, start_s), (end_s, end_s)
    if np.size(baseline) < _WORTH_A_THREAD:
        arms = [_windowed_arm(*each) for each in zip(*given, strict=True)]
    else:
        with ThreadPoolExecutor(2) as threads:  # sorting leaves the other core free
            arms = list(threads.map(_windowed_arm, *given))
    return Sample(baseline=arms[0], arm=arms[1], span_s=end_s - start_s)


def merged(per_window: Floats, windows: int) -> Floats:
    """Add up neighbouring windows until `windows` are left; `windows` divides WINDOWS."""
    return np.asarray(per_window.reshape(windows, -1).sum(axis=1))


def differences(
    baseline_counts: Floats, baseline_totals: Floats, arm_counts: Floats, arm_totals: Floats
) -> Floats:
    """Split how far the arm's mean exceeds the baseline's into what each window adds to it.

    Each request counts by how far it is from the pooled mean, so that a window in which one arm
    merely had more requests contributes nothing.
    """
    baseline_n, arm_n = baseline_counts.sum(), arm_counts.sum()
    pooled = (baseline_totals.sum() + arm_totals.sum()) / (baseline_n + arm_n)
    baseline = (baseline_totals - pooled * baseline_counts) / baseline_n
    return np.asarray((arm_totals - pooled * arm_counts) / arm_n - baseline)


def _windowed_arm(values: ArrayLike, at_s: ArrayLike, start_s: float, end_s: float) -> WindowedArm:
    inside, window = _inside(np.asarray(at_s, dtype=np.float64), start_s, end_s)
    given = np.asarray(values)[inside]
    order = np.argsort(given, kind="stable" if given.dtype == np.bool_ else None)
    kept = given.astype(np.float64, copy=False)
    if not (np.isfinite(kept).all() and (kept >= 0).all()):
        raise ValueError("every value must be a finite number that is not negative")
    # A stable sort of single bytes is a radix sort: this one groups the ranks by window and keeps
    # them ascending within each.
    rank = np.argsort(window[order], kind="stable")
    counts = np.bincount(window, minlength=WINDOWS)
    return WindowedArm(
        ordered=kept[order],
        places=rank + np.repeat(np.arange(WINDOWS) * kept.size, counts),
        counts=counts.astype(np.float64),
        sums=np.bincount(window, weights=kept, minlength=WINDOWS).astype(np.float64),
        variance=float(kept.var()) if kept.size else 0.0,
    )


def _inside(
    at_s: Floats, start_s: float, end_s: float
) -> tuple[NDArray[np.bool_], NDArray[np.uint8]]:
    """Which times lie in the span, and the window of each of those."""
    if not (np.isfinite(at_s).all() and end_s > start_s):
        raise ValueError("every time must be finite, and the span must end after it starts")
    inside = (at_s >= start_s) & (at_s <= end_s)
    window = ((at_s[inside] - start_s) * (WINDOWS / (end_s - start_s))).astype(np.uint8)
    return inside, np.minimum(window, np.uint8(WINDOWS - 1))


def _rank(quantile: float, size: int) -> int:
    """The rank, counted from 1, of this quantile among so many values."""
    return max(1, math.ceil(quantile * size - 1e-9))
