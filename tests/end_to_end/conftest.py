"""Real runs: `abreast` and `locust` as processes, on a local endpoint of simulated variants."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from experiments.cli import main
from experiments.run_folder import read_stream

ROOT = Path(__file__).parents[2]

ENDPOINT = """
name = "shop"
[variants.current]
simulated = { distribution = "lognormal", median = "6ms", sigma = 0.3, workers = 4 }
[variants.candidate]
simulated = { distribution = "lognormal", median = "3ms", sigma = 0.3, workers = 4 }
"""

STEADY = """
name = "shop"
[variants.current]
simulated = {{ distribution = "lognormal", median = "{current}", sigma = 0.2, workers = 64 }}
[variants.candidate]
simulated = {{ distribution = "lognormal", median = "{candidate}", sigma = 0.2, workers = 64 }}
"""
"""Slow beside any machine: a run is trusted whose requests are late by less than 5 % of this."""

PLAN = """
question = "compare"
seed = 5
[endpoint]
name = "shop"
target = "local"
config = "shop.endpoint.toml"
[arms.current]
[arms.candidate]
[request]
payloads = "rows.jsonl"
content_type = "application/json"
inference_id = true
[traffic]
routing = "paired"
rate = 60
warmup = "1s"
duration = "2s"
slots = 32
[compare]
baseline = "current"
margins = { p50 = "5%", error_rate = "1pp" }
"""


LOCAL = 'target = "local"\nconfig = "shop.endpoint.toml"'
OPEN = "rate = 60\n", "slots = 32\n"
"""What a closed model does not take."""
TIMELINES = "reports/*/timeline.jsonl"
NO_VERDICT = (3, 4)
"""Cannot tell; or cannot be trusted, where this machine is too busy to send on time."""

Command = Callable[..., subprocess.CompletedProcess[str]]


def write_plan(folder: Path, plan: str = PLAN, endpoint: str = ENDPOINT) -> Path:
    """Write a plan with its endpoint and payloads beside it."""
    (folder / "shop.endpoint.toml").write_text(endpoint)
    (folder / "rows.jsonl").write_text("".join(f'{{"x": {i}}}\n' for i in range(10)))
    path = folder / "shop.toml"
    path.write_text(plan)
    return path


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    """A plan of three seconds with its endpoint and payloads beside it."""
    return write_plan(tmp_path)


@pytest.fixture
def closed(plan: Path) -> Path:
    """The same without what the closed model does not take."""
    text = plan.read_text()
    for line in OPEN:
        text = text.replace(line, "")
    plan.write_text(text)
    return plan


def environment() -> dict[str, str]:
    """Give the environment of someone with settings of their own, which must not matter."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "PYTEST", "COV_"))}
    return {
        **kept,
        "PYTHONPATH": str(ROOT),
        "LOCUST_USERS": "1",
        "LOCUST_RUN_TIME": "1s",
        "AWS_PROFILE": "no-such-profile",
        "AWS_SESSION_TOKEN": "stale",
        "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true",
        "HTTP_PROXY": "http://127.0.0.1:1",
    }


def command(*arguments: str) -> list[str]:
    """Give the command line of `abreast`, from a checkout or an installation."""
    return [sys.executable, "-P", "-m", "experiments", *arguments]


def start(
    line: Sequence[str], folder: Path, surroundings: dict[str, str] | None = None
) -> subprocess.Popen[str]:
    """Start a command line in a folder; what it says can be read."""
    return subprocess.Popen(
        line, cwd=folder, env=surroundings or environment(), stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finish(process: subprocess.Popen[str], seconds: float = 120) -> tuple[str, str]:
    """Wait for the end, and give what was said on stdout and stderr."""
    try:
        return process.communicate(timeout=seconds)
    finally:
        process.kill()


def start_locust(
    folder: Path, *arguments: str, file: Path = ROOT / "locustfile.py"
) -> subprocess.Popen[str]:
    """Start plain Locust on a locustfile."""
    clean = {k: v for k, v in environment().items() if not k.startswith("LOCUST_")}
    return start([sys.executable, "-P", "-m", "locust", "-f", str(file), *arguments], folder, clean)


def run_abreast(
    folder: Path, *arguments: str, seconds: float = 120, **variables: str | None
) -> subprocess.CompletedProcess[str]:
    """Run `abreast` in a folder as a process of its own; what is `None` is no variable there."""
    surroundings = {**environment(), **variables}
    known = {name: value for name, value in surroundings.items() if value is not None}
    process = start(command(*arguments), folder, known)
    out, err = finish(process, seconds)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@pytest.fixture
def abreast(tmp_path: Path) -> Command:
    """Run `abreast` in an empty folder, and give what it printed."""

    def run(*arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
        return run_abreast(tmp_path, *arguments, **more)

    return run


def until_trusted(
    folder: Path, *arguments: str, **variables: str
) -> tuple[subprocess.CompletedProcess[str], Path]:
    """Run `abreast`, again where the machine was too busy to send on time; give what it made."""
    for out in ("first", "second", "third"):
        ended = run_abreast(folder, *arguments, "--out", out, seconds=240, **variables)
        if ended.returncode != 4:
            break
    return ended, only_run(folder / out)


@pytest.fixture
def inside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """Run `abreast` in this process, a second quicker: for commands that start no other."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        monkeypatch.setattr(sys, "argv", ["abreast", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return subprocess.CompletedProcess(arguments, ended.value.code, said.out, said.err)

    return run


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.02)
    raise TimeoutError("it did not happen in time")


def has_begun(folder: Path) -> bool:
    """Say whether the clock of a run below `folder` was started."""
    return any('"start"' in file.read_text() for file in folder.glob(TIMELINES))


def has_recorded(out: Path, rows: int, workers: int = 1) -> bool:
    """Say whether each worker of a run that goes on below `out` has written so many records."""
    streams = [read_stream(file)[0] for file in out.glob("*/requests/requests-*.arrows")]
    return sum(table is not None and table.num_rows >= rows for table in streams) == workers


def only_run(out: Path) -> Path:
    """Give the one run folder below `out`."""
    (folder,) = out.iterdir()
    return folder


def manifest_of(folder: Path) -> dict[str, Any]:
    """Read a run's manifest."""
    manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    return manifest


def assert_adds_up(counts: dict[str, int]) -> None:
    """Hold the accounting to planned = ended + dropped + unsent + missing."""
    parts: Sequence[int] = [v for k, v in counts.items() if k != "planned"]
    assert counts["planned"] == sum(parts)
    assert min(parts) >= 0
