"""A run that is looked at while it goes on, through the whole program."""

import json
from pathlib import Path

import pytest

import analysis
from experiments.run_folder import RunFolder
from tests.end_to_end.conftest import STEADY, Command, assert_adds_up, manifest_of, only_run

MEASURED = (
    "--set", "traffic.duration=15s", "--set", "traffic.rate=120", "--set", "traffic.slots=128",
    "--set", "compare.memory=500ms",
)  # fmt: skip


@pytest.mark.alone
def test_a_run_stops_at_the_look_that_decides_it(
    abreast: Command, inside: Command, plan: Path, tmp_path: Path
) -> None:
    (tmp_path / "shop.endpoint.toml").write_text(STEADY.format(current="200ms", candidate="400ms"))
    ended = abreast("run", str(plan), *MEASURED, "--until-decided", seconds=300)
    assert ended.returncode in (1, 4), ended.stdout + ended.stderr
    assert "Look 1 of 5 at 3 s: not decided yet." in ended.stderr
    folder = only_run(tmp_path / "reports")
    manifest = manifest_of(folder)
    timeline = [json.loads(line) for line in RunFolder(folder).timeline.read_text().splitlines()]
    *before, last = (event for event in timeline if event["kind"] == "look")
    # 6 s is 12 times as long as noise lasts, after which four cosines guard a look's bound. It is
    # enough where the machine is not too busy.
    assert 2 <= last["look"] < 5
    assert [(event["look"], event["decided"]) for event in before] == [
        (number, False) for number in range(1, last["look"])
    ]
    assert ["candidate", "p50", "worse"] in last["calls"]
    at_s = 3 * last["look"]
    assert (manifest["ended_as"], manifest["reason"]) == (
        "stopped", f"Decided at look {last['look']} of 5, at {at_s} s.",
    )  # fmt: skip
    assert_adds_up(manifest["counts"])
    assert manifest["counts"]["unsent"] > 120 * (15 - at_s - 4)
    run = analysis.read_run(folder)
    latest_s = run.measured["scheduled_ms"].max() / 1e3
    assert latest_s < at_s + 1 <= run.requests["scheduled_ms"].max() / 1e3
    if ended.returncode == 4:  # this machine was too busy to send on time
        return
    assert "Don't ship candidate" in ended.stdout
    assert manifest["reason"] in " ".join(ended.stdout.split())
    report = json.loads((folder / "report.json").read_text())
    again = inside("report", str(folder), "--json")
    assert again.returncode == 1
    assert json.loads(again.stdout) == report
    calls = {d["metric"]: d["call"] for d in report["differences"] if d["margin"] is not None}
    assert [["candidate", *call] for call in calls.items()] == last["calls"]
