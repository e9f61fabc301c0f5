"""What theory says of response times: Poisson arrivals at c workers behind one queue."""

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import poisson

Survival = Callable[[float], float]
"""The chance that a response time exceeds so many seconds."""

MDC_HIGHEST_LOAD = 0.995
"""The states of M/D/c that matter, and the time to solve for them, grow with 1 / (1 - load)."""

MDC_MOST_WORKERS = 1000
_TAIL = 12.0


def erlang_c(workers: int, offered: float) -> float:
    """Return the chance that a request must wait in M/M/c.

    `offered` is the arrival rate over the service rate of one worker; it must be below `workers`.
    By way of Erlang's B, whose recursion neither overflows nor cancels.
    """
    blocked = 1.0
    for number in range(1, workers + 1):
        blocked = offered * blocked / (number + offered * blocked)
    return blocked / (1 - offered / workers * (1 - blocked))


def mmc(rate_rps: float, mean_s: float, workers: int) -> Survival:
    """Return the survival of the response time in M/M/c: exponential service, first come first.

    The wait is 0, or with the chance of Erlang's C exponential at the rate of spare capacity; the
    service is independent of it.
    """
    service = 1 / mean_s
    spare = workers * service - rate_rps
    waits = erlang_c(workers, rate_rps * mean_s)

    def survival(t: float) -> float:
        alone = math.exp(-service * t)
        if math.isclose(spare, service, rel_tol=1e-6):
            both = (1 + service * t) * alone
        else:
            both = (spare * alone - service * math.exp(-spare * t)) / (spare - service)
        return (1 - waits) * alone + waits * both

    return survival


def mdc(rate_rps: float, service_s: float, workers: int) -> Survival:
    """Return the survival of the response time in M/D/c: constant service, first come first served.

    Method: G. J. Franx, A simple solution for the M/D/c waiting time distribution, Operations
    Research Letters 29 (2001); all of its terms are positive. The numbers in the system are those
    of Crommelin (1932): after one service time all that were served have gone. There may be up to
    `MDC_MOST_WORKERS`, at a load of up to `MDC_HIGHEST_LOAD`.
    """
    offered = rate_rps * service_s
    states = _states(offered, workers)
    # The chance that more than j requests wait, for j = 0, 1, 2 ...
    more = np.cumsum(states[:workers:-1])[::-1]

    def survival(t: float) -> float:
        wait = t - service_s
        if wait < 0:
            return 1.0
        turns = int(wait / service_s) + 1
        most = turns * workers - 1
        arrivals = poisson(rate_rps * (turns * service_s - wait))
        left = np.arange(min(most + 1, len(more)))
        return float(arrivals.sf(most) + arrivals.pmf(most - left) @ more[left])

    return survival


@lru_cache(maxsize=16)
def _states(offered: float, workers: int) -> NDArray[np.float64]:
    """Solve for the chances of 0, 1, 2 ... requests in the system, as far as they matter.

    Once all workers are busy, each is at most exp(-2 (1 - load)) times the one before: the last is
    about exp(-24).
    """
    size = workers + 64 + int(_TAIL / (1 - offered / workers))
    arrivals = poisson.pmf(np.arange(size), offered)
    step = np.zeros((size, size))
    for before in range(size):
        left = max(before - workers, 0)
        step[left:, before] = arrivals[: size - left]
    step[-1] += 1 - step.sum(axis=0)  # what lies beyond is held at the last state
    balance = step - np.eye(size)
    balance[-1] = 1.0
    return np.asarray(np.maximum(np.linalg.solve(balance, np.eye(size)[-1]), 0.0))


def quantile(survival: Survival, level: float, scale_s: float) -> float:
    """Return the time that a share `level` of the response times does not exceed, in seconds.

    `scale_s` is any time above 0 of about that size.
    """
    high = scale_s
    while survival(high) > 1 - level:
        high *= 2
    return float(brentq(lambda t: survival(t) - (1 - level), 0.0, high, xtol=1e-9 * high))
