"""How often does each test call a difference between arms that are equal, or find one that is not?

Draws runs of the streams in `analysis.simulate` and prints a Markdown table of the share of runs in
which each test rejects a ratio of 1 at 5 %: SWAP-2S beside tests that count requests. With
`--effect 1.1` the arm is 10 % slower and the shares are detections. With `--pairs` the streams are
those of `benchmarks.payload_pairs`, and smoothed quantiles stand beside the quantiles. The rows of
errors count a request that takes more than three times the usual as failed. With `--memory 30` all
noise lasts three times as long as the 10 s that are assumed.

    python -m benchmarks.false_alarms --runs 1000
    python -m benchmarks.false_alarms --runs 1000 --streams ar --duration 120 --memory 30
"""

import argparse
import math
import sys
import time
from collections import Counter
from dataclasses import replace

import numpy as np
from scipy.stats import binom, chi2_contingency, ks_2samp, mannwhitneyu, norm, ttest_ind

from analysis.error_rates import error_rate_difference
from analysis.noise import MEMORY_S, Refusal, draw_signs
from analysis.paired import ramps_of, smoothed_test
from analysis.simulate import STREAMS, Stream, TwoArms
from analysis.swap import SwapTest, swap_test
from analysis.windows import Floats, Sample, windowed
from benchmarks.payload_pairs import NOISES, payload_pairs

ALPHA = 0.05
QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
FAILED_MS = 300.0
LOOK_EVERY_S = 10.0
SIGNS = draw_signs(np.random.default_rng(0))


def swap_rejections(arms: TwoArms, duration_s: float) -> dict[str, bool | None]:
    def cut(a: Floats, b: Floats) -> Sample:
        return windowed(a, arms.baseline_at_s, b, arms.arm_at_s, start_s=0, end_s=duration_s)

    sample = cut(arms.baseline_ms, arms.arm_ms)
    failed = cut(*((ms > FAILED_MS).astype(float) for ms in (arms.baseline_ms, arms.arm_ms)))
    errors = error_rate_difference(failed, signs=SIGNS).p_value
    found = {
        f"**SWAP-2S {name}**": rejects(
            swap_test(sample, None, signs=SIGNS)
            if quantile is None
            else swap_test(sample, quantile, signs=SIGNS)
        )
        for name, quantile in {**QUANTILES, "mean": None}.items()
    }
    return {**found, "**SWAP-2S errors**": None if errors is None else errors < ALPHA}


def pair_rejections(pairs: Sample) -> dict[str, bool | None]:
    found = {}
    for name, quantile in QUANTILES.items():
        found[f"SWAP-2S {name}"] = rejects(swap_test(pairs, quantile, signs=SIGNS))
        smoothed = smoothed_test(ramps_of(pairs), quantile, signs=SIGNS)
        found[f"**SWAP-2S {name}, smoothed**"] = rejects(smoothed)
    return found


def rejects(test: SwapTest | Refusal) -> bool | None:
    return None if isinstance(test, Refusal) else test.p_value() < ALPHA


def bootstrap_quantile(rng: np.random.Generator, values: Floats, quantile: float) -> Floats:
    """Bootstrap 1,000 times: a resample's order statistic is the sample's at a beta rank."""
    rank = math.ceil(quantile * values.size)
    ranks = rng.beta(rank, values.size - rank + 1, 1000) * values.size
    return np.asarray(np.sort(values)[ranks.astype(int)])


def peeked(arms: TwoArms, duration_s: float) -> bool:
    """Whether Welch's t-test, asked again and again, ever calls a difference."""
    looks_s = np.arange(LOOK_EVERY_S, duration_s + 1e-6, LOOK_EVERY_S)

    def known(at_s: Floats, ms: Floats) -> tuple[Floats, Floats]:
        n = np.searchsorted(at_s, looks_s)
        mean, square = (np.cumsum(values)[n - 1] / n for values in (ms, ms**2))
        return mean, (square - mean**2) / (n - 1)

    baseline, error = known(arms.baseline_at_s, arms.baseline_ms)
    arm, arm_error = known(arms.arm_at_s, arms.arm_ms)
    t = (arm - baseline) / np.sqrt(error + arm_error)
    return bool((np.abs(t) > norm.isf(ALPHA / 2)).any())


