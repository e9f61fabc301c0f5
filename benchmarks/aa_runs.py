"""How often does the whole program tell two identical variants apart?

    python -m benchmarks.aa_runs --runs 60 --at-once 3

Each run is `abreast run` on a local endpoint with two simulated variants of the same service time,
in the same slow episodes and the same drift, with a seed of its own.
"""

import argparse
import collections
import json
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from scipy.stats import binom

LEVEL = 0.05
ENDPOINT = """
name = "twins"
seed = {seed}
[[episodes]]
every = "20s"
for = "3s"
random = true
factor = 1.5
[[drifts]]
spread = 0.1
memory = "10s"
[variants.current.simulated]
distribution = "lognormal"
median = "20ms"
sigma = 0.3
workers = 8
[variants.twin.simulated]
distribution = "lognormal"
median = "20ms"
sigma = 0.3
workers = 8
"""
PLAN = """
question = "compare"
seed = {seed}
[endpoint]
name = "twins"
target = "local"
config = "twins.endpoint.toml"
[arms.current]
[arms.twin]
[request]
payloads = "bodies.jsonl"
[traffic]
routing = "paired"
rate = {rate}
warmup = "5s"
duration = "{seconds}s"
[compare]
baseline = "current"
margins = {{ p50 = "5%", p90 = "10%", error_rate = "0.5pp" }}
"""


def judged(folder: Path, seed: int, rate: float, seconds: int) -> dict[str, object]:
    """Make one run in a folder of its own, and give its report."""
    home = folder / f"run-{seed}"
    home.mkdir()
    (home / "bodies.jsonl").write_text("".join(f'{{"x": {i}}}\n' for i in range(50)))
    (home / "twins.endpoint.toml").write_text(ENDPOINT.format(seed=seed))
    plan = home / "twins.toml"
    plan.write_text(PLAN.format(seed=seed, rate=rate, seconds=seconds))
    command = [sys.executable, "-m", "experiments", "run", str(plan), "--out", str(home), "--json"]
    ran = subprocess.run(
        command, capture_output=True, check=False, text=True, timeout=seconds + 120
    )
    if not ran.stdout:
        raise RuntimeError(ran.stderr)
    report: dict[str, object] = json.loads(ran.stdout)
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=60)
    parser.add_argument("--at-once", type=int, default=1)
    parser.add_argument("--rate", type=float, default=60.0)
    parser.add_argument("--seconds", type=int, default=61)
    asked = parser.parse_args()
    calls: collections.Counter[tuple[str, str]] = collections.Counter()
    states: collections.Counter[str] = collections.Counter()
    untrusted: collections.Counter[str] = collections.Counter()
    false = 0
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(asked.at_once) as pool:
        seeds = range(1, asked.runs + 1)
        made = pool.map(lambda seed: judged(Path(name), seed, asked.rate, asked.seconds), seeds)
        for number, report in enumerate(made, start=1):
            verdict, differences = report["verdict"], report["differences"]
            assert isinstance(verdict, dict)
            assert isinstance(differences, list)
            states[verdict["state"]] += 1
            if verdict["state"] == "untrusted":
                untrusted[verdict["sentence"]] += 1
            else:
                false += verdict["state"] in ("better", "worse")
                for item in differences:
                    if item["margin"] is not None:
                        calls[item["metric"], item["call"]] += 1
            print(f"{number}/{asked.runs}: {verdict['state']}", file=sys.stderr, flush=True)
    trusted = asked.runs - states["untrusted"]
    most = int(binom.ppf(0.999, trusted, LEVEL))
    print("| metric | better | worse | no difference that matters | cannot tell | no verdict |")
    print("|:--|--:|--:|--:|--:|--:|")
    words = ("better", "worse", "same", "undecided", "refused")
    for metric in dict.fromkeys(metric for metric, _ in calls):
        print(f"| {metric} | " + " | ".join(str(calls[metric, call]) for call in words) + " |")
    print("| the verdict | " + " | ".join(str(states[state]) for state in words) + " |")
    print(
        f"\n{asked.runs} runs of {asked.seconds} s, {asked.rate:g} requests a second, "
        f"{asked.at_once} at once. {false} of {trusted} trusted runs call a difference; a test "
        f"that is wrong in 5 % of runs gives {most} or fewer in 99.9 % of such tables. "
        f"{states['untrusted']} could not be trusted: {dict(untrusted) or 'none'}."
    )


if __name__ == "__main__":
    main()
