"""The store of accepted runs: what it keeps, and what it gives back."""

import json
from pathlib import Path

import pytest

import analysis
from experiments import baseline
from experiments.errors import RunFolderError
from experiments.run_folder import RunFolder, open_folder
from tests.analysis.runs import record, write_run


def run_of(tmp_path: Path, name: str, **manifest: str) -> RunFolder:
    rows = [record(seq, "current", seq / 2, 20.0) for seq in range(260)]
    path = write_run(tmp_path / "reports" / name, rows, **manifest)
    (path / "plan.toml").write_text("seed = 7\n")
    (path / "logs").mkdir()
    (path / "logs" / "locust.log").write_text("much")
    (path / "report.html").write_text("much")
    return open_folder(path)


def test_what_a_judge_reads_outlives_the_run(tmp_path: Path) -> None:
    run = run_of(tmp_path, "20260131-120000-ab-1a2b")
    before = analysis.read_run(run.path).requests
    (kept,) = baseline.add([run], tmp_path / "store")
    for path in sorted(run.path.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    assert kept.path == tmp_path / "store" / run.run_id
    assert analysis.read_run(kept.path).requests.equals(before)
    assert not (kept.path / "logs").exists()
    assert kept.path.stat().st_mode & 0o077 == 0


def test_of_runs_one_of_which_lacks_a_file_none_is_kept(tmp_path: Path) -> None:
    runs = [run_of(tmp_path, f"20260131-12000{n}-ab-1a2b") for n in range(2)]
    runs[1].plan.unlink()
    with pytest.raises(RunFolderError, match=r"plan\.toml: is missing"):
        baseline.add(runs, tmp_path / "store")
    assert baseline.runs(tmp_path / "store") == ()


def test_runs_are_given_from_the_oldest_on(tmp_path: Path) -> None:
    store = tmp_path / "store"
    names = [f"2026013{day}-120000-ab-{mark}" for day, mark in ((1, "ff"), (0, "aa"), (2, "00"))]
    for name in names:
        baseline.add([run_of(tmp_path, name)], store)
    (store / ".half").mkdir()
    (store / ".half" / "manifest.json").write_text("{}")
    (store / "notes").mkdir()
    ordered = [names[1], names[0], names[2]]
    assert [run.run_id for run in baseline.runs(store)] == ordered
    assert [run.run_id for run in baseline.runs(store, last=2)] == ordered[1:]
    baseline.drop(baseline.find(names[0], store))
    assert [run.run_id for run in baseline.runs(store)] == [names[1], names[2]]
    assert baseline.runs(tmp_path / "nowhere") == ()


def test_by_default_a_plan_has_a_store_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = run_of(tmp_path, "20260131-120000-ab-1a2b")
    (kept,) = baseline.add([run], baseline.STORES / "ab")
    assert baseline.stores(None) == (Path("reports/baselines/ab"),)
    assert baseline.find(kept.run_id, None).path == kept.path


def test_a_run_that_is_no_baseline_is_refused(tmp_path: Path) -> None:
    store = tmp_path / "store"
    fine, cut = run_of(tmp_path, "b"), run_of(tmp_path, "a", ended_as="interrupted")
    with pytest.raises(RunFolderError, match="ended as interrupted"):
        baseline.add([fine, cut], store)
    with pytest.raises(RunFolderError, match="given twice"):
        baseline.add([fine, fine], store)
    assert not store.exists()  # all are checked before one is copied
    baseline.add([fine], store)
    with pytest.raises(RunFolderError, match="is there already"):
        baseline.add([fine], store)
    assert json.loads((store / "b" / "manifest.json").read_text())["run_id"] == "b"
    with pytest.raises(RunFolderError, match="is no run of"):
        baseline.find("../b", store)
