"""How often does stopping early call a difference between equal arms, and how early does it stop?

Draws runs of the streams in `analysis.simulate`, judges each at the five planned looks and after
every full window of the guardrail, and prints a Markdown table: the share of runs that a look
calls different, the mean time of those looks, the same of the guardrail and of both together (of
the guardrail only what it calls slower), and with `--margin` the share called alike. With
`--effect 1.15` the arm is 15 % slower and the shares are detections.

    python -m benchmarks.sequential --runs 400
    python -m benchmarks.sequential --runs 400 --duration 1650 --metrics p50
"""

import argparse
import math
import sys
import time
from dataclasses import dataclass

import numpy as np
from scipy.stats import binom

from analysis.noise import Refusal, draw_signs
from analysis.sequential import (
    ALPHA,
    LOOKS,
    level_of,
    log_e_value,
    t_p_value,
)
from analysis.simulate import STREAMS, TwoArms
from analysis.swap import score_of, swap_test
from analysis.windows import WINDOWS, Sample, windowed

WINDOW_S = 30.0
FEWEST_WINDOWS = 5
SIGNS = draw_signs(np.random.default_rng(0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Stops:
    """When a run stopped for each reason; `None`: it did not."""

    look_s: float | None
    same_s: float | None
    guard_s: float | None
    guard_slower_s: float | None

    @property
    def first_s(self) -> float | None:
        return min((s for s in (self.look_s, self.guard_slower_s) if s is not None), default=None)


def sample_of(arms: TwoArms, end_s: float, span_s: float) -> Sample:
    """Cut what was scheduled before `end_s` into equal windows of `span_s`."""
    before = arms.baseline_at_s < end_s, arms.arm_at_s < end_s
    return windowed(
        arms.baseline_ms[before[0]],
        arms.baseline_at_s[before[0]],
        arms.arm_ms[before[1]],
        arms.arm_at_s[before[1]],
        start_s=0,
        end_s=span_s,
    )


def stops_of(arms: TwoArms, duration_s: float, quantile: float, margin: float) -> Stops:
    look_s = same_s = guard_s = guard_slower_s = None
    for look in range(1, LOOKS + 1):
        end_s = duration_s * look / LOOKS
        test = swap_test(sample_of(arms, end_s, end_s), quantile, signs=SIGNS)
        if isinstance(test, Refusal) or test.tail_requests < 50:
            continue
        edges = math.log1p(margin), -math.log1p(margin)
        if look_s is None and t_p_value(test) < level_of(look):
            look_s = end_s
        inside = edges[1] < test.log_ratio < edges[0]
        if same_s is None and inside and max(t_p_value(test, e) for e in edges) < level_of(look):
            same_s = end_s
    for windows in range(FEWEST_WINDOWS, int(duration_s / WINDOW_S) + 1):
        end_s = windows * WINDOW_S
        sample = sample_of(arms, end_s, WINDOWS * WINDOW_S)
        scores = score_of(sample, quantile)(0.0)[:windows]
        if log_e_value(scores, ALPHA) > -math.log(ALPHA):
            guard_s = guard_s or end_s
            if scores.sum() > 0:
                guard_slower_s = end_s
                break
    return Stops(look_s=look_s, same_s=same_s, guard_s=guard_s, guard_slower_s=guard_slower_s)


def written(times_s: list[float | None]) -> str:
    stopped = [s for s in times_s if s is not None]
    mean = f" ({np.mean(stopped):.0f} s)" if stopped else ""
    return f"{len(stopped) / len(times_s):.3f}{mean}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=400)
    parser.add_argument("--duration", type=float, default=600.0, help="seconds, at most 1800")
    parser.add_argument("--rate", type=float, default=33.3, help="requests a second and arm")
    parser.add_argument("--effect", type=float, default=1.0, help="the true ratio")
    parser.add_argument("--margin", type=float, default=0.05, help="inside it arms are alike")
    parser.add_argument("--streams", default="iid,ar,burst,queue2")
    parser.add_argument("--metrics", default="p50,p99")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()

    started = time.perf_counter()
    print("| stream | metric | looks | guardrail | guardrail: slower | both | alike |")
    print("|---|---|---|---|---|---|---|")
    for name in options.streams.split(","):
        rng = np.random.default_rng([options.seed, sorted(STREAMS).index(name)])
        found: dict[str, list[Stops]] = {metric: [] for metric in options.metrics.split(",")}
        for run in range(options.runs):
            arms = STREAMS[name](
                rng, duration_s=options.duration, rate_rps=options.rate, effect=options.effect
            )
            for metric, stops in found.items():
                quantile = float(metric[1:]) / 100
                stops.append(stops_of(arms, options.duration, quantile, options.margin))
            if run % 100 == 99:
                print(f"{name} {run + 1}/{options.runs}", file=sys.stderr)
        for metric, stops in found.items():
            columns = (
                [s.look_s for s in stops],
                [s.guard_s for s in stops],
                [s.guard_slower_s for s in stops],
                [s.first_s for s in stops],
                [s.same_s for s in stops],
            )
            print(f"| {name} | {metric} | {' | '.join(written(c) for c in columns)} |", flush=True)
    most = binom.ppf(0.9999, options.runs, ALPHA) / options.runs
    print(
        f"\n{options.runs} runs of {options.duration:g} s at {options.rate:g} requests a second "
        f"and arm; true ratio {options.effect:g}, margin {options.margin:g}. In brackets the mean "
        f"time of the stop.\nA test that calls 5 % of runs calls at most {most:.3f} of these but "
        f"once in 10,000. {time.perf_counter() - started:.0f} s on one core."
    )


if __name__ == "__main__":
    main()
