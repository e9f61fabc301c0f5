"""A run that is looked at while it goes on, through the whole program."""

import json
from pathlib import Path

import analysis
from experiments.run_folder import RunFolder
from tests.end_to_end.conftest import Command, assert_adds_up, manifest_of, only_run

SLOWER = """
name = "shop"
[variants.current]
simulated = { distribution = "lognormal", median = "3ms", sigma = 0.3, workers = 4 }
[variants.candidate]
simulated = { distribution = "lognormal", median = "9ms", sigma = 0.3, workers = 4 }
"""
MEASURED = ("--set", "traffic.duration=60s", "--set", "compare.memory=2s")


def test_a_run_stops_at_the_look_that_decides_it(
    abreast: Command, plan: Path, tmp_path: Path
) -> None:
    (tmp_path / "shop.endpoint.toml").write_text(SLOWER)
    ended = abreast("run", str(plan), *MEASURED, "--until-decided")
    assert ended.returncode in (1, 4), ended.stdout + ended.stderr
    assert "Look 1 of 5 at 12 s: not decided yet." in ended.stderr
    folder = only_run(tmp_path / "reports")
    manifest = manifest_of(folder)
    # 24 s is 12 times as long as noise lasts, after which four cosines guard a look's bound.
    assert manifest["ended_as"] == "stopped"
    assert manifest["reason"] == "Decided at look 2 of 5, at 24 s."
    assert_adds_up(manifest["counts"])
    assert manifest["counts"]["unsent"] > 60 * 25
    timeline = [json.loads(line) for line in RunFolder(folder).timeline.read_text().splitlines()]
    looks = [event for event in timeline if event["kind"] == "look"]
    assert [(event["look"], event["decided"]) for event in looks] == [(1, False), (2, True)]
    assert ["candidate", "p50", "worse"] in looks[1]["calls"]
    run = analysis.read_run(folder)
    assert run.measured["scheduled_ms"].max() < 25_000 <= run.requests["scheduled_ms"].max()
    if ended.returncode == 4:  # this machine was too busy to send on time
        return
    assert "Don't ship candidate" in ended.stdout
    assert "Decided at look 2 of 5, at 24 s." in ended.stdout
    report = json.loads((folder / "report.json").read_text())
    again = abreast("report", str(folder), "--json")
    assert again.returncode == 1
    assert json.loads(again.stdout) == report
    calls = {d["metric"]: d["call"] for d in report["differences"] if d["margin"] is not None}
    assert [["candidate", *call] for call in calls.items()] == looks[1]["calls"]


def test_only_a_comparison_can_be_decided(abreast: Command, plan: Path) -> None:
    load = ("--set", "question=load", "--set", 'slo={ p99 = "1s" }')
    refused = abreast("run", str(plan), *load, "--until-decided")
    assert refused.returncode == 2
    assert "the question of" in refused.stderr
