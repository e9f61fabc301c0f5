"""The tools, each as a command that sends as fast as it can from a number of users."""

import argparse
import os
import platform
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from benchmarks.generator import clients
from benchmarks.generator.target import BODY, CLIENT_CPU, PATH, SERVER_CPU
from experiments import child

PEERS = Path(__file__).parent / "peers"
_PLAN = """question = "load"
seed = 1
[endpoint]
name = "benchmark"
target = "{url}"
region = "us-east-1"
[arms.a]
[request]
payloads = "bodies.jsonl"
content_type = "application/json"
inference_id = true
[traffic]
routing = "pinned"
{traffic}
warmup = "0s"
duration = "{seconds}s"
transport = "{transport}"
[slo]
p99 = "1s"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a tool is asked to do: `users` that send again once they are answered."""

    url: str
    users: int
    seconds: int
    """At least so long; it is ended from outside."""
    folder: Path
    certificate: Path


Command = tuple[list[str], dict[str, str]]
Tool = Callable[[Job], Command | None]
"""Gives a tool's command and settings; `None`: the tool is not installed."""


def abreast(transport: str, rate_rps: int | None = None) -> Tool:
    """Give this project, its requests recorded; with a rate they are scheduled, and queue."""

    def command(job: Job) -> Command:
        traffic = f'arrivals = "closed"\nusers = {job.users}'
        if rate_rps is not None:
            traffic = f'arrivals = "constant"\nrate = {rate_rps}\nslots = {job.users}'
        plan = job.folder / "plan.toml"
        text = _PLAN.format(url=job.url, traffic=traffic, seconds=job.seconds, transport=transport)
        plan.write_text(text, encoding="utf-8")
        (job.folder / "bodies.jsonl").write_text(BODY + "\n", encoding="utf-8")
        runs = str(job.folder / "runs")
        return child.command("experiments", "run", str(plan), "--out", runs, "--quiet"), {}

    return command


def locust(file: str) -> Tool:
    """Give Locust with one of the locustfiles here."""

    def command(job: Job) -> Command:
        users = str(job.users)
        return _locust(job, PEERS / file, "--users", users, "--spawn-rate", users)

    return command


def _locust(job: Job, file: Path, *options: str) -> Command:
    command = child.command("locust", "-f", str(file), "--headless", "--only-summary", *options)
    return command, {"URL": job.url, "USERS": str(job.users)}


def k6(job: Job) -> Command | None:
    """Give k6."""
    found = _installed("k6")
    settings = {
        "URL": job.url, "REQUEST_PATH": PATH, "BODY": BODY, "USERS": str(job.users),
        "SECONDS": str(job.seconds), "GOMAXPROCS": "1",
    }  # fmt: skip
    return None if found is None else ([found, "run", "--quiet", str(PEERS / "k6.js")], settings)


def hey(job: Job) -> Command | None:
    """Give hey."""
    found = _installed("hey")
    arguments = [
        "-z", f"{job.seconds}s", "-c", str(job.users), "-m", "POST", "-T", "application/json",
        "-d", BODY, job.url + PATH,
    ]  # fmt: skip
    return None if found is None else ([found, *arguments], {"GOMAXPROCS": "1"})


def autocannon(job: Job) -> Command | None:
    """Give autocannon."""
    found = _installed("autocannon")
    arguments = [
        "-d", str(job.seconds), "-c", str(job.users), "-m", "POST", "-b", BODY,
        "-H", "content-type=application/json", job.url + PATH,
    ]  # fmt: skip
    return None if found is None else ([found, *arguments], {"NODE_TLS_REJECT_UNAUTHORIZED": "0"})


def wrk(job: Job) -> Command | None:
    """Give wrk."""
    found = _installed("wrk")
    script = job.folder / "post.lua"
    script.write_text(
        f"wrk.method='POST'\nwrk.body=[[{BODY}]]\nwrk.headers['content-type']='application/json'\n",
        encoding="utf-8",
    )
    arguments = [
        "-t", "1", "-c", str(job.users), "-d", f"{job.seconds}s", "-s", str(script),
        job.url + PATH,
    ]  # fmt: skip
    return None if found is None else ([found, *arguments], {})


def _installed(name: str) -> str | None:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return shutil.which(name, path=path)


TOOLS: Mapping[str, Tool] = {
    "Locust, boto3": locust("locust_boto3.py"),
    "Locust, FastHttpUser signed by botocore": locust("locust_fasthttp.py"),
    "Locust, fast transport": locust("locust_fast.py"),
    "abreast, boto3, closed model": abreast("boto3"),
    "abreast, fast, closed model": abreast("fast"),
    "abreast, fast, scheduled": abreast("fast", 100_000),
    "k6, unsigned": k6,
    "hey, unsigned": hey,
    "autocannon, unsigned": autocannon,
    "wrk, unsigned": wrk,
}


def environment(job: Job, settings: Mapping[str, str]) -> dict[str, str]:
    """Give an environment in which only the benchmark's own settings reach a tool."""
    return clients.environment() | {
        "AWS_CA_BUNDLE": str(job.certificate),
        "K6_NO_USAGE_REPORT": "true",
        **settings,
    }


def conditions(run: argparse.Namespace) -> str:
    """Say what was run on what, after a table."""
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("locust", "boto3"))
    return (
        f"\n{run.seconds} s measured, {run.repeats} times; medians, with the range. Over loopback, "
        f"a body of 1 KB.\nThe server had core {SERVER_CPU} and each tool core {CLIENT_CPU}. "
        f"{versions}, Python {platform.python_version()}."
    )
