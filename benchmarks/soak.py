"""Does a long run leak, slow down, or lose a request?

    python -m benchmarks.soak --minutes 30
    python -m benchmarks.soak --requests 1000000 --rate 2000

The local endpoint answers at once and notes the InferenceId of each request it served. Memory, file
descriptors and lateness are taken each second; a slope is that of least squares over the means of
sixty equal stretches, the first tenth of the run left out, with Student's interval at 95 %.
"""

import argparse
import csv
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import psutil  # type: ignore[import-untyped]
import pyarrow.compute as pc
import pyarrow.parquet as pq
from scipy.stats import linregress, t

from experiments import child
from experiments.run_folder import RunFolder, open_folder, read_manifest

STRETCHES = 60
ENDPOINT = """
name = "soak"
served_log = "served.csv"
[variants.a]
simulated = { constant = "0s", workers = 64 }
[variants.b]
simulated = { constant = "0s", workers = 64 }
"""
PLAN = """
question = "compare"
seed = 1
[endpoint]
name = "soak"
target = "local"
config = "soak.endpoint.toml"
[arms.a]
[arms.b]
[request]
payloads = "rows.jsonl"
content_type = "application/json"
inference_id = true
[traffic]
routing = "paired"
rate = %g
duration = "%gs"
[compare]
baseline = "a"
margins = { p50 = "5%%" }
"""
PROCESSES = {"Locust process": "experiments.traffic", "supervisor": "experiments"}


def run(folder: Path, rate_rps: float, seconds: float) -> tuple[RunFolder, dict[str, np.ndarray]]:
    """Make one run; give it with (second, MiB, descriptors) of each process."""
    (folder / "soak.endpoint.toml").write_text(ENDPOINT)
    (folder / "soak.toml").write_text(PLAN % (rate_rps, seconds))
    (folder / "rows.jsonl").write_text("".join(f'{{"x": {i}}}\n' for i in range(100)))
    running = subprocess.Popen(
        child.command("experiments", "run", "soak.toml"),
        cwd=folder, env=child.environment(), stdout=subprocess.DEVNULL, stderr=sys.stderr,
    )  # fmt: skip
    seen: dict[str, list[tuple[float, float, int]]] = {name: [] for name in PROCESSES}
    while running.poll() is None:
        now = dict(_sampled(running.pid))
        if len(now) == len(PROCESSES):  # before and after the traffic there is no Locust
            for name, sample in now.items():
                seen[name].append(sample)
        time.sleep(1.0)
    (made,) = (folder / "reports").iterdir()
    return open_folder(made), {name: np.array(samples) for name, samples in seen.items()}


def _sampled(pid: int) -> Iterator[tuple[str, tuple[float, float, int]]]:
    try:
        parent = psutil.Process(pid)
        for process in (parent, *parent.children()):
            command = process.cmdline()
            for name, module in PROCESSES.items():
                if "-m" in command and command[command.index("-m") + 1] == module:
                    mib = process.memory_info().rss / 2**20
                    yield name, (time.monotonic(), mib, process.num_fds())
    except psutil.NoSuchProcess:
        return


def slope(at_s: np.ndarray, values: np.ndarray) -> str:
    """Say the mean and the slope an hour, with its interval."""
    kept = at_s >= at_s[0] + (at_s[-1] - at_s[0]) / 10
    stretches = min(STRETCHES, int(kept.sum()))
    at_h = np.array([part.mean() for part in np.array_split(at_s[kept], stretches)]) / 3600
    means = np.array([part.mean() for part in np.array_split(values[kept], stretches)])
    found = linregress(at_h, means)
    half = float(t.ppf(0.975, stretches - 2)) * np.nan_to_num(found.stderr)  # of a constant
    low, high = found.slope - half, found.slope + half
    return f"{means.mean():.4g}, {found.slope:+.3g} an hour ({low:+.3g} to {high:+.3g})"


def served(log: Path, run_id: str) -> list[int]:
    """Give the index in the schedule of each request that the endpoint noted, as it noted."""
    with log.open(newline="", encoding="utf-8") as lines:
        own = (row["inference_id"].rpartition("-") for row in csv.DictReader(lines))
        return [int(seq) for of, _, seq in own if of == run_id]


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the run, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--rate", type=float, default=300)
    parser.add_argument("--requests", type=float, help="Instead of --minutes.")
    asked = parser.parse_args(arguments)
    seconds = asked.requests / asked.rate if asked.requests else asked.minutes * 60
    with tempfile.TemporaryDirectory() as temporary:
        folder, processes = run(Path(temporary), asked.rate, seconds)
        counts = read_manifest(folder)["counts"]
        print(", ".join(f"{number:,} {name}" for name, number in counts.items()))
        rows = pq.read_table(folder.requests, columns=["seq", "outcome", "ended_ns"])
        recorded = Counter(rows["seq"].to_pylist())
        seen = Counter(served(folder.logs / "served.csv", folder.run_id))
        print(
            f"{sum(seen.values()):,} served by the endpoint's own log; "
            f"{len(seen.keys() - recorded.keys()):,} of them without a record, "
            f"{len(recorded.keys() - seen.keys()):,} recorded and not served, "
            f"{sum(n > 1 for n in seen.values()) + sum(n > 1 for n in recorded.values()):,} twice"
        )
        failed = pc.sum(pc.not_equal(rows["outcome"], "ok")).as_py()
        rate_rps = len(rows) / (pc.max(rows["ended_ns"]).as_py() / 1e9)
        print(f"{failed:,} failed; {rate_rps:,.0f} a second")
        for name, samples in processes.items():
            print(f"{name}, MiB: {slope(samples[:, 0], samples[:, 1])}")
            print(f"{name}, descriptors: {slope(samples[:, 0], samples[:, 2])}")
        health = pq.read_table(folder.health, columns=["second", "lateness_p99_ms"]).to_pandas()
        health = health.dropna()
        late = slope(health["second"].to_numpy(float), health["lateness_p99_ms"].to_numpy(float))
        print(f"p99 lateness, ms: {late}")


if __name__ == "__main__":
    main()
