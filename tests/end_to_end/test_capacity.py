"""A capacity search through the whole program: an answer, a refusal, an interruption."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.end_to_end.conftest import Command, command, environment, manifest_of, only_run

ENDPOINT = """
name = "shop"
[variants.current]
instance_type = "ml.c6i.large"
simulated = { constant = "%s", workers = 2 }
"""
PLAN = """
question = "capacity"
seed = 5
[endpoint]
name = "shop"
target = "local"
config = "shop.endpoint.toml"
[arms.current]
instance_price_usd_per_hour = 0.1
[request]
payloads = "rows.jsonl"
content_type = "application/json"
[traffic]
routing = "pinned"
warmup = "1s"
[slo]
p90 = "150ms"
[capacity]
resolution = "50%"
probe = "3s"
cooldown = "0s"
replicates = 1
start_rate = 25
peak_rate = 300
"""


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    (tmp_path / "shop.endpoint.toml").write_text(ENDPOINT % "25ms")
    (tmp_path / "rows.jsonl").write_text("".join(f'{{"x": {i}}}\n' for i in range(10)))
    path = tmp_path / "shop.toml"
    path.write_text(PLAN)
    return path


@pytest.mark.alone
def test_a_search_finds_what_the_endpoint_is_known_to_carry(
    abreast: Command, plan: Path, tmp_path: Path
) -> None:
    ended = abreast("run", str(plan), seconds=240)
    assert ended.returncode in (0, 4), ended.stdout + ended.stderr
    folder = only_run(tmp_path / "reports")
    found = json.loads((folder / "report.json").read_text())["capacity"]
    assert found["instances"] == 1
    assert len(found["probes"]) == len(list((folder / "runs").iterdir()))
    for run in (folder / "runs").iterdir():
        after = manifest_of(run)["endpoint_after"]["variants"]["current"]
        assert after["instances"] == after["desired_instances"] == 1
    again = abreast("capacity", str(folder), "--json")
    assert again.returncode == ended.returncode
    assert json.loads(again.stdout)["capacity"] == found
    if ended.returncode == 4:
        return  # the machine was too busy to send on time, and the report says so
    # Two workers at 25 ms are full at 80 a second; theory gives the rate that keeps 150 ms.
    truth = abreast("serve", "shop.endpoint.toml", "--truth", "--rate", "20", "--slo", "p90=150ms")
    known = float(truth.stdout.split("current")[-1].split()[0])
    assert 70 < known < 80
    assert found["interval"]["low"] <= known <= found["interval"]["high"]
    assert (folder / "report.html").read_text().count("<svg") >= 2


@pytest.mark.alone
def test_an_endpoint_that_takes_no_time_gives_a_refusal_and_no_number(
    abreast: Command, plan: Path, tmp_path: Path
) -> None:
    (tmp_path / "shop.endpoint.toml").write_text(ENDPOINT % "0ms")
    fast = ("--set", "capacity.start_rate=2000", "--set", 'slo={ p90 = "20ms" }',
            "--set", 'capacity.probe="2s"', "--set", "capacity.resolution=90%")  # fmt: skip
    ended = abreast("run", str(plan), *fast, seconds=240)
    assert ended.returncode == 4, ended.stdout + ended.stderr
    assert "This number is the client's, not the endpoint's" in ended.stdout
    report = json.loads((only_run(tmp_path / "reports") / "report.json").read_text())
    assert report["capacity"]["rate_rps"] is None
    assert report["capacity"]["interval"] is None
    assert report["capacity"]["sizing"] is None


def test_an_interrupted_search_keeps_and_judges_what_was_made(plan: Path, tmp_path: Path) -> None:
    running = subprocess.Popen(
        command("run", str(plan)), cwd=tmp_path, env=environment(),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline_s = time.monotonic() + 60
    while time.monotonic() < deadline_s:
        made = list(tmp_path.glob("reports/*/runs/*/requests.parquet"))
        if made:
            break
        time.sleep(0.1)
    os.kill(running.pid, signal.SIGINT)
    output, errors = running.communicate(timeout=60)
    assert running.returncode == 130, output + errors
    folder = only_run(tmp_path / "reports")
    assert manifest_of(folder)["ended_as"] == "interrupted"
    report = json.loads((folder / "report.json").read_text())
    assert report["capacity"]["probes"]
    assert "It was interrupted." in report["verdict"]["context"][-1]


def test_limits_hold_for_all_probes_together(abreast: Command, plan: Path, tmp_path: Path) -> None:
    limits = "limits={ max_requests = 250, max_minutes = 5 }"
    ended = abreast("run", str(plan), "--set", limits)
    assert "beyond [limits]" in ended.stderr
    folder = only_run(tmp_path / "reports")
    assert sum(manifest_of(run)["counts"]["ended"] for run in (folder / "runs").iterdir()) < 300


def test_a_dry_run_says_what_is_searched(abreast: Command, plan: Path) -> None:
    shown = abreast("run", str(plan), "--dry-run")
    assert shown.returncode == 0, shown.stderr
    assert "for the highest rate" in shown.stdout
    assert "p90 within 150 ms" in shown.stdout
