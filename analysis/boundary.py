"""Between which rates does the SLO break, where about, and how: from what each rate showed."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from analysis.results.capacity import CapacityEnd, LimitAtRate, RateFound

CLIFF = 10.0
"""At the first rate that breaks the SLO so many times more requests miss than may, and the
boundary is a cliff: nothing warns of it."""
WIDEST = 4
"""The search bisects to two resolutions around what cannot be told, and the lower end is a pass
further down, two at most."""
_GAVE_UP = ("unresolved", "too_long")
_ROUNDING = 1e-3
"""Rates are tried with four digits."""


class Boundary(NamedTuple):
    """Of the rates that keep the SLO the last but one, the first that breaks it, what lies between.

    Of the many rates that a search tries near the boundary the highest that passed may have been
    lucky; two seldom are. On a ladder, and where none broke the SLO, it is the last.

    `rate_rps` is the estimate between the two, `limit` the metric that breaks first.
    """

    end: CapacityEnd
    low: RateFound | None
    high: RateFound | None
    rate_rps: float | None = None
    limit: str | None = None


def boundary(
    rates: Sequence[RateFound], resolution: float | None, search_end: str | None
) -> Boundary:
    """Find the boundary; wider than `WIDEST` resolutions it is undecided, unless that is `None`.

    So it is where the search gave up, however near the ends are. That nothing passed or nothing
    failed is an answer only where the search ended for it, or a ladder was tried to its end.
    """
    found = sorted(rates, key=lambda rate: rate.rate_rps)
    high = next((rate for rate in found if rate.call in ("fail", "client")), None)
    below = found if high is None else found[: found.index(high)]
    passed = [rate for rate in below if rate.call == "pass"]
    is_searched = high is not None and search_end != "ladder"
    low = passed[-2] if is_searched and len(passed) > 1 else passed[-1] if passed else None
    if any(rate.call == "invalid" for rate in found):
        return Boundary("invalid", low, high)
    if high is not None and high.call == "client":
        return Boundary("client", low, high)
    if low is None or high is None:
        one_sided: CapacityEnd = "no_pass" if low is None else "no_fail"
        is_open = any(rate.call == "unresolved" for rate in found)
        if is_open or search_end not in (one_sided, "ladder"):
            return Boundary("undecided", low, high)
        return Boundary(one_sided, low, high)
    between = [rate for rate in found if low.rate_rps <= rate.rate_rps <= high.rate_rps]
    rate_rps, limit = _first_crossing(between)
    width = high.rate_rps / low.rate_rps
    is_wide = resolution is not None and width > (1 + resolution) ** WIDEST + _ROUNDING
    if is_wide or search_end in _GAVE_UP:
        return Boundary("undecided", low, high, rate_rps, limit)
    breaks = max((_share(each) / each.allowed for each in high.limits), default=0.0)
    is_cliff = breaks > CLIFF or 2 * high.saturated > high.probes
    # Between two rungs of a ladder there may lie any slope.
    end: CapacityEnd = "cliff" if is_cliff and search_end != "ladder" else "smooth"
    return Boundary(end, low, high, rate_rps, limit)


def _first_crossing(rates: Sequence[RateFound]) -> tuple[float, str | None]:
    """Interpolate where the share missed passes what may miss, log against log; the first limit."""
    crossings = []
    for below, above in pairwise(rates):
        for one, other in zip(below.limits, above.limits, strict=True):
            here, there = (math.log(_share(each) / each.allowed) for each in (one, other))
            if there > 0:
                along = min(max(-here / (there - here), 0.0), 1.0) if here < 0 else 0.0
                factor = (above.rate_rps / below.rate_rps) ** along
                crossings.append((below.rate_rps * factor, one.metric))
    return min(crossings, default=(rates[-1].rate_rps, None))


def _share(limit: LimitAtRate) -> float:
    """Give the share missed, never quite none."""
    return (limit.missed + 0.5) / (limit.requests + 1)
