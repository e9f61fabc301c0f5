"""Does the interval of a capacity search hold the true highest rate, and how far off is the point?

Searches in virtual time, without sockets: probes are Poisson arrivals at the code of the local
endpoint, judged by the code that judges real ones, and stopped early by the rule that stops those.
The truth comes from queueing theory, or from long simulations of the same code.

    python -m benchmarks.capacity --searches 200

With --real, one search of each by the whole program instead: processes, sockets and signatures.

With --k6, a ladder on the real forest model, and k6 (on the PATH) at each of its rates.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from scipy.special import bdtrc
from scipy.stats import binomtest

from analysis.boundary import Boundary, boundary
from analysis.rates import Observed, judge_rate
from experiments import child
from experiments.local import config, truth
from experiments.local.faults import FAILING, NOT_SERVED
from experiments.local.instance import simulated
from experiments.local.routing import Router
from experiments.plan_file import BUILT_IN
from experiments.search import Asked, Call, Probe, next_probe
from experiments.slo import Slo, Threshold, thresholds

WORLDS: Mapping[str, tuple[str, dict[str, float]]] = {
    "M/M/4": (
        'simulated = { distribution = "exponential", mean = "20ms", workers = 4 }',
        {"p99": 0.150},
    ),
    "M/D/4": ('simulated = { constant = "20ms", workers = 4 }', {"p99": 0.060}),
    "lognormal with pauses": (
        'simulated = { distribution = "lognormal", median = "15ms", sigma = 0.6, workers = 4 }\n'
        '[[pauses]]\nevery = "2s"\nfor = "60ms"\nrandom = true',
        {"p99": 0.150},
    ),
    "lognormal with rare pauses": (
        'simulated = { distribution = "lognormal", median = "15ms", sigma = 0.6, workers = 4 }\n'
        '[[pauses]]\nevery = "5s"\nfor = "100ms"\nrandom = true',
        {"p99": 0.250},
    ),
    "lognormal with long pauses": (
        'simulated = { distribution = "lognormal", median = "15ms", sigma = 0.6, workers = 4 }\n'
        '[[pauses]]\nevery = "20s"\nfor = "200ms"\nrandom = true',
        {"p99": 0.150},
    ),
    "throttling": (
        'simulated = { distribution = "lognormal", median = "5ms", sigma = 0.4, workers = 8 }\n'
        '[[faults]]\nkind = "throttle"\nabove = 150',
        {"error_rate": 0.05},
    ),
}
"""An endpoint's variant and its SLO, in seconds and shares."""

THROTTLED_RPS = 150 / (1 - 0.05)
WARMUP_S = {"throttling": 30.0}
"""That endpoint lets a second's worth pass at once after a quiet time: the warm-up uses it up."""
_ABORT_CHANCE = 1e-4


def endpoint_of(world: str) -> config.Endpoint:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "world.endpoint.toml"
        path.write_text(f'name = "world"\n[variants.a]\n{WORLDS[world][0]}\n')
        return config.load(path)


def asked_of(world: str) -> tuple[Threshold, ...]:
    return thresholds(Slo.model_validate(WORLDS[world][1]), ["a"])


def truth_rps(world: str, requests: int) -> float:
    """Give the true rate: by theory, by simulation, or what is let through over what may fail."""
    if world == "throttling":
        return THROTTLED_RPS
    endpoint, slo = endpoint_of(world), WORLDS[world][1]
    found = truth.highest_rate_rps(endpoint, "a", slo, requests=requests)
    return float((found[0] * found[1]) ** 0.5)


def probe(
    endpoint: config.Endpoint,
    asked: tuple[Threshold, ...],
    next_up: Probe,
    warmup_s: float,
    seed: int,
) -> Observed:
    """Send one probe in virtual time, and stop it where the guard of a real one would."""
    draws = np.random.default_rng(seed)
    endpoint = endpoint.model_copy(update={"seed": seed})
    instances = simulated(endpoint)
    router = Router(endpoint, instances)
    rate_rps, length_s = next_up.rate_rps, next_up.length_s
    total_s = warmup_s + length_s
    at_s = np.sort(draws.uniform(0.0, total_s, draws.poisson(rate_rps * total_s)))
    took_s, fails = np.zeros(at_s.size), np.zeros(at_s.size, bool)
    for i, arrived_s in enumerate(at_s.tolist()):
        _, number, fault = router.route(arrived_s, "a")
        kind = fault.kind if fault is not None else None
        if kind not in NOT_SERVED:
            took_s[i] = instances["a"][number].arrives(arrived_s).ends_at_s - arrived_s
        fails[i] = kind in FAILING
    kept = at_s >= warmup_s
    at_s, took_s, fails = at_s[kept] - warmup_s, took_s[kept], fails[kept]
    whole = Observed(at_s, np.where(fails, np.inf, took_s * 1e3), at_s + took_s, length_s)
    stop_s = _stopped_at(whole, asked, rate_rps)
    sent = at_s < stop_s
    return Observed(at_s[sent], whole.latency_ms[sent], whole.ended_s[sent], stop_s)


