"""An endpoint that outlives the runs on it, as AWS's does, and runs that can be killed."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import psutil

from experiments.local import process as local_endpoint
from tests.end_to_end.conftest import (
    LOCAL,
    PLAN,
    ROOT,
    command,
    environment,
    finish,
    start,
    write_plan,
)

ENDPOINT = """
name = "shop"
metrics_delay = "0s"
{settings}
[variants.current]
weight = 3
simulated = {{ distribution = "lognormal", median = "4ms", sigma = 0.3, workers = 4 }}
{current}
[variants.candidate]
weight = 1
simulated = {{ distribution = "lognormal", median = "2ms", sigma = 0.3, workers = 4 }}
"""
TRAFFIC = """[traffic]
rate = {rate}
warmup = "1s"
duration = "{duration}"
slots = 16
{traffic}
[compare]
baseline = "current"
margins = {{ p50 = "5%" }}
{tables}
"""

SUPERVISE = """
import sys
from pathlib import Path
from experiments import launch
from experiments.locust_process import Rig

def tell(message):
    sys.stderr.write(message.get("text", ""))

path = Path(sys.argv[1])
launch.run(path, (), Rig(out=Path("reports"), tell=tell))
"""


@cache
def _client(url: str, service: str) -> Any:
    keys = {"aws_access_key_id": "local", "aws_secret_access_key": "local"}
    return boto3.client(service, endpoint_url=url, region_name="us-east-1", **keys)


@dataclass(frozen=True)
class World:
    """A folder with a plan in it, and the endpoint that the plan is about."""

    folder: Path
    url: str

    @property
    def environment(self) -> dict[str, str]:
        """The environment of someone with credentials of their own."""
        others = ("AWS_", "LOCUST_", "HTTP_PROXY")
        kept = {name: v for name, v in environment().items() if not name.startswith(others)}
        return {**kept, "AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local"}

    def client(self, service: str) -> Any:
        """Give boto3's client of the endpoint, as whoever else uses it has."""
        return _client(self.url, service)

    def weights(self) -> dict[str, float]:
        """Give the weights that hold."""
        found = self.client("sagemaker").describe_endpoint(EndpointName="shop")
        return {one["VariantName"]: one["CurrentWeight"] for one in found["ProductionVariants"]}

    def plan(self, traffic: str, *, rate: int = 40, duration: str = "2s", tables: str = "") -> Path:
        """Write a plan and its payloads."""
        there = f'target = "{self.url}"\nregion = "us-east-1"'
        text = PLAN.partition("[traffic]")[0].replace(LOCAL, there)
        text += TRAFFIC.format(rate=rate, duration=duration, traffic=traffic, tables=tables)
        return write_plan(self.folder, text, (self.folder / "shop.endpoint.toml").read_text())

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Start `abreast`; what it says on stderr can be read."""
        return start(command(*arguments), self.folder, self.environment | environment)

    def supervise(self, plan: Path) -> subprocess.Popen[str]:
        """Start the part of `abreast run` that makes the run, which is not judged."""
        line = [sys.executable, "-P", "-c", SUPERVISE, str(plan)]
        return start(line, self.folder, self.environment)

    def locust(self, plan: Path, file: Path = ROOT / "locustfile.py") -> subprocess.Popen[str]:
        """Start plain Locust."""
        options = ("--headless", "--only-summary", "--plan", str(plan))
        line = [sys.executable, "-m", "locust", "-f", str(file), *options]
        return start(line, self.folder, self.environment)

    def run(self, *arguments: str, **environment: str) -> tuple[int, str]:
        """Run `abreast`, and give its exit code and what it said on stderr."""
        process = self.start(*arguments, **environment)
        _, said = finish(process)
        return process.returncode, said

    def journal(self) -> dict[str, Any]:
        """Give the newest weights.json, or nothing."""
        files = sorted((self.folder / "reports").glob("*/weights.json"))
        return json.loads(files[-1].read_text()) if files else {}

    def timeline(self) -> str:
        """Give the timelines of all runs."""
        files = (self.folder / "reports").glob("*/timeline.jsonl")
        return "".join(path.read_text() for path in files)


@contextmanager
def world(folder: Path, settings: str = "", current: str = "") -> Iterator[World]:
    """Serve an endpoint while this lasts."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "shop.endpoint.toml"
    config.write_text(ENDPOINT.format(settings=settings, current=current))
    endpoint = local_endpoint.start(config)
    try:
        yield World(folder, endpoint.url)
    finally:
        endpoint.stop()


def locust_of(process: subprocess.Popen[str]) -> psutil.Process:
    """Give the Locust process of a run."""
    children = psutil.Process(process.pid).children()
    return next(each for each in children if "experiments.traffic" in each.cmdline())


def kill(*pids: int) -> None:
    """Kill processes at once."""
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
