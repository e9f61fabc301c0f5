"""Which rate to try next, given what was found so far: a pure function of the history.

Rates are doubled until one breaks the SLO, and the bracket is halved on the log of the rate until
it is as narrow as the resolution asks, or twice that around a rate that cannot be told. Then a
rate just below must pass too, for of many rates the highest that passed may have been lucky; and
the two ends are tried again, in random order, until each was tried as often as asked. A rate that
cannot be told is tried for longer, and then left aside. Whatever is tried again is judged together
with what was found at that rate before, so a judgement that was luck is taken back, and the search
goes on from there.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from experiments.plan import Plan
from experiments.slo import Threshold

Call = Literal["pass", "fail", "unresolved", "client", "invalid"]
"""What all probes at one rate show together: whether the SLO is kept. client: the generator was
in the way. invalid: the endpoint was not the same throughout, or the probe was not whole."""

End = Literal[
    "bracketed", "no_pass", "no_fail", "unresolved", "too_long", "ladder", "client", "invalid"
]
"""unresolved: too many rates cannot be told. too_long: it took too many probes. client: the
generator was in the way at the lowest rate."""

Why = Literal["ladder", "double", "halve", "bisect", "extend", "again", "confirm", "replicate"]

MOST_PROBES = 45
MOST_AT_A_RATE = 4
"""So often a rate is tried before it counts as one that cannot be told; each time as long as all
times before, together."""
MOST_OPEN = 5
"""So many rates that cannot be told, and the bracket still wider than `HOPELESS` resolutions: more
of them narrow nothing."""
HOPELESS = 5
MOST_OF_CLIENT = 3
"""So often a rate is tried at which the generator is in the way: once may be a hiccup of its.
The lowest is tried once less where the next above it, if any, was the generator's too: below them
there is seldom more."""
MOST_HALVINGS = 5
HIGHEST_RATE_RPS = 50_000.0
_SHOWS_A_SHARE = 3.0
"""So many may miss, at the least, of as many requests as can show a limit kept: -ln 5 %."""
_START = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is searched for; a probe lasts `probe_s`, or until `fewest_requests` are sent."""

    start_rps: float
    resolution: float
    probe_s: float
    fewest_requests: float
    replicates: int
    seed: int
    ladder: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One rate, for how long, and why."""

    rate_rps: float
    length_s: float
    why: Why


Calls = Mapping[float, Call]
"""What is known of each rate that was tried."""


def asked_of(plan: Plan, service_s: float | None = None) -> Asked:
    """Say what a plan searches for; without a rate of its own by what one user waits."""
    capacity = plan.capacity_asked
    ladder = tuple(capacity.ladder or ())
    start_rps = capacity.start_rate or next(iter(ladder), None)
    return Asked(
        start_rps=start_rps or _START / (service_s or 1.0),
        resolution=capacity.resolution,
        probe_s=capacity.probe,
        fewest_requests=_SHOWS_A_SHARE / min(each.allowed for each in thresholds_of(plan)),
        replicates=capacity.replicates,
        seed=plan.seed,
        ladder=ladder,
    )


def thresholds_of(plan: Plan) -> list[Threshold]:
    """Give the limits of the arm that is measured."""
    arm = plan.capacity_asked.measured_of(plan.arms)
    return [each for each in plan.thresholds if each.arm == arm]


def least_s(plan: Plan) -> float:
    """Give how long a search that finds both of its ends takes at the least, in seconds.

    It begins less than an octave below its answer, each rate is told at once, a probe that fails is
    stopped at its half, and at a first rate that is not given none is longer than asked.
    """
    asked = asked_of(plan)
    if plan.capacity_asked.start_rate is None and not asked.ladder:
        asked = replace(asked, start_rps=2 * asked.fewest_requests / asked.probe_s)
    besides_s = plan.traffic.warmup + plan.capacity_asked.cooldown
    octave = asked.start_rps * np.logspace(0, 1, 16, endpoint=False, base=2)
    return min(_lasts_s(asked, true, besides_s) for true in ([0.0] if asked.ladder else octave))


def _lasts_s(asked: Asked, true_rps: float, besides_s: float) -> float:
    made: list[Probe] = []
    calls: dict[float, Call] = {}
    lasts_s = 0.0
    while isinstance(probe := next_probe(made, calls, asked), Probe):
        is_kept = probe.rate_rps <= true_rps
        calls[probe.rate_rps] = "pass" if is_kept else "fail"
        made.append(probe)
        lasts_s += besides_s + probe.length_s / (1 if is_kept else 2)
    return lasts_s


def next_probe(made: Sequence[Probe], calls: Calls, asked: Asked) -> Probe | End:
    """Say what to try after these probes, or why there is nothing left to try."""
    if "invalid" in calls.values():
        return "invalid"
    if asked.ladder:
        if len(made) == len(asked.ladder):
            return "ladder"
        return _probe(asked.ladder[len(made)], asked, "ladder")
    if not made:
        return _probe(asked.start_rps, asked, "double")
    if len(made) >= MOST_PROBES:
        return "too_long"
    tries = Counter(probe.rate_rps for probe in made)
    last_rps = made[-1].rate_rps
    if calls[last_rps] == "client" and tries[last_rps] < MOST_OF_CLIENT:
        lowest = sorted(calls)[:2]
        is_lowest = last_rps == lowest[0] and {calls[rate] for rate in lowest} == {"client"}
        is_standing = is_lowest and tries[last_rps] == MOST_OF_CLIENT - 1
        return "client" if is_standing else _probe(last_rps, asked, "again")
    if calls[last_rps] == "unresolved" and tries[last_rps] < MOST_AT_A_RATE:
        length_s = sum(probe.length_s for probe in made if probe.rate_rps == last_rps)
        return Probe(rate_rps=last_rps, length_s=length_s, why="extend")
    low, high = bracket(calls)
    open_rates = [rate for rate in calls if (low or 0) < rate < (high or math.inf)]
    widest = (1 + asked.resolution) ** (2 if open_rates else 1)
    is_wide = low is None or high is None or high / low > widest
    is_hopeless = low is None or high is None or high / low > (1 + asked.resolution) ** HOPELESS
    if is_hopeless and sum(call == "unresolved" for call in calls.values()) >= MOST_OPEN:
        return "unresolved"
    if high is None:
        return _above(calls, asked)
    if low is None:
        return _below(calls, asked)
    following = _between(open_rates, low, high, asked) if is_wide else None
    if following := following or _below_it(calls, low, asked):
        return following
    left = [r for r in (low, high) if tries[r] < asked.replicates and calls[r] != "client"]
    if not left:
        return "bracketed"
    rng = np.random.default_rng([asked.seed, len(made)])
    return _probe(float(rng.choice(left)), asked, "replicate")


def bracket(calls: Calls) -> tuple[float | None, float | None]:
    """Give the highest rate that passes below all that do not, and the lowest that fails."""
    high = min((rate for rate, call in calls.items() if call in ("fail", "client")), default=None)
    passed = [rate for rate, call in calls.items() if call == "pass"]
    return max((rate for rate in passed if high is None or rate < high), default=None), high


def _above(calls: Calls, asked: Asked) -> Probe | End:
    top = max(calls)
    # Where it can no longer be told, the boundary is near.
    rate = top * (2 if calls[top] == "pass" else 1 + 2 * asked.resolution)
    if rate > HIGHEST_RATE_RPS:
        return "no_fail"
    return _probe(rate, asked, "double")


def _below(calls: Calls, asked: Asked) -> Probe | End:
    bottom = min(calls)
    rate = bottom / (1 + 2 * asked.resolution if calls[bottom] == "unresolved" else 2)
    if rate < asked.start_rps / 2**MOST_HALVINGS:
        return "no_pass"
    return _probe(rate, asked, "halve")


def _between(open_rates: list[float], low: float, high: float, asked: Asked) -> Probe | None:
    """Halve the wider of the gaps beside what cannot be told; close to it, nothing can be."""
    gaps = [(low, min(open_rates, default=high)), (max(open_rates, default=low), high)]
    below, above = max(gaps, key=lambda gap: gap[1] / gap[0])
    if above / below <= 1 + asked.resolution / 2:
        return None
    return _probe(math.sqrt(below * above), asked, "bisect")


def _below_it(calls: Calls, low: float, asked: Asked) -> Probe | None:
    """Look for a second rate that passes, not far below the highest."""
    step = 1 + asked.resolution
    second = max((r for r, call in calls.items() if call == "pass" and r < low), default=0.0)
    lowest = min(rate for rate in calls if second < rate <= low)
    if second * step**2 >= low or second * math.sqrt(step) >= lowest / step:
        return None
    return _probe(lowest / step, asked, "confirm")


def _probe(rate_rps: float, asked: Asked, why: Why) -> Probe:
    rate_rps = float(f"{rate_rps:.4g}")
    length_s = max(asked.probe_s, asked.fewest_requests / rate_rps)
    return Probe(rate_rps=rate_rps, length_s=length_s, why=why)
