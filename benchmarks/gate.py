"""How often does the regression gate pass, fail or abstain, when the truth is known?

Draws gates of several runs a side, each run with latencies of a stream in `analysis.simulate` and
an effect of its own, judges each by the path that a real one takes (a quantile a run, the t-test,
the verdict over all guarded metrics), and prints the share of each outcome as a Markdown table.

    python -m benchmarks.gate --gates 500
    python -m benchmarks.gate --end-to-end

The second makes real gates on the local endpoint, of a candidate that is 15 % slower and of the
same model again.
"""

import argparse
import math
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.random import Generator
from scipy.stats import binomtest

from analysis.regression import gate, too_few
from analysis.runs import ArmRun, Design, Side, difference
from analysis.simulate import STREAMS
from analysis.windows import Floats

FAILED_SHARE = 0.0002
OUTCOMES = ("PASS", "FAIL", "undecided")
ENDPOINT = """
name = "shop"
[variants.current]
simulated = {{ distribution = "lognormal", median = "200ms", sigma = 0.3, workers = 32 }}
[variants.candidate]
simulated = {{ distribution = "lognormal", median = "{median_ms}ms", sigma = 0.3, workers = 32 }}
"""
PLAN = """
question = "regression"
seed = 1
[endpoint]
name = "shop"
target = "local"
config = "shop.endpoint.toml"
[arms.current]
[arms.candidate]
[request]
payloads = "rows.jsonl"
content_type = "application/json"
[traffic]
routing = "paired"
rate = 60
warmup = "5s"
duration = "30s"
[regression]
baseline = "current"
margins = { p50 = "7.5%", error_rate = "1pp" }
"""


def run_of(rng: Generator, latencies_ms: Floats) -> ArmRun:
    failed = int(rng.binomial(latencies_ms.size, FAILED_SHARE))
    return ArmRun(
        sent=latencies_ms.size + failed,
        failed=failed,
        latencies_ms={"response": latencies_ms},
        known_to_ms={"response": math.inf},
    )


def sides(
    rng: Generator, design: Design, options: argparse.Namespace, shift: float
) -> Iterator[tuple[ArmRun, ArmRun]]:
    """Draw a run of each side, again and again.

    In blocks the run effect is of both arms, and each deployment has one of half its size.
    """

    def effect(spread: float) -> float:
        return math.exp(rng.normal(0, spread))

    while True:
        arms = STREAMS[options.stream](
            rng, duration_s=options.duration, rate_rps=options.rate, effect=1 + shift
        )
        if design == "blocks":
            shared, own = effect(options.spread), options.spread / 2
            yield (
                run_of(rng, arms.baseline_ms * shared * effect(own)),
                run_of(rng, arms.arm_ms * shared * effect(own)),
            )
        else:
            yield (
                run_of(rng, arms.baseline_ms * effect(options.spread)),
                run_of(rng, arms.arm_ms * effect(options.spread)),
            )


def outcome(
    rng: Generator,
    design: Design,
    options: argparse.Namespace,
    shift: float,
    margins: dict[str, float],
) -> str:
    drawn = sides(rng, design, options, shift)
    runs = zip(*(next(drawn) for _ in range(options.runs)), strict=True)
    names = ("baseline", "candidate")
    baseline, arm = (Side(name=n, of=(), numbers=r) for n, r in zip(names, runs, strict=True))
    refusal = too_few(options.runs, options.runs, design)
    found = gate(
        [
            difference(baseline, arm, metric, "response", design, margin, refusal)
            for metric, margin in margins.items()
        ],
        (options.runs, options.runs),
        design,
    )
    calls = {item.call for item in found}
    if "worse" in calls:
        return "FAIL"
    return "undecided" if calls & {"undecided", "refused"} else "PASS"


def end_to_end() -> None:
    """Make a gate of five runs of 30 s, whose margin is 7.5 %, for each of two candidates."""
    print("| candidate | exit code | verdict |\n|:--|--:|:--|")
    for name, median_ms in (("15 % slower", 230), ("the same", 200)):
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "shop.endpoint.toml").write_text(ENDPOINT.format(median_ms=median_ms))
            (Path(folder) / "rows.jsonl").write_text('{"x": 1}\n' * 10)
            plan = Path(folder) / "gate.toml"
            plan.write_text(PLAN)
            command = [sys.executable, "-P", "-m", "experiments", "run", str(plan)]
            ended = subprocess.run(
                [*command, "--out", folder, "--quiet"],
                cwd=Path(__file__).parents[1], stdout=subprocess.PIPE, text=True, check=False,
            )  # fmt: skip
            print(f"| {name} | {ended.returncode} | {ended.stdout.strip()} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gates", type=int, default=500, help="of each true shift")
    parser.add_argument("--runs", type=int, default=5, help="a side")
    parser.add_argument("--spread", type=float, default=0.032, help="of log latency between runs")
    parser.add_argument("--margin", type=float, default=0.05, help="of p50")
    parser.add_argument("--stream", choices=STREAMS, default="iid")
    parser.add_argument("--duration", type=float, default=150.0, help="seconds, of each run")
    parser.add_argument("--rate", type=float, default=33.3, help="requests a second and arm")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--end-to-end", action="store_true", help="real gates instead")
    options = parser.parse_args()
    if options.end_to_end:
        end_to_end()
        return

    started = time.perf_counter()
    margins = {"p50": options.margin, "error_rate": 0.005}
    print(f"| order | true shift of p50 | {' | '.join(OUTCOMES)} |")
    print(f"|:--|--:|{'--:|' * len(OUTCOMES)}")
    for design in ("separate", "blocks"):
        for part in (0, 0.5, 1, 2):
            rng = np.random.default_rng([options.seed, int(2 * part), len(design)])
            shift = part * options.margin
            counts = Counter(
                outcome(rng, design, options, shift, margins) for _ in range(options.gates)
            )
            shares = []
            for name in OUTCOMES:
                low, high = binomtest(counts[name], options.gates).proportion_ci(0.95, "exact")
                shares.append(f"{counts[name] / options.gates:.3f} ({low:.3f} to {high:.3f})")
            print(f"| {design} | +{shift:.1%} | {' | '.join(shares)} |", flush=True)
    print(
        f"\n{options.gates} gates of {options.runs} runs a side, stream {options.stream}, about "
        f"{options.duration * options.rate:,.0f} requests an arm and run, whose effects differ by "
        f"{options.spread:.1%};\nmargins p50 {options.margin:.0%} and error rate 0.5 pp. In "
        f"brackets: 95 % Clopper-Pearson. {time.perf_counter() - started:.0f} s on one core."
    )


if __name__ == "__main__":
    main()
