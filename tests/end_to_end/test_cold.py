"""The first request to each target is a cold start: recorded, shown, and never judged."""

import json
from pathlib import Path

import analysis
from tests.end_to_end.conftest import Command, assert_adds_up, only_run

ENDPOINT = """
name = "shop"
served_log = "served.csv"
[variants.current.models.a]
simulated = { constant = "4ms", workers = 16 }
load = "150ms"
[variants.current.models.b]
simulated = { constant = "4ms", workers = 16 }
load = "300ms"
[variants.candidate.models.a]
simulated = { constant = "4ms", workers = 16 }
[variants.candidate.models.b]
simulated = { constant = "4ms", workers = 16 }
"""


def test_each_model_is_loaded_before_the_run_by_a_request_of_its_own(
    plan: Path, abreast: Command
) -> None:
    (plan.parent / "shop.endpoint.toml").write_text(ENDPOINT)
    lines = (json.dumps({"x": i, "model": "ab"[i % 2]}) for i in range(10))
    (plan.parent / "rows.jsonl").write_text("\n".join(lines))
    done = abreast("run", str(plan), "--set", "request.target_model='{payload.model}'")
    folder = only_run(plan.parent / "reports")
    run = analysis.read_run(folder)
    assert set(run.requests["outcome"]) == {"ok"}, done.stdout
    assert set(run.requests["phase"]) == {"warmup", "measure"}
    assert run.requests["seq"].tolist() == list(range(len(run.requests)))
    assert_adds_up(run.counts)
    assert float(run.requests["service_ms"].max()) < 150  # nothing is loaded any more

    cold = run.cold
    assert cold["phase"].tolist() == ["cold"] * 4
    assert cold["arm"].tolist() == ["current", "current", "candidate", "candidate"]
    assert cold["payload"].tolist() == [0, 1, 0, 1]
    assert cold["variant_invoked"].tolist() == cold["arm"].tolist()
    assert cold["scheduled_ms"].is_monotonic_increasing
    for took_ms, truth_ms in zip(cold["service_ms"], (154, 304, 4, 4), strict=True):
        assert truth_ms < took_ms < truth_ms + 140
    said = " ".join(done.stdout.split())
    assert "First requests, before the run and not judged: current 2" in said, done.stderr
    report = json.loads((folder / "report.json").read_text())
    found = report["arms"][0]["cold"]
    assert (found["targets"], found["failed"]) == (2, 0)
    assert 304 < found["slowest_ms"] < 444
