"""Two arms' values cut into windows of time and sorted once, so that any threshold is counted fast.

Counting the values beyond a threshold then takes a binary search a window, however many values
there are.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Windows = NDArray[np.uint8]
"""The window of each value; WINDOWS is none of them."""

WINDOWS = 60

_TIE = 1e-12
"""Values this close, relatively, are the same: scaling must not part what is tied."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Totals:
    """How many values of an arm each window has, and their sum."""

    counts: Floats
    sums: Floats

    @property
    def size(self) -> int:
        """How many values there are."""
        return round(float(self.counts.sum()))

    @property
    def mean(self) -> float:
        """The mean of all values."""
        return float(self.sums.sum()) / self.size


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WindowedArm(Totals):
    """One arm's values: all of them `ordered`, and each window's `parts`; both ascend."""

    ordered: Floats
    parts: tuple[Floats, ...]
    variance: float

    def quantile(self, quantile: float) -> float:
        """The smallest value that at least this share of the values do not exceed."""
        return float(self.ordered[_rank(quantile, self.size) - 1])

    def beyond(self, threshold: float, share: float) -> Floats:
        """How many values lie above a threshold, per window.

        Of the values tied with it a part counts as above: the part that brings this arm nearest to
        `share` above in all. Else two arms with the same quantile on a coarse clock would differ.
        """
        tied, beyond = threshold * (1 - _TIE), threshold * (1 + _TIE)
        first_tied = int(np.searchsorted(self.ordered, tied))
        first_above = int(np.searchsorted(self.ordered, beyond, side="right"))
        above = self.counts - ranks(self.parts, beyond, "right")
        if first_tied == first_above:
            return above
        wanted = share * self.size - (self.size - first_above)
        part = min(max(wanted / (first_above - first_tied), 0.0), 1.0)
        return above + part * (self.counts - ranks(self.parts, tied) - above)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rates:
    """What two arms that ran side by side for `span_s` seconds come to, in the same windows."""

    baseline: Totals
    arm: Totals
    span_s: float

    @property
    def smaller(self) -> int:
        """The number of values in the smaller arm."""
        return min(self.baseline.size, self.arm.size)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample(Rates):
    """The same with each of the values."""

    baseline: WindowedArm
    arm: WindowedArm

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
    arms = []
    for values, at_s in ((baseline, baseline_at_s), (arm, arm_at_s)):
        window = windows_of(np.asarray(at_s, dtype=np.float64), start_s, end_s)
        inside = window < WINDOWS
        arms.append(windowed_arm(np.asarray(values, dtype=np.float64)[inside], window[inside]))
    return Sample(baseline=arms[0], arm=arms[1], span_s=end_s - start_s)


def windowed_arm(values: Floats, window: Windows) -> WindowedArm:
    """Sort one arm's values, which are taken over: they are not the caller's any more."""
    if not (np.isfinite(values).all() and (values >= 0).all()):
        raise ValueError("every value must be a finite number that is not negative")
    variance = float(values.var()) if values.size else 0.0
    ordered = np.sort(values)
    if (window[1:] < window[:-1]).any():  # of no schedule; a stable sort of bytes is a radix sort
        by_window = np.argsort(window, kind="stable")
        values, window = values[by_window], window[by_window]
    parts = np.split(values, np.searchsorted(window, np.arange(1, WINDOWS, dtype=np.uint8)))
    sums = [float(np.cumsum(part)[-1]) if part.size else 0.0 for part in parts]
    for part in parts:
        part.sort()
    return WindowedArm(
        counts=np.array([part.size for part in parts], dtype=np.float64),
        sums=np.array(sums),
        ordered=ordered,
        parts=tuple(parts),
        variance=variance,
    )


def windows_of(at_s: Floats, start_s: float, end_s: float) -> Windows:
    """Give the window of each time; WINDOWS where it lies outside the span.

    Raises ValueError for a time that is not finite, and an empty span.
    """
    if not (np.isfinite(at_s).all() and end_s > start_s):
        raise ValueError("every time must be finite, and the span must end after it starts")
    place = ((at_s - start_s) * (WINDOWS / (end_s - start_s))).clip(0, WINDOWS - 1)
    return np.where((at_s >= start_s) & (at_s <= end_s), place.astype(np.uint8), np.uint8(WINDOWS))


def ranks(parts: Sequence[Floats], value: float, side: Literal["left", "right"] = "left") -> Ints:
    """How many values of each ascending part lie below one; on the right, or are the same."""
    return np.array([part.searchsorted(value, side) for part in parts])


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


def _rank(quantile: float, size: int) -> int:
    """The rank, counted from 1, of this quantile among so many values."""
    return max(1, math.ceil(quantile * size - 1e-9))
