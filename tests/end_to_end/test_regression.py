"""The gate through the whole program: runs made, judged, kept as a baseline, and refused."""

import json
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from jsonschema import validate
from junitparser import JUnitXml

import analysis
from tests.end_to_end.conftest import (
    NO_VERDICT,
    PLAN,
    ROOT,
    STEADY,
    Command,
    command,
    environment,
    finish,
    manifest_of,
    only_run,
    start,
    until_trusted,
    wait_for,
    write_plan,
)

OF_RUNS = """
[regression]
baseline = "current"
runs_per_side = 3
margins = { p50 = "25%", error_rate = "2pp" }
"""
SHORT = ("--set", "traffic.duration=1s", "--quiet")


Judged = tuple["subprocess.CompletedProcess[str]", Path]
"""What a gate printed, and its folder."""


def write_gate(folder: Path, candidate: str) -> Path:
    text = PLAN.partition("[compare]")[0] + OF_RUNS
    for old, new in (
        ('"compare"', '"regression"'), ("rate = 60", "rate = 100"), ('"1s"', '"500ms"'),
        ('"2s"', '"2500ms"'), ("slots = 32", "slots = 96"),
    ):  # fmt: skip
        text = text.replace(old, new)
    plan = write_plan(folder, text, STEADY.format(current="400ms", candidate=candidate))
    return plan.rename(folder / "gate.toml")


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """A plan whose candidate is half as slow again."""
    return write_gate(tmp_path, "600ms")


def runs_of(series: Path) -> list[Path]:
    return sorted((series / "runs").iterdir())


def gate_of(folder: Path, candidate: str) -> Judged:
    plan = write_gate(folder, candidate)
    compared = ("--set", 'compare={ baseline = "current", margins = { p50 = "25%" } }')
    surroundings = {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(folder / "summary.md")}
    return until_trusted(folder, "run", str(plan), *compared, **surroundings)


@pytest.fixture(scope="module")
def gates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Judged]:
    """A gate by the candidate's median; both are mostly waiting, and under way at once."""
    medians = ("600ms", "400ms")
    with ThreadPoolExecutor(2) as pool:
        folders = [tmp_path_factory.mktemp(median) for median in medians]
        return dict(zip(medians, pool.map(gate_of, folders, medians), strict=True))


@pytest.mark.alone
def test_a_slower_candidate_fails_and_its_runs_can_be_kept_and_judged_again(
    inside: Command, gates: dict[str, Judged], tmp_path: Path
) -> None:
    ended, series = gates["600ms"]
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "Regression: candidate is worse than current: p50 +" in ended.stdout
    assert "✗ FAIL" in ended.stdout
    assert "::error title=abreast Regression::Regression: candidate is worse" in ended.stderr
    assert "::error" not in ended.stdout
    assert "### ✗ Regression: candidate" in (series.parents[1] / "summary.md").read_text()

    assert manifest_of(series)["ended_as"] == "complete"
    assert [manifest_of(run)["seed"] for run in runs_of(series)] == [5, 6, 7]
    report = json.loads((series / "report.json").read_text())
    validate(report, json.loads((ROOT / "reports" / "report.schema.json").read_text()))
    assert report["run"]["id"] == series.name
    assert [(run["run"], run["arm"]) for run in report["runs"]] == [
        (run.name, arm) for arm in ("current", "candidate") for run in runs_of(series)
    ]
    suite = next(iter(JUnitXml.fromfile(str(series / "junit.xml"))))
    failed = [(case.classname, case.name) for case in suite if case.is_failure]
    assert failed == [("verdict", "Verdict"), ("candidate against current", "p50")]

    let_pass = ("--fail-on", "untrusted,undecided", "--quiet")
    again = inside("report", str(series), *let_pass)
    assert (again.returncode, again.stdout.strip()) == (0, report["verdict"]["sentence"])
    same = inside("regression", *map(str, runs_of(series)), "--out", "written", "--quiet")
    assert (same.returncode, same.stdout) == (1, again.stdout)
    assert (tmp_path / "written" / "junit.xml").is_file()
    by_run = inside("compare", str(series))
    assert by_run.returncode == 1, by_run.stdout + by_run.stderr
    assert "Don't ship candidate: at p50 it is slower than current" in by_run.stdout

    kept = inside("baseline", "add", str(series))
    assert len(kept.stdout.splitlines()) == 3
    listed = inside("baseline", "list").stdout
    assert "reports/baselines/gate: 3 runs" in listed
    assert "p50 differs by" in listed
    first, *others = (run.name for run in runs_of(series))
    shown = inside("baseline", "show", first).stdout
    assert "client CPU:" in shown
    assert "model of current:" in shown
    dropped = inside("baseline", "drop", *others)
    assert len(dropped.stdout.splitlines()) == 2
    alone = inside(
        "regression", "--baseline-store", "reports/baselines/gate", "--last", "10",
        "--against", *(str(run) for run in runs_of(series) if run.name != first),
    )  # fmt: skip
    assert alone.returncode == 3, alone.stdout + alone.stderr
    said = " ".join(alone.stdout.split())
    assert "1 run of the baseline and 2 of the candidate: too few" in said


