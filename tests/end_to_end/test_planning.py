"""`abreast power` and `abreast simulate`: on plans, on runs, and on what is neither."""

import json
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.analysis.runs import record, write_run
from tests.end_to_end.conftest import Command, command, environment


@pytest.fixture
def run(tmp_path: Path) -> Path:
    rng = np.random.default_rng(1)
    rows = [
        record(n, ("current", "candidate")[n % 2], float(at_s), 20 * float(rng.lognormal(0, 0.3)))
        for n, at_s in enumerate(np.sort(rng.uniform(0, 130, 3000)))
    ]
    return write_run(tmp_path / "run", rows)


def test_power_of_a_plan_and_of_a_run(abreast: Command, run: Path) -> None:
    for arguments in (["ab", "--like", str(run)], [str(run)]):
        ended = abreast("power", *arguments)
        assert ended.returncode == 0, ended.stderr
        assert ended.stderr == ""
        assert "candidate against current" in ended.stdout
    found = json.loads(abreast("power", "ab", "--spread", "0.3", "--deff", "2", "--json").stdout)
    assert [each["metric"] for each in found["metrics"]][:2] == ["p50", "p90"]
    assert {each["design_effect"] for each in found["metrics"]} == {2.0}


def test_simulate_a_plan_and_a_run(abreast: Command, run: Path) -> None:
    for arguments in (["ab", "--stream", "iid"], [str(run)]):
        ended = abreast("simulate", *arguments, "--runs", "20", "--effect", "30%")
        assert ended.returncode == 0, ended.stderr
        assert "A/A: equal arms" in ended.stdout
        assert "A/B: one arm's latencies +30%" in ended.stdout
    tallies = json.loads(abreast("simulate", str(run), "--runs", "20", "--json").stdout)["tallies"]
    assert {(each["runs"], each["stream"]) for each in tallies} == {(20, "current")}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["power", "nothing"], "no built-in plan"),
        (["power", "."], "no run folder"),
        (["power", "load"], "compares nothing"),
        (["power", "ab", "--like", "nowhere"], "no run folder"),
        (["power", "ab", "--like", ".", "--deff", "2"], "Give either"),
        (["power", "ab", "--spread", "0"], "--spread"),
        (["power", "run", "--spread", "1"], "Leave them out for a run"),
        (["simulate", "run", "--stream", "iid"], "Leave them out for a run"),
        (["simulate", "ab", "--stream", "sea"], 'no stream "sea"'),
        (["simulate", "ab", "--effect", "10"], '"10" is no change'),
        (["simulate", "ab", "--effect", "-100%"], '"-100%" is no change'),
        (["simulate", "ab", "--runs", "1000000"], "--runs"),
        (["simulate", "load"], "compares nothing"),
    ],
)
def test_what_cannot_be_answered_is_refused_with_one_message(
    abreast: Command, run: Path, arguments: list[str], said: str
) -> None:
    ended = abreast(*arguments)
    assert ended.returncode == 2, ended.stderr
    assert said in ended.stderr
    assert ended.stdout == ""
    assert "Traceback" not in ended.stderr


def test_ctrl_c_ends_a_simulation(tmp_path: Path) -> None:
    with subprocess.Popen(
        command("simulate", "ab", "--runs", "10000"),
        cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        assert "of 10,000 runs" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in err


@pytest.mark.parametrize("name", ["power", "simulate"])
def test_each_has_help_with_two_examples(abreast: Command, name: str) -> None:
    ended = abreast(name, "--help")
    assert ended.returncode == 0
    assert ended.stdout.count(f"  abreast {name} ") == 2