def _stopped_at(probe: Observed, asked: tuple[Threshold, ...], rate_rps: float) -> float:
    """Say when experiments.traffic.guard would have stopped the probe."""
    for second in np.arange(probe.length_s / 2, probe.length_s):
        ended = probe.ended_s <= second
        for each in asked:
            limit_ms = np.inf if each.limit_ms is None else each.limit_ms
            late = (probe.latency_ms > limit_ms) | np.isinf(probe.latency_ms)
            missed, requests = int(late[ended].sum()), int(ended.sum())
            if (
                missed > each.allowed * rate_rps * probe.length_s
                and bdtrc(missed - 1, requests, each.allowed) < _ABORT_CHANCE
            ):
                return float(second)
    return probe.length_s


def search(world: str, seed: int, probe_s: float, resolution: float) -> tuple[Boundary, int, float]:
    """Make one whole search; give what it found, its probes, and how long it would have taken."""
    endpoint, limits = endpoint_of(world), asked_of(world)
    asked = Asked(
        start_rps=10.0,
        resolution=resolution,
        probe_s=probe_s,
        fewest_requests=3 / min(each.allowed for each in limits),
        replicates=3,
        seed=seed,
    )
    sent: list[Probe] = []
    made: dict[float, list[Observed]] = {}
    calls: dict[float, Call] = {}
    warmup_s = WARMUP_S.get(world, 5.0)
    while isinstance(following := next_probe(sent, calls, asked), Probe):
        own = made.setdefault(following.rate_rps, [])
        own.append(probe(endpoint, limits, following, warmup_s, 1000 * seed + len(sent)))
        sent.append(following)
        calls[following.rate_rps] = judge_rate(following.rate_rps, own, limits).call
    rates = [judge_rate(rate_rps, own, limits) for rate_rps, own in made.items()]
    spent_s = sum(each.length_s for own in made.values() for each in own)
    return boundary(rates, resolution, following), len(sent), spent_s + warmup_s * len(sent)


PLAN = """
question = "capacity"
seed = {seed}
[endpoint]
name = "world"
target = "local"
config = "world.endpoint.toml"
[arms.a]
[request]
payloads = "bodies.jsonl"
[traffic]
routing = "pinned"
warmup = "{warmup_s:g}s"
[slo]
{slo}
[capacity]
start_rate = 20
resolution = "{resolution:.4%}"
probe = "{probe_s:g}s"
replicates = 2
"""