@pytest.mark.alone
def test_the_same_model_again_does_not_fail(gates: dict[str, Judged]) -> None:
    ended, series = gates["400ms"]
    # 375 requests a side put p50 within 5 % where its margin is 25 %.
    assert ended.returncode == 0, ended.stdout + ended.stderr
    report = json.loads((series / "report.json").read_text())
    assert {item["call"] for item in report["differences"]} <= {"same", "better"}


def test_abba_makes_runs_of_one_arm_and_one_of_each_tells_nothing(
    abreast: Command, inside: Command, gate: Path, tmp_path: Path
) -> None:
    once = ("--set", "regression.order=abba", "--set", "regression.runs_per_side=1")
    ended = abreast("run", str(gate), *once, *SHORT)
    assert ended.returncode in NO_VERDICT, ended.stdout + ended.stderr
    assert "below 3 it ends in cannot tell" in ended.stderr
    before, after = runs_of(only_run(tmp_path / "reports"))
    assert analysis.read_run(before).requests["arm"].unique().tolist() == ["current"]
    assert analysis.read_run(after).requests["arm"].unique().tolist() == ["candidate"]
    both = ("regression", str(before), "--against", str(after))
    said = inside(*both)
    assert said.returncode in NO_VERDICT
    if said.returncode == 3:  # and the machine was not too busy to send on time
        assert "too few to show how much runs differ" in " ".join(said.stdout.split())

    manifest = manifest_of(after)
    manifest["conditions"]["client CPU"] = "another"
    (after / "manifest.json").write_text(json.dumps(manifest))
    refused = inside(*both)
    assert refused.returncode == 2
    assert "client CPU was" in refused.stderr
    assert inside(*both, "--allow-different", "client CPU").returncode in NO_VERDICT


def test_one_arm_makes_a_baseline(
    abreast: Command, inside: Command, gate: Path, tmp_path: Path
) -> None:
    one = ("--set", "arms={ current = {} }", "--set", "traffic.routing=pinned")
    once = ("--set", "regression.runs_per_side=1")
    ended = abreast("run", str(gate), *one, *once, *SHORT, "--json")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == ""
    assert "nothing to hold it against" in ended.stderr
    series = only_run(tmp_path / "reports")
    (run,) = runs_of(series)
    (run / "manifest.json").write_text(json.dumps(manifest_of(run) | {"ended_as": "interrupted"}))
    refused = inside("baseline", "add", str(series))
    assert refused.returncode == 2
    assert "ended as interrupted" in refused.stderr
    assert not (tmp_path / "reports" / "baselines").exists()


def test_a_gate_that_cannot_start_leaves_nothing_to_stumble_over(
    abreast: Command, inside: Command, gate: Path, tmp_path: Path
) -> None:
    nowhere = ("--set", "endpoint={ name = 'shop', target = 'http://127.0.0.1:1' }")
    ended = abreast("run", str(gate), *nowhere, "--quiet")
    assert ended.returncode == 2, ended.stderr
    assert list((tmp_path / "reports").iterdir()) == []

    empty = tmp_path / "reports" / "20260131-120000-gate-1a2b"
    (empty / "runs").mkdir(parents=True)
    asked = {"schema_version": 1, "ended_as": "aborted", "plan": {"question": "regression"}}
    (empty / "manifest.json").write_text(json.dumps(asked))
    for command_of in (("regression", str(empty)), ("report", str(empty))):
        refused = inside(*command_of)
        assert refused.returncode == 2, refused.stderr
        assert "holds no runs" in refused.stderr


def test_a_damaged_baseline_costs_the_note_only(
    inside: Command, gate: Path, tmp_path: Path
) -> None:
    damaged = tmp_path / "reports" / "baselines" / "gate" / "20260131-120000-gate-1a2b"
    damaged.mkdir(parents=True)
    (damaged / "manifest.json").write_text("{")
    ended = inside("run", str(gate), "--dry-run")
    assert ended.returncode == 0, ended.stderr
    assert "the baseline's runs are not used" in ended.stderr


@pytest.mark.parametrize("order", ["blocks", "abba"])
def test_ctrl_c_keeps_and_judges_the_runs_that_were_made(
    order: str, gate: Path, tmp_path: Path
) -> None:
    summary = tmp_path / "summary" / "missing.md"  # which cannot be written, and does not matter
    line = command("run", str(gate), *SHORT, "--set", f"regression.order={order}")
    run = start(line, tmp_path, {**environment(), "GITHUB_STEP_SUMMARY": str(summary)})
    wait_for(lambda: len(list(tmp_path.glob("reports/*/runs/*"))) == 2)
    run.send_signal(signal.SIGINT)
    _, err = finish(run)
    assert run.returncode == 130, err
    series = only_run(tmp_path / "reports")
    assert manifest_of(series)["ended_as"] == "interrupted"
    if order == "abba":  # of one arm alone there is nothing to judge
        assert "Interrupted, so that it cannot be judged" in err
        return
    assert "missing.md cannot be written" in err
    assert (series / "report.html").is_file()
    assert "regression" in json.loads((series / "report.json").read_text())["question"]
