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
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Call = Literal["pass", "fail", "unresolved", "client", "invalid"]
"""What all probes at one rate show together: whether the SLO is kept. client: the generator was
in the way. invalid: the endpoint was not the same throughout, or the probe was not whole."""

End = Literal["bracketed", "no_pass", "no_fail", "unresolved", "too_long", "ladder", "invalid"]
"""unresolved: too many rates cannot be told. too_long: it took too many probes."""

Why = Literal["ladder", "double", "halve", "bisect", "extend", "confirm", "replicate"]

MOST_PROBES = 45
MOST_AT_A_RATE = 4
"""So often a rate is tried before it counts as one that cannot be told; each time as long as all
times before, together."""
MOST_OPEN = 5
"""So many rates that cannot be told, and the bracket still wider than `HOPELESS` resolutions: more
of them narrow nothing."""
HOPELESS = 5
MOST_OF_CLIENT = 3
"""So often a rate is tried at which the generator is in the way: once may be a hiccup of its."""
MOST_HALVINGS = 5
HIGHEST_RATE_RPS = 50_000.0


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A probe that was made, and what all probes at its rate show together by now."""

    rate_rps: float
    length_s: float
    call: Call


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """Why the search ends."""

    end: End


def next_probe(history: Sequence[Made], asked: Asked) -> Probe | Done:
    """Say what to try after this history, or that there is nothing left to try."""
    if any(made.call == "invalid" for made in history):
        return Done(end="invalid")
    if asked.ladder:
        if len(history) == len(asked.ladder):
            return Done(end="ladder")
        return _probe(asked.ladder[len(history)], asked, "ladder")
    if not history:
        return _probe(asked.start_rps, asked, "double")
    if len(history) >= MOST_PROBES:
        return Done(end="too_long")
    last = history[-1]
    tries = Counter(made.rate_rps for made in history)
    if last.call == "client" and tries[last.rate_rps] < MOST_OF_CLIENT:
        return _probe(last.rate_rps, asked, "extend")
    if last.call == "unresolved" and tries[last.rate_rps] < MOST_AT_A_RATE:
        length_s = sum(made.length_s for made in history if made.rate_rps == last.rate_rps)
        return Probe(rate_rps=last.rate_rps, length_s=length_s, why="extend")
    calls = {made.rate_rps: made.call for made in history}
    low, high = bracket(calls)
    open_rates = [rate for rate in calls if (low or 0) < rate < (high or math.inf)]
    widest = (1 + asked.resolution) ** (2 if open_rates else 1)
    is_wide = low is None or high is None or high / low > widest
    is_hopeless = low is None or high is None or high / low > (1 + asked.resolution) ** HOPELESS
    if is_hopeless and sum(call == "unresolved" for call in calls.values()) >= MOST_OPEN:
        return Done(end="unresolved")
    if high is None:
        return _above(calls, asked)
    if low is None:
        return _below(calls, asked)
    following = _between(open_rates, low, high, asked) if is_wide else None
    return following or _below_it(calls, low, asked) or _again(history, (low, high), asked)


def bracket(calls: dict[float, Call]) -> tuple[float | None, float | None]:
    """Give the highest rate that passes below all that do not, and the lowest that fails."""
    high = min((rate for rate, call in calls.items() if call in ("fail", "client")), default=None)
    passed = [rate for rate, call in calls.items() if call == "pass"]
    return max((rate for rate in passed if high is None or rate < high), default=None), high


def _above(calls: dict[float, Call], asked: Asked) -> Probe | Done:
    top = max(calls)
    # Where it can no longer be told, the boundary is near.
    rate = top * (2 if calls[top] == "pass" else 1 + 2 * asked.resolution)
    if rate > HIGHEST_RATE_RPS:
        return Done(end="no_fail")
    return _probe(rate, asked, "double")


def _below(calls: dict[float, Call], asked: Asked) -> Probe | Done:
    bottom = min(calls)
    rate = bottom / (1 + 2 * asked.resolution if calls[bottom] == "unresolved" else 2)
    if rate < asked.start_rps / 2**MOST_HALVINGS:
        return Done(end="no_pass")
    return _probe(rate, asked, "halve")


def _between(open_rates: list[float], low: float, high: float, asked: Asked) -> Probe | None:
    """Halve the wider of the gaps beside what cannot be told; close to it, nothing can be."""
    gaps = [(low, min(open_rates, default=high)), (max(open_rates, default=low), high)]
    below, above = max(gaps, key=lambda gap: gap[1] / gap[0])
    if above / below <= 1 + asked.resolution / 2:
        return None
    return _probe(math.sqrt(below * above), asked, "bisect")


def _below_it(calls: dict[float, Call], low: float, asked: Asked) -> Probe | None:
    """Look for a second rate that passes, not far below the highest."""
    step = 1 + asked.resolution
    second = max((r for r, call in calls.items() if call == "pass" and r < low), default=0.0)
    lowest = min(rate for rate in calls if second < rate <= low)
    if second * step**2 >= low or second * math.sqrt(step) >= lowest / step:
        return None
    return _probe(lowest / step, asked, "confirm")


def _again(history: Sequence[Made], ends: tuple[float, float], asked: Asked) -> Probe | Done:
    times = {rate: sum(made.rate_rps == rate for made in history) for rate in ends}
    calls = {made.rate_rps: made.call for made in history}
    left = [r for r in ends if times[r] < asked.replicates and calls[r] != "client"]
    if not left:
        return Done(end="bracketed")
    rng = np.random.default_rng([asked.seed, len(history)])
    return _probe(float(rng.choice(left)), asked, "replicate")


def _probe(rate_rps: float, asked: Asked, why: Why) -> Probe:
    rate_rps = float(f"{rate_rps:.4g}")
    length_s = max(asked.probe_s, asked.fewest_requests / rate_rps)
    return Probe(rate_rps=rate_rps, length_s=length_s, why=why)
