"""Real runs: `abreast` and `locust` as processes, on a local endpoint of simulated variants."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

ENDPOINT = """
name = "shop"
[variants.current]
simulated = { distribution = "lognormal", median = "6ms", sigma = 0.3, workers = 4 }
[variants.candidate]
simulated = { distribution = "lognormal", median = "3ms", sigma = 0.3, workers = 4 }
"""

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


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    """A plan of three seconds with its endpoint and payloads beside it."""
    (tmp_path / "shop.endpoint.toml").write_text(ENDPOINT)
    (tmp_path / "rows.jsonl").write_text("".join(f'{{"x": {i}}}\n' for i in range(10)))
    path = tmp_path / "shop.toml"
    path.write_text(PLAN)
    return path


Command = Callable[..., subprocess.CompletedProcess[str]]


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


@pytest.fixture
def abreast(tmp_path: Path) -> Command:
    """Run `abreast` in an empty folder, and give what it printed."""

    def run(*arguments: str, seconds: float = 120) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(*arguments),
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    return run


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