def request_rejections(
    rng: np.random.Generator, arms: TwoArms, duration_s: float
) -> dict[str, bool]:
    a, b = arms.baseline_ms, arms.arm_ms
    table = [[(ms > FAILED_MS).sum(), (ms <= FAILED_MS).sum()] for ms in (a, b)]
    rejected = {
        "chi-square test of errors": float(chi2_contingency(table).pvalue) < ALPHA,
        "Welch's t-test": float(ttest_ind(a, b, equal_var=False).pvalue) < ALPHA,
        f"Welch's t-test, asked every {LOOK_EVERY_S:g} s": peeked(arms, duration_s),
        "Mann-Whitney": float(mannwhitneyu(a, b).pvalue) < ALPHA,
        "Kolmogorov-Smirnov": float(ks_2samp(a, b).pvalue) < ALPHA,
    }
    for name, quantile in QUANTILES.items():
        ratios = bootstrap_quantile(rng, b, quantile) / bootstrap_quantile(rng, a, quantile)
        low, high = np.quantile(ratios, [ALPHA / 2, 1 - ALPHA / 2])
        rejected[f"bootstrap of requests, {name}"] = bool(low > 1 or high < 1)
    return rejected


def drawn_slowly(
    stream: Stream,
    rng: np.random.Generator,
    times: float,
    *,
    duration_s: float,
    rate_rps: float,
    effect: float,
) -> TwoArms:
    """Draw a shorter run and stretch it, so that its noise lasts so many times as long."""
    arms = stream(rng, duration_s=duration_s / times, rate_rps=rate_rps * times, effect=effect)
    return replace(arms, baseline_at_s=arms.baseline_at_s * times, arm_at_s=arms.arm_at_s * times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--duration", type=float, default=600.0, help="seconds")
    parser.add_argument("--rate", type=float, default=33.3, help="requests a second and arm")
    parser.add_argument("--effect", type=float, default=1.0, help="the true ratio")
    parser.add_argument("--streams", help="all, unless some are named: iid,ar")
    parser.add_argument("--memory", type=float, default=MEMORY_S, help="how long noise lasts, s")
    parser.add_argument("--pairs", action="store_true", help="both arms get the same payloads")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()

    started = time.perf_counter()
    known = NOISES if options.pairs else tuple(STREAMS)
    names = options.streams.split(",") if options.streams else known
    drawn = {"duration_s": options.duration, "rate_rps": options.rate, "effect": options.effect}
    shares: dict[str, dict[str, str]] = {}
    for name in names:
        rng = np.random.default_rng([options.seed, sorted(known).index(name)])
        rejected: Counter[str] = Counter()
        judged: Counter[str] = Counter()
        for run in range(options.runs):
            if options.pairs:
                found = pair_rejections(payload_pairs(rng, name, **drawn))
            else:
                arms = drawn_slowly(STREAMS[name], rng, options.memory / MEMORY_S, **drawn)
                found = {
                    **swap_rejections(arms, options.duration),
                    **request_rejections(rng, arms, options.duration),
                }
            for test, rejects in found.items():
                judged[test] += rejects is not None
                rejected[test] += bool(rejects)
            if run % 100 == 99:
                print(f"{name} {run + 1}/{options.runs}", file=sys.stderr)
        for test in found:
            share = f"{rejected[test] / judged[test]:.3f}" if judged[test] else "refused"
            shares.setdefault(test, {})[name] = share

    print(f"| test | {' | '.join(names)} |")
    print(f"|---|{'---|' * len(names)}")
    for test, row in shares.items():
        print(f"| {test} | {' | '.join(row[name] for name in names)} |")
    low, high = (binom.ppf(p, options.runs, ALPHA) / options.runs for p in (0.0005, 0.9995))
    print(
        f"\n{options.runs} runs of {options.duration:g} s at {options.rate:g} requests a second "
        f"and arm{', in pairs' if options.pairs else ''}; true ratio {options.effect:g}, noise of "
        f"{options.memory:g} s.\n"
        "A test that rejects 5 % of runs shows "
        f"{low:.3f} to {high:.3f} (99.9 %). {time.perf_counter() - started:.0f} s on one core."
    )


if __name__ == "__main__":
    main()
