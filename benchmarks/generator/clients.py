"""Each tool under one load, and what came of it: as the server saw it, and as the tool says."""

import json
import math
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.generator import process
from benchmarks.generator.target import BODY, PATH, Target
from experiments import child

PEERS = Path(__file__).parent / "peers"
_AFTERWARDS_S = 120
"""For starting, for awaiting answers, and for what a tool does after its load."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What a tool is asked to send, for `seconds` or a little longer.

    Without `think_s` requests leave at `rate_rps`; with it each user waits so long after an
    answer, and the rate is what comes of that.
    """

    rate_rps: int
    users: int
    seconds: int
    think_s: float | None = None
    is_timed: bool = True
    """Whether the peers write the latency of every request; ours always does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What came of a load.

    `came` has a row for each request that the server read, in the order of arrival: `arrived_ns`,
    `own_ns`, and `index`, the number of the request, or of its user where each user keeps a
    schedule of its own; `epoch_ns` is when the server read its very first. `timed` has a row for
    each request that the tool timed: `at_s` from the first one's start, and `service_ms`; for ours
    also `response_ms` and, of requests that had a free slot, `late_ms`. `told_lost` is how many
    requests the tool says were never sent.
    """

    came: pd.DataFrame
    epoch_ns: int
    timed: pd.DataFrame
    cpu: process.CpuTime
    told_lost: int | None = None


Client = Callable[[Load, Target], Ran]


def abreast(transport: str) -> Client:
    """Make the client that is this project: a plan run by `python -m experiments run`."""

    def run(load: Load, target: Target) -> Ran:
        with tempfile.TemporaryDirectory() as folder:
            here = Path(folder)
            plan, runs = here / "plan.toml", here / "runs"
            plan.write_text(_plan(load, target, transport), encoding="utf-8")
            (here / "bodies.jsonl").write_text(BODY + "\n", encoding="utf-8")
            cpu = process.run(
                child.command("experiments", "run", str(plan), "--out", str(runs), "--json"),
                env=environment(), cwd=here, within_s=load.seconds + _AFTERWARDS_S, processes=2,
                accept=(0, 1, 3, 4),  # the verdict on two equal arms is not asked for here
            )  # fmt: skip
            (run_path,) = runs.iterdir()
            manifest = json.loads((run_path / "manifest.json").read_text(encoding="utf-8"))
            if manifest["ended_as"] != "complete":
                raise RuntimeError(f"The run ended as {manifest['ended_as']}: {manifest['reason']}")
            records = pd.read_parquet(run_path / "requests.parquet")
            log = target.take_log()
        is_scheduled = log["inference_id"].str.startswith(run_path.name)  # and not a first try
        came = log[is_scheduled]
        is_sent = records["outcome"] != "dropped"
        _tell_failures(int(np.sum(records["outcome"][is_sent] != "ok")))
        ok = records[records["outcome"] == "ok"]
        start_ns = ok["started_ns"] if load.think_s is not None else ok["scheduled_ns"]
        had_free_slot = ok["slots_busy"] < load.users
        timed = pd.DataFrame(
            {
                "at_s": start_ns / 1e9,
                "service_ms": (ok["ended_ns"] - ok["started_ns"]) / 1e6,
                "response_ms": (ok["ended_ns"] - ok["scheduled_ns"]) / 1e6,
                "late_ms": ((ok["started_ns"] - ok["scheduled_ns"]) / 1e6).where(had_free_slot),
            }
        )
        return Ran(
            came=came.assign(index=came["inference_id"].str.rpartition("-")[2].astype(int)),
            epoch_ns=int(log["arrived_ns"].min()),
            timed=timed,
            cpu=cpu,
            told_lost=None
            if load.think_s is not None
            else manifest["counts"]["dropped"] + manifest["counts"]["unsent"],
        )

    return run


def _plan(load: Load, target: Target, transport: str) -> str:
    if load.think_s is None:
        traffic = f'arrivals = "constant"\nrate = {load.rate_rps}\nslots = {load.users}'
    else:
        think_ms = load.think_s * 1000
        traffic = f'arrivals = "closed"\nusers = {load.users}\nthink_time = "{think_ms:g}ms"'
    return f"""question = "compare"
seed = 1
[endpoint]
name = "benchmark"
target = "{target.url}"
region = "us-east-1"
[arms.a]
[arms.b]
request = {{ target_variant = "a" }}
[request]
payloads = "bodies.jsonl"
content_type = "application/json"
inference_id = true
[traffic]
routing = "pinned"
{traffic}
warmup = "0s"
duration = "{load.seconds}s"
transport = "{transport}"
[compare]
baseline = "a"
margins = {{ p50 = "5%" }}
"""


def locust_fasthttp(load: Load, target: Target) -> Ran:
    """Locust with FastHttpUser, its users spread evenly over their period."""
    return _locust("locust_fasthttp.py", load, target)


def locust_fasthttp_together(load: Load, target: Target) -> Ran:
    """Locust with FastHttpUser, all users started at once, as Locust does."""
    return _locust("locust_fasthttp.py", load, target, TOGETHER="1")


def locust_boto3(load: Load, target: Target) -> Ran:
    """Locust with boto3, its users spread evenly over their period."""
    return _locust("locust_boto3.py", load, target)


