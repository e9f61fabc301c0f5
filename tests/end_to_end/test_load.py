"""A load test through the whole program: what is asked, what is found, and when it stops itself."""

import json
from pathlib import Path

import analysis
from tests.end_to_end.conftest import NO_VERDICT, Command, assert_adds_up, manifest_of, only_run

ONE_ARM = (
    "--set", "question=load", "--set", "arms={current={}}", "--set", "traffic.routing=pinned",
)  # fmt: skip


def load_plan(plan: Path) -> Path:
    """Leave out what is compared: a load test needs none of it."""
    plan.write_text(plan.read_text().partition("[compare]")[0])
    return plan


def test_a_run_too_short_to_tell_says_so_and_shows_its_limits(
    abreast: Command, inside: Command, plan: Path, tmp_path: Path
) -> None:
    limits = ("--set", 'slo={ p99 = "500ms", error_rate = "1%" }')
    ended = abreast("run", str(load_plan(plan)), *ONE_ARM, *limits)
    assert ended.returncode in NO_VERDICT, ended.stdout + ended.stderr
    assert "p99 \u2264 500 ms" in ended.stdout
    if ended.returncode == 3:  # and the machine was not too busy to send on time
        assert "Cannot tell yet whether current keeps the SLO" in ended.stdout
    folder = only_run(tmp_path / "reports")
    assert_adds_up(manifest_of(folder)["counts"])
    report = json.loads((folder / "report.json").read_text())
    assert [limit["metric"] for limit in report["slo"]] == ["p99", "error_rate"]
    assert {limit["missed"] for limit in report["slo"]} == {0}
    refused = inside("compare", str(folder))
    assert refused.returncode == 2
    assert "compares nothing" in refused.stderr


def test_a_run_whose_slo_is_lost_stops_itself_and_is_broken(
    abreast: Command, plan: Path, tmp_path: Path
) -> None:
    lost = 'slo={ p99 = "1ms", abort_on_fail = true, abort_after = "1s" }'
    long = ("--set", "traffic.duration=60s")
    ended = abreast("run", str(load_plan(plan)), *ONE_ARM, *long, "--set", lost)
    assert ended.returncode in (1, 4), ended.stdout + ended.stderr
    if ended.returncode == 1:  # and the machine was not too busy to send on time
        assert "current breaks the SLO" in ended.stdout
        assert "Stopped by slo.abort_on_fail" in ended.stdout
    manifest = manifest_of(only_run(tmp_path / "reports"))
    assert manifest["ended_as"] == "stopped"
    assert_adds_up(manifest["counts"])
    assert manifest["counts"]["unsent"] > 60 * 40
    rows = analysis.read_run(only_run(tmp_path / "reports")).requests
    # 1 % of the 3,600 that are planned for one minute may miss; the 37th did within two seconds.
    assert len(rows[rows["phase"] == "measure"]) >= 37
    assert rows["scheduled_ms"].max() < 15_000
