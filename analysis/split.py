"""Whether the endpoint split the traffic as its weights say: sample ratio mismatch (SRM).

A mismatch means that requests are lost or routed otherwise, so that the arms no longer saw the same
traffic, and no difference between them can be believed. Count every routed request, the failed ones
too. Where sessions stick to a variant, count sessions.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import chdtrc, gammaln, ndtri, xlogy

ALARM = 0.001
"""The p-value below which a split is an alarm: in one sound run of a thousand."""
_DETERMINISTIC = 0.999
_POWER = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """How the requests were split, and how they should have been."""

    state: Literal["ok", "mismatch", "deterministic", "untested"]
    finding: str
    p_value: float | None = None


def traffic_split(routed: Mapping[str, int], weights: Mapping[str, float]) -> Split:
    """Compare counts of requests per variant with the weights, by Pearson's chi-square test.

    A variant without a weight counts as having weight 0, and a request to it is an alarm by itself.
    "deterministic" is a split too even to be random; it is not an alarm.
    """
    names = sorted({*routed, *weights})
    weighted = [name for name in names if weights.get(name, 0) > 0]
    total, total_weight = sum(routed.values()), sum(weights[name] for name in weighted)
    observed = {name: routed.get(name, 0) for name in names}
    expected = {
        name: total * weights[name] / total_weight if name in weighted else 0.0 for name in names
    }
    counted = "; ".join(f"{n} {observed[n]:,}, expected {expected[n]:,.0f}" for n in names)
    strays = [name for name in names if name not in weighted and observed[name]]
    if strays:
        said = f"{' and '.join(strays)} got requests at weight 0 ({counted})"
        return Split(state="mismatch", finding=said)
    if total == 0 or len(weighted) < 2:
        said = "no split to test: fewer than two variants took part"
        return Split(state="untested", finding=said)
    squares = sum((observed[n] - expected[n]) ** 2 / expected[n] for n in weighted)
    p_value = float(chdtrc(len(weighted) - 1, squares))  # Pearson's chi-square test
    loss = _smallest_loss(total, min(weights[name] for name in weighted) / total_weight)
    if p_value < ALARM:
        said = f"the split is not that of the weights (p {p_value:.2g}: {counted})"
        return Split(state="mismatch", finding=said, p_value=p_value)
    power = (
        "too few requests to notice even the loss of the smallest variant"
        if loss is None
        else f"a loss of {loss:.1%} of the smallest variant's requests shows four times in five"
    )
    # Of few requests chance gives the evenest split often: it is as likely as this one or more.
    n, shares = (np.array([of[name] for name in weighted]) for of in (observed, weights))
    log_chance = gammaln(total + 1) + (xlogy(n, shares / total_weight) - gammaln(n + 1)).sum()
    if p_value > _DETERMINISTIC and log_chance < math.log(1 - _DETERMINISTIC):
        said = f"too even to be drawn at random (p {p_value:.5f}: {counted}); {power}"
        return Split(state="deterministic", finding=said, p_value=p_value)
    said = f"in keeping with the weights (p {p_value:.2g}: {counted}); {power}"
    return Split(state="ok", finding=said, p_value=p_value)


def _smallest_loss(total: int, share: float) -> float | None:
    """Give the share of its requests that a variant must lose to be noticed four times in five.

    `None`: even the loss of all would pass. By the normal approximation, where the loss moves the
    count by total x share x loss.
    """
    z = float(ndtri(1 - ALARM / 2) + ndtri(_POWER))
    loss = z / math.sqrt(total * share * (1 - share))
    return loss if loss < 1 else None
