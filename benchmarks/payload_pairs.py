"""Two arms that are sent the same payloads, in pairs, whose true ratio is known.

Log latency is what the payload costs (t with 5 degrees of freedom, standard deviation 0.6), which
both arms share, noise of each request (0.2), and noise in time as in `analysis.simulate`: none in
`iid`; in `ar` 10 % shared and 5 % of each arm's own, of 10 s memory; in `burst` a slow mode of four
times the latency in shared and in own episodes. Request k of one arm and of the other leave up to
half a second apart, in random order.
"""

import math

import numpy as np
from numpy.random import Generator
from scipy.signal import lfilter

from analysis.windows import Floats, Sample, windowed

NOISES = ("iid", "ar", "burst")
_GRID_S = 0.1


def payload_pairs(
    rng: Generator, noise: str, *, duration_s: float, rate_rps: float, effect: float = 1.0
) -> Sample:
    """Draw pairs, `rate_rps` a second; `effect` multiplies every latency of the arm."""
    pair_at_s = np.sort(rng.uniform(0, duration_s, rng.poisson(duration_s * rate_rps)))
    payload = rng.standard_t(5, pair_at_s.size) * 0.6 / math.sqrt(5 / 3)
    later_s = rng.uniform(0, 0.5, pair_at_s.size)
    baseline_first = rng.random(pair_at_s.size) < 0.5
    shared = _Noise(rng, noise, duration_s, spread=0.10)
    latencies = []
    for is_later in (~baseline_first, baseline_first):
        own = _Noise(rng, noise, duration_s, spread=0.05)
        at_s = pair_at_s + later_s * is_later
        slow = rng.random(at_s.size) < own.slow_share(at_s) + shared.slow_share(at_s)
        in_time = own.level(at_s) + shared.level(at_s) + math.log(4.0) * slow
        latencies.append(np.exp(payload + rng.normal(0, 0.2, at_s.size) + in_time))
    baseline, arm = latencies
    return windowed(baseline, pair_at_s, arm * effect, pair_at_s, start_s=0, end_s=duration_s)


class _Noise:
    """What moves every request at one time: a slow wander, or episodes of slow requests."""

    def __init__(self, rng: Generator, noise: str, duration_s: float, *, spread: float) -> None:
        keep = math.exp(-_GRID_S / 10.0)
        steps = rng.normal(0, math.sqrt(1 - keep**2), math.ceil(duration_s / _GRID_S) + 10)
        steps[0] = rng.normal()
        self._path = lfilter([1.0], [1.0, -keep], steps) * (spread if noise == "ar" else 0.0)
        lengths_s = rng.exponential(np.tile([45.0, 5.0], math.ceil(duration_s / 50 * 3) + 20))
        self._switches_s = np.cumsum(lengths_s) - rng.uniform(0, 50.0)
        self._slow = (0.005, 0.12) if noise == "burst" else (0.0, 0.0)

    def level(self, at_s: Floats) -> Floats:
        return np.asarray(self._path[(at_s / _GRID_S).astype(np.int64)])

    def slow_share(self, at_s: Floats) -> Floats:
        is_on = np.searchsorted(self._switches_s, at_s) % 2 == 1
        return np.asarray(self._slow[0] + self._slow[1] * is_on)
