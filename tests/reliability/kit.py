"""A run to break: its plan and endpoint in a folder, `abreast` as a process, and what it left."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest

from experiments.local import process as local_endpoint
from tests.end_to_end.conftest import ENDPOINT, PLAN, command, environment, manifest_of

LIMITS = "limits={max_requests=10000, max_minutes=1}"


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
    """Starts runs in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.out = folder / "reports"
        self.plan = folder / "shop.toml"
        self.endpoint_file = folder / "shop.endpoint.toml"
        self.served_log = folder / "served.csv"
        self.endpoint_file.write_text(f'served_log = "{self.served_log}"\n{ENDPOINT}')
        (folder / "rows.jsonl").write_text("".join(f'{{"x": {i}}}\n' for i in range(10)))
        self.plan.write_text(PLAN)

    def start(
        self, *overrides: str, under: Sequence[str] = (), env: dict[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """Start `abreast run` with keys of the plan set, after the command `under`."""
        sets = [part for override in overrides for part in ("--set", override)]
        return subprocess.Popen(
            [*under, *command("run", str(self.plan), "--out", str(self.out), *sets)],
            cwd=self.folder,
            env=environment() if env is None else env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def end(self, run: subprocess.Popen[str], seconds: float = 60) -> Ended:
        """Wait for a run's end, which it must come to by itself."""
        said, _ = run.communicate(timeout=seconds)
        folders = list(self.out.iterdir()) if self.out.is_dir() else []
        return Ended(
            code=run.returncode,
            said=" ".join(said.split()),
            folder=folders[0] if folders else None,
        )

    def serve(self, port: int = 0) -> local_endpoint.LocalEndpoint:
        """Serve the endpoint apart from the run, and let the plan call it by its URL."""
        endpoint = local_endpoint.start(self.endpoint_file, port=port)
        self.call(endpoint.url)
        return endpoint

    def call(self, url: str) -> None:
        """Let the plan call a URL."""
        text = self.plan.read_text().replace('config = "shop.endpoint.toml"\n', "")
        self.plan.write_text(text.replace('target = "local"', f'target = "{url}"'))

    def wait_for_requests(self, run: subprocess.Popen[str], seconds: float = 40) -> Path:
        """Wait until the run has written some batches, and give its folder."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and run.poll() is None:
            streams = list(self.out.glob("*/requests/requests-0.arrows"))
            if streams and os.path.getsize(streams[0]) > 20_000:
                return streams[0].parents[1]
            time.sleep(0.05)
        run.kill()
        pytest.fail(f"no request was recorded in time: {run.communicate()[0]}")


def child_of(run: subprocess.Popen[str], module: str) -> psutil.Process:
    children = psutil.Process(run.pid).children(recursive=True)
    return next(child for child in children if module in child.cmdline())


Cause = Callable[[Kit], Ended]


def killed(module: str) -> Cause:
    """Kill a child of the run with SIGKILL, in the midst of it."""

    def cause(kit: Kit) -> Ended:
        run = kit.start("traffic.duration=60s")
        kit.wait_for_requests(run)
        child_of(run, module).kill()
        return kit.end(run)

    return cause


def interrupted(*numbers: signal.Signals) -> Cause:
    """Send signals to the run; at a second one Locust hangs, so that only force ends it."""

    def cause(kit: Kit) -> Ended:
        run = kit.start("traffic.duration=60s")
        kit.wait_for_requests(run)
        if len(numbers) > 1:
            child_of(run, "experiments.traffic").suspend()
            time.sleep(1.0)
        for number in numbers:
            run.send_signal(number)
            time.sleep(0.3)
        return kit.end(run)

    return cause