def by_the_program(worlds: list[str], options: argparse.Namespace) -> None:
    """Print what `abreast run` finds of each world, beside the truth."""
    print("| world | true rate | found | 90 % interval | probes | minutes | exit |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for world in worlds:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "bodies.jsonl").write_text('{"x": 1}\n')
            (folder / "world.endpoint.toml").write_text(
                f'name = "world"\n[variants.a]\n{WORLDS[world][0]}\n'
            )
            limits = (
                f"{metric} = " + (f'"{100 * at:g}%"' if metric == "error_rate" else f'"{at:g}s"')
                for metric, at in WORLDS[world][1].items()
            )
            plan = folder / "world.toml"
            plan.write_text(
                PLAN.format(
                    seed=options.seed,
                    warmup_s=WARMUP_S.get(world, 5.0),
                    slo="\n".join(limits),
                    resolution=options.resolution,
                    probe_s=options.probe,
                )
            )
            began_s = time.monotonic()
            run = [sys.executable, "-m", "experiments", "run", str(plan), "--out", name, "--json"]
            ran = subprocess.run(run, capture_output=True, check=False, text=True)
            minutes = (time.monotonic() - began_s) / 60
            found = json.loads(ran.stdout)["capacity"]
            known = truth_rps(world, options.truth_requests)
            interval = found["interval"] or {"low": None, "high": None}
            print(
                f"| {world} | {known:.1f} | {found['rate_rps']} | {interval['low']} to "
                f"{interval['high']} | {len(found['probes'])} | {minutes:.0f} | {ran.returncode} |",
                flush=True,
            )


K6_SCRIPT = """
import http from "k6/http";
const rows = open(__ENV.ROWS).trim().split("\\n");
const headers = { "Content-Type": "application/json" };
const at_rate = { executor: "constant-arrival-rate", rate: __ENV.RATE, timeUnit: "1s",
                  preAllocatedVUs: 200, maxVUs: 1000 };
export const options = {
  scenarios: { warmup: { ...at_rate, duration: "5s" },
               measured: { ...at_rate, startTime: "5s", duration: `${__ENV.SECONDS}s` } },
  thresholds: { "http_req_duration{scenario:measured}": ["p(99)>=0"] },
};
export default () => http.post(__ENV.URL, rows[__ITER % rows.length], { headers });
"""


def beside_k6(rates: list[float], seconds: int) -> None:
    """Print the p99 of the forest at each rate, by abreast's ladder and by k6 one after another."""
    with tempfile.TemporaryDirectory() as folder:
        run = [sys.executable, "-m", "experiments", "run", "capacity", "--out", folder]
        # k6's arrivals are evenly spaced: Poisson ones would queue where its own do not.
        asked = (f"capacity.ladder={rates}", f"capacity.probe={seconds}s",
                 "traffic.arrivals=constant")  # fmt: skip
        subprocess.run([*run, *(part for each in asked for part in ("--set", each))], check=False)
        (ladder,) = Path(folder).iterdir()
        found = json.loads((ladder / "report.json").read_text())["capacity"]["rates"]
        print("| rate | abreast's p99 | its 90 % interval | it finds | k6's p99 |")
        print("|--:|--:|--:|---|--:|")
        for each in found:
            ms = ["none"] * 3  # of a rate at which the generator was in the way
            for limit in each["limits"]:
                if limit["metric"] == "p99":
                    ends = [limit["value_interval"][end] for end in ("low", "high")]
                    ms = [f"{v:.0f} ms" if v else "none" for v in (limit["value_ms"], *ends)]
            k6_ms = f"{k6_p99_ms(Path(folder), each['rate_rps'], seconds):.0f} ms"
            print(f"| {each['rate_rps']:g} | {ms[0]} | {ms[1]} to {ms[2]} | {each['call']} "
                  f"| {k6_ms} |", flush=True)  # fmt: skip


def k6_p99_ms(folder: Path, rate_rps: float, seconds: int) -> float:
    script, summary = folder / "steps.js", folder / "summary.json"
    script.write_text(K6_SCRIPT)
    serve = child.command("experiments.local.models.server", "--model", "digits-forest")
    with subprocess.Popen(serve, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as model:
        assert model.stdin
        assert model.stdout
        port = json.loads(model.stdout.readline())["port"]
        given = {"URL": f"http://127.0.0.1:{port}/invocations", "ROWS": BUILT_IN / "digits.jsonl",
                 "RATE": f"{rate_rps:g}", "SECONDS": seconds}  # fmt: skip
        env = (part for key, value in given.items() for part in ("-e", f"{key}={value}"))
        subprocess.run(
            ["k6", "run", "--quiet", "--summary-trend-stats", "p(99)", "--summary-export",
             str(summary), *env, str(script)], stdout=subprocess.DEVNULL, check=True,
        )  # fmt: skip
        model.stdin.close()
    measured = json.loads(summary.read_text())["metrics"]["http_req_duration{scenario:measured}"]
    return float(measured["p(99)"])


def share_of(held: list[bool]) -> str:
    """Write how many hold the truth, with the exact binomial bounds at 95 %."""
    if not held:
        return "none"
    bound = binomtest(sum(held), len(held)).proportion_ci(0.95, method="exact")
    return f"{sum(held)} of {len(held)} ({bound.low:.1%} to {bound.high:.1%})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--searches", type=int, default=200)
    parser.add_argument("--probe", type=float, default=30.0, help="seconds")
    parser.add_argument("--resolution", type=float, default=0.05)
    parser.add_argument("--truth-requests", type=int, default=50_000)
    parser.add_argument("--worlds", default=",".join(WORLDS))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--real", action="store_true")
    parser.add_argument("--k6", action="store_true")
    parser.add_argument("--rates", default="10,20,30,40", help="for --k6")
    options = parser.parse_args()
    if options.real:
        by_the_program(options.worlds.split(","), options)
        return
    if options.k6:
        beside_k6([float(rate) for rate in options.rates.split(",")], int(options.probe))
        return

    print("| world | true rate | decided | decided that hold it | two-ended that hold it "
          "| median miss | p90 miss | width | probes | minutes |")  # fmt: skip
    print("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
    started = time.perf_counter()
    for world in options.worlds.split(","):
        true_rps = truth_rps(world, options.truth_requests)
        decided, two_ended, misses, widths, probes, minutes = [], [], [], [], [], []
        for number in range(options.searches):
            found, made, spent_s = search(
                world, options.seed * 10_000 + number, options.probe, options.resolution
            )
            probes.append(made)
            minutes.append(spent_s / 60)
            if found.low is None or found.high is None or found.rate_rps is None:
                continue
            two_ended.append(found.low.rate_rps <= true_rps <= found.high.rate_rps)
            if found.end in ("smooth", "cliff"):
                decided.append(two_ended[-1])
                misses.append(abs(found.rate_rps / true_rps - 1))
                widths.append(found.high.rate_rps / found.low.rate_rps - 1)
        off = [f"{np.quantile(of, q):.1%}" if of else "none"
               for of, q in ((misses, 0.5), (misses, 0.9), (widths, 0.5))]  # fmt: skip
        print(
            f"| {world} | {true_rps:.1f} | {len(decided)} of {options.searches} | "
            f"{share_of(decided)} | {share_of(two_ended)} | {' | '.join(off)} | "
            f"{np.median(probes):.0f} | {np.median(minutes):.0f} |",
            flush=True,
        )
    print(f"\n{time.perf_counter() - started:.0f} s on one core.")


if __name__ == "__main__":
    main()
