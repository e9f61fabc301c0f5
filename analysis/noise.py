"""How likely is the sum of a score over windows of time, given how noisy the score is.

Requests close in time share their luck, so the unit is the time window and not the request. If two
arms are alike, swapping their names in any window changes nothing, so the summed score is compared
with its sums under random sign flips. Noise that outlasts a window is met by dividing the sum by an
AR(1) inflation, by judging on two widths of window, and on short runs by the equal-weighted-cosine
t-test (Müller 2007; Lazarus, Lewis, Stock and Watson 2018). Flips of W windows hold the difference
itself, so with an inflation above sqrt(W)/1.96 no sum is far out among them, however large it is;
where few independent windows are left, Student's t with so few degrees of freedom stands in.
"""

import functools
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.random import Generator
from scipy.special import stdtr

from analysis.windows import WINDOWS, Floats, merged
from experiments.plan import Plan

Signs = Floats
"""FLIPS x WINDOWS random signs, column by column in memory."""
Guard = Literal["none", "E4", "E2"]
Precision = Literal["enough", "imprecise", "refused"]

FLIPS = 10_000
ENOUGH_BEYOND = 50
"""Requests beyond a quantile, in the smaller arm, from which on it is precise."""
MEMORY_S = 10.0
"""How long noise is taken to last where no earlier run says otherwise."""

_SCALES = ((60, 20), (20,), (10,))
_REQUESTS_PER_WINDOW = 20
_FEWEST_WINDOWS = 10
_EXACT_WINDOWS = 10
_COSINES: dict[Guard, int] = {"none": 0, "E4": 4, "E2": 2}
_FEWEST_TO_FLIP = 5.0
"""So many independent windows must be left for flips to judge; below 1.96^2 they reject nothing."""
_FEWEST_FREEDOM = 2.0
"""As of the fewest cosines; with fewer an interval would have no end again."""
_TIE = 1e-9
_NOTHING = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why there is no verdict, with what can be stated all the same."""

    reason: str
    tail_requests: int = 0
    baseline_value: float | None = None
    arm_value: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Noise:
    """How noisy the summed score is, measured at the estimate and kept for every other ratio.

    Kept, so that a p-value falls below a level just where the interval of that level leaves out 1.
    `inflation` pairs each number of windows judged on with its AR(1) inflation; `deviation` is the
    standard deviation of the sum; `autocorrelation` is that of neighbouring windows, corrected for
    its bias; `design_effect` is the variance over that of independent requests. `label` and
    `warning` are to be said beside the verdict.
    """

    inflation: tuple[tuple[int, float], ...]
    cosines: Floats
    deviation: float
    autocorrelation: float
    design_effect: float
    guard: Guard
    label: str | None
    warning: str | None

    @property
    def windows(self) -> int:
        """The most windows judged on."""
        return self.inflation[0][0]

    @property
    def freedom(self) -> float:
        """The fewest degrees of freedom among the tests."""
        return min(
            self.cosines.size or WINDOWS,
            *(
                windows - 1 if flips_judge(windows, factor) else _freedom(windows, factor)
                for windows, factor in self.inflation
            ),
        )


def draw_signs(rng: Generator) -> Signs:
    """Random signs, drawn once for a whole analysis."""
    return np.asfortranarray(rng.integers(0, 2, (FLIPS, WINDOWS)) * 2.0 - 1.0)


def precision(tail_requests: int) -> Precision:
    """Whether so many requests beyond a quantile, in the smaller arm, carry a statement."""
    if tail_requests >= ENOUGH_BEYOND:
        return "enough"
    return "imprecise" if tail_requests >= 20 else "refused"


def memory_of(plan: Plan) -> float:
    """How long a plan takes noise to last."""
    return (plan.compare and plan.compare.memory) or MEMORY_S


def assumption(memory_s: float) -> str:
    """How long noise is taken to last, and why."""
    why = "as no earlier run says otherwise" if memory_s == MEMORY_S else "as the plan says"
    return f"noise is taken to last {memory_s:g} s, {why}"


def too_short(span_s: float, memory_s: float) -> Refusal | None:
    """Why a run of this length gets no verdict, if it gets none."""
    if not _below(span_s, 6 * memory_s):
        return None
    return Refusal(
        reason=f"The {span_s:.3g} s measured are shorter than six times the {memory_s:g} s that "
        "noise is taken to last."
    )


def guard_of(span_s: float, memory_s: float) -> Guard:
    """Which cosines guard a run that is short for how long its noise lasts."""
    if not _below(span_s, 60 * memory_s):
        return "none"
    return "E2" if _below(span_s, 12 * memory_s) else "E4"


def cosine_waves(guard: Guard) -> Floats:
    """The guard's slowest cosines over the finest windows, a row each."""
    midpoints = (np.arange(WINDOWS) + 0.5) / WINDOWS
    return np.asarray(np.cos(np.pi * np.outer(np.arange(1, _COSINES[guard] + 1), midpoints)))


