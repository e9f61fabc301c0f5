"""How often is a limit called met that is not kept, or broken that is?

Draws runs of the streams in `analysis.simulate`, asks of each whether as many requests lie beyond
the stream's own long-run quantile as do, and prints as a Markdown table how often the bound at 95 %
says less (a limit just broken would be called met) or more (a limit just kept would be called
broken): by the interval that allows for bursts, and by the exact one that does not.

    python -m benchmarks.slo_bounds --runs 500
"""

import argparse
import time

import numpy as np
from scipy.stats import binom

from analysis.clustered import ClusteredShare, clustered_share
from analysis.simulate import STREAMS

LEVEL = 0.95
_LONG_RUNS = 100


def long_run_quantiles(
    name: str, quantiles: list[float], rate_rps: float, seed: int
) -> list[float]:
    """Give the latencies at these quantiles over many runs of ten minutes."""
    rng = np.random.default_rng([seed, 1])
    runs = (STREAMS[name](rng, duration_s=600, rate_rps=rate_rps) for _ in range(_LONG_RUNS))
    return [float(ms) for ms in np.quantile(np.concatenate([r.arm_ms for r in runs]), quantiles)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--duration", type=float, default=600.0, help="seconds")
    parser.add_argument("--rate", type=float, default=33.3, help="requests a second")
    parser.add_argument("--quantiles", default="0.5,0.9,0.99")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    quantiles = [float(q) for q in options.quantiles.split(",")]

    started = time.perf_counter()
    methods = ("abreast", "exact, of requests")
    wrong = {
        (method, quantile, name): [0, 0]
        for method in methods
        for quantile in quantiles
        for name in STREAMS
    }
    for name, draw in STREAMS.items():
        limits_ms = long_run_quantiles(name, quantiles, options.rate, options.seed)
        rng = np.random.default_rng([options.seed, 2])
        for _ in range(options.runs):
            arms = draw(rng, duration_s=options.duration, rate_rps=options.rate)
            for quantile, limit_ms in zip(quantiles, limits_ms, strict=True):
                found = clustered_share(
                    arms.arm_at_s,
                    (arms.arm_ms > limit_ms).astype(float),
                    start_s=0,
                    end_s=options.duration,
                )
                exact = ClusteredShare(
                    requests=found.requests, counted=found.counted, spreads=((1.0, 1),)
                )
                for method, judged in zip(methods, (found, exact), strict=True):
                    low, high = judged.bounds(LEVEL)
                    counts = wrong[method, quantile, name]
                    counts[0] += high < 1 - quantile
                    counts[1] += low > 1 - quantile

    print(f"| bound, at | {' | '.join(STREAMS)} |\n|---|{'---|' * len(STREAMS)}")
    for method in methods:
        for quantile in quantiles:
            cells = (
                " / ".join(f"{n / options.runs:.3f}" for n in wrong[method, quantile, name])
                for name in STREAMS
            )
            print(f"| {method}, p{100 * quantile:g} | {' | '.join(cells)} |")
    low, high = (binom.ppf(p, options.runs, 1 - LEVEL) / options.runs for p in (0.0005, 0.9995))
    print(
        f"\nCalled met / called broken, in {options.runs} runs of {options.duration:g} s at "
        f"{options.rate:g} requests a second.\nA bound that is wrong in 5 % of runs shows "
        f"{low:.3f} to {high:.3f} (99.9 %). {time.perf_counter() - started:.0f} s on one core."
    )


if __name__ == "__main__":
    main()
