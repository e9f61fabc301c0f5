"""A run to break: its plan and endpoint in a folder, `abreast` as a process, and what it left."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest

from experiments.local import process as local_endpoint
from tests.end_to_end import conftest
from tests.end_to_end.conftest import ROOT, command, environment, manifest_of

LONG = "traffic.duration=60s"
LOCUST, ENDPOINT = "experiments.traffic", "experiments.local.server"
SHOP = """
name = "shop"
served_log = "served.csv"
model_timeout = "900ms"
[variants.current]
simulated = { distribution = "lognormal", median = "500ms", sigma = 0.1, workers = 256 }
[variants.candidate]
simulated = { distribution = "lognormal", median = "490ms", sigma = 0.1, workers = 256 }
[variants.stalled]
simulated = { constant = "60s", workers = 256 }
[variants.stalled-too]
simulated = { constant = "60s", workers = 256 }
"""
"""Its answers take long: requests may be late by 5 % of that, which they are on a busy machine."""
RATE_RPS, SLOTS = 50, 64
PLAN = conftest.PLAN.replace("rate = 60", f"rate = {RATE_RPS}").replace(
    "slots = 32", f"slots = {SLOTS}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a run ended: its exit code, what it printed, and its folder, where it left one."""

    code: int
    said: str
    folder: Path | None

    @property
    def manifest(self) -> dict[str, Any]:
        assert self.folder is not None, self.said
        return manifest_of(self.folder)

    @property
    def rows(self) -> list[dict[str, Any]]:
        assert self.folder is not None, self.said
        rows: list[dict[str, Any]] = pq.read_table(self.folder / "requests.parquet").to_pylist()
        return rows


class Kit:
    """Starts runs in a folder of its own; they call `shop`, unless they are told to call another.

    `served_log` is where the endpoint notes what it served, `None` where it does not.
    """

    def __init__(self, folder: Path, shop: local_endpoint.LocalEndpoint, served_log: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.out = folder / "reports"
        self.plan = folder / "shop.toml"
        (folder / "rows.jsonl").write_text("".join(f'{{"x": {i}}}\n' for i in range(10)))
        self.call(shop.url)
        self.env = shop.client_environment(environment())
        self.served_log: Path | None = served_log

    def call(self, url: str) -> None:
        """Let the plan call a URL, whose server keeps no log."""
        text = PLAN.replace('config = "shop.endpoint.toml"\n', "")
        self.plan.write_text(text.replace('target = "local"', f'target = "{url}"'))
        self.served_log = None

    def keep_endpoint(self, more: str = "") -> Path:
        """Write an endpoint's file, which the plan of a run that starts its own names."""
        self.plan.write_text(PLAN)
        self.env = environment()
        self.served_log = self.folder / "served.csv"
        file = self.folder / "shop.endpoint.toml"
        file.write_text(SHOP.replace("served.csv", str(self.served_log)) + more)
        return file

    def serve(self) -> local_endpoint.LocalEndpoint:
        """Serve an endpoint of this kit's alone, apart from the run, and let the plan call it."""
        file = self.keep_endpoint()
        endpoint, served_log = local_endpoint.start(file), self.served_log
        self.call(endpoint.url)
        self.env, self.served_log = endpoint.client_environment(environment()), served_log
        return endpoint

    def start(
        self,
        *overrides: str,
        under: Sequence[str] = (),
        env: dict[str, str] | None = None,
        by: Sequence[str] = (),
    ) -> subprocess.Popen[str]:
        """Start `abreast run`, or what `by` starts, with keys of the plan set, after `under`."""
        sets = [part for override in overrides for part in ("--set", override)]
        return self.popen(*under, *(by or command("run", str(self.plan))), "--out", str(self.out),
                          *sets, env=env)  # fmt: skip

    def start_locust(
        self, *overrides: str, code: str = "import locust.main; locust.main.main()"
    ) -> subprocess.Popen[str]:
        """Start plain Locust with the plan, by some code of Python."""
        by = [sys.executable, "-c", code, "-f", str(ROOT / "locustfile.py"), "--headless",
              "--only-summary", "--plan", str(self.plan)]  # fmt: skip
        clean = {k: v for k, v in self.env.items() if not k.startswith("LOCUST_")}
        return self.start(*overrides, by=by, env=clean)

    def popen(self, *line: str, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
        return subprocess.Popen(
            line, cwd=self.folder, env=env or self.env, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )  # fmt: skip

    def end(self, run: subprocess.Popen[str], seconds: float = 60) -> Ended:
        """Wait for a run's end, which it must come to by itself."""
        said, _ = run.communicate(timeout=seconds)
        folders = list(self.out.iterdir()) if self.out.is_dir() else []
        return Ended(
            code=run.returncode,
            said=" ".join(said.split()),
            folder=folders[0] if folders else None,
        )

    def report(self) -> Ended:
        """Judge the run that was left, with `abreast report`."""
        (folder,) = self.out.iterdir()
        return self.end(self.popen(*command("report", str(folder))))

    def wait_for_requests(self, run: subprocess.Popen[str], seconds: float = 40) -> Path:
        """Wait until the run has written some batches, and give its folder."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and run.poll() is None:
            streams = list(self.out.glob("*/requests/requests-0.arrows"))
            if streams and os.path.getsize(streams[0]) > 12_000:
                return streams[0].parents[1]
            time.sleep(0.05)
        run.kill()
        pytest.fail(f"no request was recorded in time: {run.communicate()[0]}")


Cause = Callable[[Kit], Ended]

STRUCK = """
import os, sys
from importlib import import_module
number, at = int(sys.argv.pop(1)), sys.argv.pop(1)
module, _, name = at.rpartition(".")
through = getattr(import_module(module), name)
def struck(*arguments, **named):
    os.kill(os.getpid(), number)
    return through(*arguments, **named)
setattr(import_module(module), name, struck)
from experiments.cli import main
main()
"""


def struck(number: signal.Signals, at: str, *arguments: str) -> list[str]:
    """Give the command of an `abreast` that gets a signal whenever it comes to call `at`."""
    return [sys.executable, "-P", "-c", STRUCK, str(int(number)), at, *arguments]


def child_of(run: subprocess.Popen[str], module: str) -> psutil.Process:
    children = psutil.Process(run.pid).children(recursive=True)
    return next(child for child in children if module in child.cmdline())
