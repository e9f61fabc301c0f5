"""How many runs does a verdict on several runs take: before they are made, and once there are some?

A t-test's power is taken as that of an estimate spread as Student's t (Chow, Shao and Wang 2008,
Sample size calculations in clinical research, 3.2).
"""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

from analysis.noise import ENOUGH_BEYOND, precision
from analysis.render import format as fmt
from analysis.results.comparison import Difference
from analysis.runs import ERROR_RATE, Design
from analysis.scatter import lognormal_variance
from analysis.verdict import ALPHA
from analysis.windows import Floats
from experiments.plan import Plan
from experiments.units import quantile_of

FEWEST_RUNS = 3
ASSUMED_SPREAD = 0.03
"""Of log latency between runs, where no baseline shows it: it is of this order on such machines."""
_REQUEST_SPREAD = 0.5
_MOST_RUNS = 200
_MOST_MORE_RUNS = 100
_POWER = 0.8
_Runs = int | NDArray[np.int_]


def more_runs(
    item: Difference, runs: tuple[int, int], design: Design, *, one_sided: bool = False
) -> str:
    """Say how many more runs would settle an undecided metric, were they like those there are.

    `runs` are those of the baseline and of the arm. `one_sided` passes whatever is not worse.
    """
    before, after = runs
    if item.precision == "imprecise":
        fewer = min(runs)
        more = math.ceil(ENOUGH_BEYOND * fewer / item.tail_requests) - fewer
        whose = "a side" if before == after else "of the side that has fewer"
        return _would_settle(more, whose)
    is_share = item.unit == "share"
    estimate = item.difference if is_share else item.ratio
    if estimate is None:
        return "there is no interval"

    def scaled(value: float | None) -> float:
        assert value is not None  # Student's intervals have two ends
        return value if is_share else math.log(value)

    change, margin = scaled(estimate.value), item.margin or 0.0
    margin = margin if is_share else math.log1p(margin)
    size = change if one_sided else abs(change)
    if size < margin:
        interval, tail, room = estimate.interval_90, 0.95, margin - size
    else:
        # Holm's correction of this metric goes on as it is.
        interval, room = estimate.interval, size
        tail = 1 - ALPHA / 2 * (item.p_value or 1) / (item.p_value_holm or item.p_value or 1)
    half = (scaled(interval.high) - scaled(interval.low)) / 2
    now = stdtrit(_freedom(before, after, design), (1 + interval.level) / 2)
    spread = half / (now * _root(before, after, design))
    more_of = np.arange(1, _MOST_MORE_RUNS + 1)
    ways = {"a side": (before + more_of, after + more_of)}
    if before != after:
        ways = {"of the candidate": (before + 0 * more_of, after + more_of), **ways}
    for whose, (b, a) in ways.items():
        reach = stdtrit(_freedom(b, a, design), tail) * spread * _root(b, a, design)
        if (reach < room).any():
            settles = _would_settle(int(more_of[(reach < room).argmax()]), whose)
            return f"{settles} if they come out like these (to count on it takes more)"
    return "it lies at the margin, and no sensible number of runs would settle it"


def _would_settle(more: int, whose: str) -> str:
    return f"about {more} more {'run' if more == 1 else 'runs'} {whose} would settle it"


def _freedom(before: _Runs, after: _Runs, design: Design) -> _Runs:
    return after - 1 if design == "blocks" else before + after - 2


def _root(before: _Runs, after: _Runs, design: Design) -> Floats:
    """Give the standard error of a difference whose spread is 1."""
    of_both = 0 if design == "blocks" else 1 / np.asarray(before)
    return np.sqrt(1 / np.asarray(after) + of_both)


def runs_needed(spread: float, margin: float, design: Design, guarded: int = 1) -> tuple[int, int]:
    """Give the fewest runs a side that pass an equal candidate, and that fail twice the margin.

    Each at least four times in five. `spread` is the standard deviation of log latency over the
    runs of a side, in blocks that of the difference between the arms. Of the `guarded` metrics one
    is worse, so that Holm holds it to the strictest level. A change of the margin itself fails in
    at most half of all gates, however many runs they have.
    """
    runs = np.arange(FEWEST_RUNS, _MOST_RUNS)
    freedom, error = _freedom(runs, runs, design), spread * _root(runs, runs, design)
    often = stdtrit(freedom, _POWER)
    at, twice = math.log1p(margin), math.log1p(2 * margin)
    passes = (stdtrit(freedom, 0.95) + often) * error <= at
    shown = (stdtrit(freedom, 1 - ALPHA / 2 / guarded) + often) * error <= twice
    fails = shown & (often * error <= twice - at)
    to_pass, to_fail = (
        int(runs[enough.argmax()]) if enough.any() else _MOST_RUNS for enough in (passes, fails)
    )
    return to_pass, to_fail


def foreseen_runs(plan: Plan, seen: Mapping[str, float] | None = None) -> tuple[str, ...]:
    """Say which guarded metrics so many runs of this rate and length cannot decide.

    `seen` are the spreads of an earlier baseline, in the plan's design. Where there are none, they
    are taken to be 3 % beside what the number of requests adds, for lognormal latencies with a
    spread of 0.5.
    """
    asked, traffic = plan.gate, plan.traffic
    runs, said = asked.runs_per_side, []
    if runs < FEWEST_RUNS:
        said.append(
            f"Note: regression.runs_per_side is {runs}; below {FEWEST_RUNS} it ends in cannot tell."
        )
    is_blocks = asked.order == "blocks" and len(plan.arms) > 1
    design: Design = "blocks" if is_blocks else "separate"
    shares = [arm.share for arm in plan.arms.values()]
    part = min(shares) / sum(shares) if is_blocks else 1.0
    requests = (traffic.rate_rps or math.inf) * traffic.measured_s * part
    for metric, margin in asked.guarded.items():
        name = f"Note: regression.margins guards {fmt.metric_word(metric)}"
        if metric == ERROR_RATE:
            needed = float(ndtri(0.95)) ** 2 * (1 / margin - 1)
            if runs * requests < needed:
                said.append(
                    f"{name} at {margin:.2%}, which takes {needed:,.0f} requests a side; the plan "
                    f"sends about {runs * requests:,.0f}. It ends in cannot tell."
                )
            continue
        quantile = quantile_of(metric)
        if quantile is not None and math.isfinite(requests):
            tail = runs * requests * min(quantile, 1 - quantile)
            if precision(int(tail + 1e-6)) != "enough":
                said.append(
                    f"{name}: about {math.floor(tail + 1e-6)} requests of a side lie beyond it; "
                    f"it takes {ENOUGH_BEYOND}. It ends in cannot tell."
                )
                continue
        if seen and metric in seen:
            spread, source = seen[metric], "as in the runs of the baseline"
        else:
            sampling = lognormal_variance(quantile, _REQUEST_SPREAD) / requests
            spread = math.hypot(ASSUMED_SPREAD, math.sqrt(sampling * (2 if is_blocks else 1)))
            source = f"assumed: {ASSUMED_SPREAD:.0%}, and what the number of requests adds"
        to_pass, to_fail = runs_needed(spread, margin, design, len(asked.guarded))
        if runs < max(to_pass, to_fail):
            what = "the arms' difference varies" if is_blocks else "runs of a side differ"
            said.append(
                f"{name} at {margin:.1%}. If {what} by {spread:.1%} ({source}), it takes "
                f"{to_pass} runs a side to pass an equal candidate four times in five, and "
                f"{to_fail} to fail one that is worse by twice the margin; "
                f"regression.runs_per_side is {runs}."
            )
    return tuple(said)