def _locust(file: str, load: Load, target: Target, **settings: str) -> Ran:
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        raw = here / "raw.txt"
        settings |= {"URL": target.url, "RATE": str(load.rate_rps), "USERS": str(load.users)}
        if load.is_timed:
            settings["RAW"] = str(raw)
        if load.think_s is not None:
            settings["THINK_S"] = str(load.think_s)
        # The last user starts up to a period after the first.
        run_s = load.seconds + math.ceil(load.users / load.rate_rps)
        cpu = process.run(
            child.command(
                "locust", "--locustfile", str(PEERS / file), "--headless", "--only-summary",
                "--users", str(load.users), "--spawn-rate", str(load.users),
                "--run-time", f"{run_s}s", "--stop-timeout", "5s",
            ),
            env=environment() | settings, cwd=here, within_s=run_s + _AFTERWARDS_S,
            accept=(0, 1),
        )  # fmt: skip
        timed = _locust_latencies(raw) if load.is_timed else pd.DataFrame()
        came = target.take_log()
    index = came["user"].fillna(came["inference_id"]).astype(int)
    return Ran(
        came=came.assign(index=index),
        epoch_ns=int(came["arrived_ns"].min()),
        timed=timed,
        cpu=cpu,
    )


def _locust_latencies(raw: Path) -> pd.DataFrame:
    rows = pd.read_csv(
        raw, sep=" ", names=["ended_ns", "service_ms", "is_ok"], float_precision="round_trip"
    )
    at_s = rows["ended_ns"] / 1e9 - rows["service_ms"] / 1e3
    _tell_failures(int((rows["is_ok"] == 0).sum()))
    timed = rows.assign(at_s=at_s - at_s.min())
    return timed.loc[timed["is_ok"] == 1, ["at_s", "service_ms"]]


def k6(load: Load, target: Target) -> Ran:
    """k6 with constant-arrival-rate, or with constant-vus where there is a time to think."""
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        raw, summary = here / "raw.json", here / "summary.json"
        settings = {
            "URL": target.url, "REQUEST_PATH": PATH, "BODY": BODY, "RATE": str(load.rate_rps),
            "USERS": str(load.users), "SECONDS": str(load.seconds),
            "K6_NO_USAGE_REPORT": "true", "K6_NO_COLOR": "true",
        }  # fmt: skip
        if load.think_s is not None:
            settings["THINK_S"] = str(load.think_s)
        out = ["--out", f"json={raw}"] if load.is_timed else []
        cpu = process.run(
            [_k6_binary(), "run", "--quiet", "--address", "127.0.0.1:0",
             "--summary-export", str(summary), *out, str(PEERS / "k6.js")],
            env=environment() | settings, cwd=here, within_s=load.seconds + _AFTERWARDS_S,
        )  # fmt: skip
        metrics = json.loads(summary.read_text(encoding="utf-8"))["metrics"]
        timed = _k6_latencies(raw) if load.is_timed else pd.DataFrame()
        came = target.take_log()
    # "passes" counts the samples of which "failed" is true.
    _tell_failures(int(metrics["http_req_failed"]["passes"]))
    return Ran(
        came=came.assign(index=came["user"].astype(int)),
        epoch_ns=int(came["arrived_ns"].min()),
        timed=timed,
        cpu=cpu,
        told_lost=int(metrics.get("dropped_iterations", {"count": 0})["count"])
        if load.think_s is None
        else None,
    )


def _k6_latencies(raw: Path) -> pd.DataFrame:
    ended: list[str] = []
    service_ms: list[float] = []
    with raw.open(encoding="utf-8") as lines:
        for line in lines:
            if '"http_req_duration"' not in line:
                continue
            sample = json.loads(line)
            if sample["type"] == "Point" and sample["data"]["tags"]["status"] == "200":
                ended.append(sample["data"]["time"])
                service_ms.append(sample["data"]["value"])
    ended_ns = pd.to_datetime(pd.Series(ended), format="ISO8601", utc=True).dt.as_unit("ns")
    at_s = ended_ns.astype("int64") / 1e9 - np.asarray(service_ms) / 1e3
    return pd.DataFrame({"at_s": at_s - at_s.min(), "service_ms": service_ms})


def _k6_binary() -> str:
    """Find the binary that the package `k6` installed beside this Python.

    Raises:
        RuntimeError: the package is not installed.
    """
    try:
        metadata.version("k6")
    except metadata.PackageNotFoundError:
        found = None
    else:
        found = shutil.which("k6", path=str(Path(sys.executable).parent))
    if found is None:
        raise RuntimeError("k6 is not installed; install the dependency group `bench`.")
    return found


def environment() -> dict[str, str]:
    """Give an environment in which only the benchmark's own settings reach a client."""
    kept = {
        name: value
        for name, value in child.environment().items()
        if not name.startswith(("AWS_", "K6_", "LOCUST_")) and not name.lower().endswith("_proxy")
    }
    return kept | {
        "AWS_ACCESS_KEY_ID": "benchmark",
        "AWS_SECRET_ACCESS_KEY": "benchmark",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def _tell_failures(count: int) -> None:
    if count:
        print(f"{count} requests failed; their latencies are left out.", file=sys.stderr)
