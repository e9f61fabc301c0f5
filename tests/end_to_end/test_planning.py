"""`abreast power` and `abreast simulate`: on plans and on runs."""

import json
import signal
from pathlib import Path

import numpy as np
import pytest

from tests.analysis.runs import record, write_run
from tests.end_to_end.conftest import Command, command, finish, start


@pytest.fixture
def run(tmp_path: Path) -> Path:
    rng = np.random.default_rng(1)
    rows = [
        record(n, ("current", "candidate")[n % 2], float(at_s), 20 * float(rng.lognormal(0, 0.3)))
        for n, at_s in enumerate(np.sort(rng.uniform(0, 130, 3000)))
    ]
    return write_run(tmp_path / "run", rows)


def test_power_of_a_plan_and_of_a_run(inside: Command, run: Path) -> None:
    for arguments in (["ab", "--like", str(run)], [str(run)]):
        ended = inside("power", *arguments)
        assert ended.returncode == 0, ended.stderr
        assert ended.stderr == ""
        assert "candidate against current" in ended.stdout
    found = json.loads(inside("power", "ab", "--spread", "0.3", "--deff", "2", "--json").stdout)
    assert [each["metric"] for each in found["metrics"]][:2] == ["p50", "p90"]
    assert {each["design_effect"] for each in found["metrics"]} == {2.0}


def test_simulate_a_plan_and_a_run(inside: Command, run: Path) -> None:
    for arguments in (["ab", "--stream", "iid"], [str(run)]):
        ended = inside("simulate", *arguments, "--runs", "20", "--effect", "30%")
        assert ended.returncode == 0, ended.stderr
        assert "A/A: equal arms" in ended.stdout
        assert "A/B: one arm's latencies +30%" in ended.stdout
    tallies = json.loads(inside("simulate", str(run), "--runs", "20", "--json").stdout)["tallies"]
    assert {(each["runs"], each["stream"]) for each in tallies} == {(20, "current")}


def test_ctrl_c_ends_a_simulation(tmp_path: Path) -> None:
    process = start(command("simulate", "ab", "--runs", "10000"), tmp_path)
    assert process.stderr is not None
    assert "of 10,000 runs" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    out, err = finish(process)
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in err