def measure_noise(
    score: Floats,
    baseline_counts: Floats,
    arm_counts: Floats,
    *,
    span_s: float,
    memory_s: float,
    independent: float,
) -> Noise | Refusal:
    """How noisy the sum of a score is, or why that cannot be told.

    `score` and the counts of requests are per window; `independent` is the variance that the sum
    would have if requests were independent.
    """
    if refusal := too_short(span_s, memory_s):
        return refusal
    scales = _scales(baseline_counts, arm_counts)
    if isinstance(scales, Refusal):
        return scales
    if np.abs(score).max() < _NOTHING:
        return Refusal(reason="The values do not vary in time, so there is no noise to judge by.")
    guard = guard_of(span_s, memory_s)
    # The guard's cosines see only slow swings and each weighs the whole run, so no window of theirs
    # need hold many requests: they stay on the finest windows where the flips are on coarser ones.
    waves = cosine_waves(guard)
    correlations = [_autocorrelation(merged(score, windows)) for windows in scales]
    inflation = [math.sqrt((1 + r) / (1 - r)) for r in correlations]
    variance = max(
        windows * float(np.var(merged(score, windows), ddof=1)) * factor**2
        for windows, factor in zip(scales, inflation, strict=True)
    )
    return Noise(
        inflation=tuple(zip(scales, inflation, strict=True)),
        cosines=math.sqrt(2 / WINDOWS) * waves @ score,
        deviation=math.sqrt(variance),
        autocorrelation=correlations[0],
        design_effect=variance / independent,
        guard=guard,
        label="short run" if guard == "E2" else None,
        warning="The run is short for how long its noise lasts: run at least four times as long, "
        "or repeat it."
        if correlations[0] > 0.5 or not flips_judge(scales[-1], inflation[-1])
        else None,
    )


def score_p_value(score: Floats, noise: Noise, signs: Signs) -> float:
    """The two-sided p-value of a sum of 0: the largest of those the tests give."""
    p_values = [
        sign_flip_p(merged(score, windows), signs, inflation=inflation)
        if flips_judge(windows, inflation)
        else student_p(merged(score, windows), inflation=inflation)
        for windows, inflation in noise.inflation
    ]
    if noise.cosines.size:
        t = score.sum() / math.sqrt(WINDOWS * np.mean(noise.cosines**2))
        p_values.append(2 * float(stdtr(noise.cosines.size, -abs(t))))
    return max(p_values)


def flips_judge(windows: int, inflation: float) -> bool:
    """Whether enough independent windows are left for sign flips to judge by."""
    return windows / inflation**2 >= _FEWEST_TO_FLIP


def student_p(scores: Floats, *, inflation: float) -> float:
    """The p-value of Student's t, with a degree of freedom for each independent window but one."""
    total, error = abs(float(scores.sum())), math.sqrt(scores.size * float(np.var(scores, ddof=1)))
    t = total / max(inflation * error, _TIE * total) if total else 0.0
    return 2 * float(stdtr(_freedom(scores.size, inflation), -t))


def _freedom(windows: int, inflation: float) -> float:
    return max(windows / inflation**2 - 1, _FEWEST_FREEDOM)


def sign_flip_p(scores: Floats, signs: Signs, *, inflation: float = 1.0) -> float:
    """The share of sign flips whose sum is as far from 0 as the scores' own sum / inflation.

    Ten scores are flipped in all 2^10 ways, more in the ways that `signs` gives.
    """
    exact = scores.size <= _EXACT_WINDOWS
    flips = _all_signs(scores.size) if exact else signs[:, : scores.size]
    bound = abs(scores.sum()) / inflation - _TIE * np.abs(scores).sum()
    # Not `flips @ scores`: where cores are busy, the threads of a BLAS wait for each other.
    as_far = int(np.count_nonzero(np.abs(np.einsum("ij,j->i", flips, scores)) >= bound))
    return as_far / len(flips) if exact else (1 + as_far) / (1 + len(flips))


def _scales(baseline_counts: Floats, arm_counts: Floats) -> tuple[int, ...] | Refusal:
    """The numbers of windows to judge on: the most that the requests can fill."""
    fewest = min(baseline_counts.sum(), arm_counts.sum())
    for scales in _SCALES:
        baseline, arm = (merged(counts, scales[-1]) for counts in (baseline_counts, arm_counts))
        together = np.count_nonzero((baseline > 0) & (arm > 0))
        if fewest < _REQUESTS_PER_WINDOW * scales[0] or together < _FEWEST_WINDOWS:
            continue
        alone = baseline[arm == 0].sum() / baseline.sum(), arm[baseline == 0].sum() / arm.sum()
        if max(alone) > 0.1:
            return Refusal(reason="The arms did not run side by side, so they share no windows.")
        return scales
    return Refusal(
        reason=f"Fewer than {_FEWEST_WINDOWS} windows of time hold {_REQUESTS_PER_WINDOW} requests "
        "of each arm, side by side."
    )


def _autocorrelation(scores: Floats) -> float:
    """Lag-1 autocorrelation within 0 and 0.9, its bias taken out (Marriott and Pope, 1954)."""
    centred = scores - scores.mean()
    energy = float(centred @ centred)
    # What rounding leaves of equal scores has no autocorrelation.
    varies = energy > _TIE**2 * float(scores @ scores)
    r = float(centred[1:] @ centred[:-1]) / energy if varies else 0.0
    return min(max(r + (1 + 3 * max(r, 0.0)) / scores.size, 0.0), 0.9)


def _below(span_s: float, limit_s: float) -> bool:
    """Whether a span falls short of a limit, but for rounding in its ends."""
    return span_s < limit_s * (1 - 1e-9)


@functools.cache
def _all_signs(size: int) -> Signs:
    bits = (np.arange(2**size)[:, np.newaxis] >> np.arange(size)) & 1
    return np.asarray(bits * 2.0 - 1.0)
