"""A run is read as it was written, in milliseconds, whole or torn."""

from pathlib import Path

import pytest

import analysis
from experiments.accounts import finish_if_ended
from experiments.errors import RunFolderError
from experiments.record import HEALTH_SCHEMA, SCHEMA
from experiments.run_folder import RunFolder
from experiments.traffic.recorder import Recorder
from experiments.units import quantile_of
from tests.analysis.runs import record, write_run


def test_times_are_in_milliseconds_from_the_runs_start(tmp_path: Path) -> None:
    late = record(0, "current", 10.5, 20.0, started_ns=10_503_000_000)
    run = analysis.read_run(write_run(tmp_path / "run", [late]))
    row = run.requests.iloc[0]
    assert row["scheduled_ms"] == 10_500.0
    assert row["response_ms"] == 20.0
    assert row["service_ms"] == 17.0
    assert row["lateness_ms"] == 3.0
    assert run.labels is not None
    assert run.labels[3] == "1"


def test_warm_up_is_cut_by_the_scheduled_time(tmp_path: Path) -> None:
    rows = [record(0, "current", 9.999, 50.0), record(1, "candidate", 10.0, 5.0)]
    run = analysis.read_run(write_run(tmp_path / "run", rows))
    assert run.measured["seq"].tolist() == [1]
    assert (run.start_s, run.end_s) == (10.0, 130.0)


def test_an_interrupted_run_ends_with_its_last_request(tmp_path: Path) -> None:
    rows = [record(i, "current", 10.0 + i, 5.0) for i in range(8)]
    run = analysis.read_run(write_run(tmp_path / "run", rows, ended_as="interrupted"))
    assert run.end_s == 17.0


def test_a_run_that_was_never_compacted_is_read_from_its_streams(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", [], ended_as="running", counts=None, planned=100, begun=3)
    (folder / "requests.parquet").unlink()
    (folder / "health.parquet").unlink()
    (folder / "requests").mkdir()
    for worker in (0, 1):
        stream = Recorder(folder / "requests" / f"requests-{worker}.arrows", SCHEMA, {})
        stream.append(record(1 - worker, "current", 11.0, 5.0))
        stream.close()
    Recorder(folder / "requests" / "health-0.arrows", HEALTH_SCHEMA, {}).close()
    run = analysis.read_run(folder)
    assert run.requests["seq"].tolist() == [0, 1]
    assert run.counts == {"planned": 100, "ended": 2, "dropped": 0, "unsent": 97, "missing": 1}


@pytest.mark.parametrize("name", ["requests.parquet", "health.parquet", "payloads.parquet"])
def test_a_file_that_was_lost_is_named(tmp_path: Path, name: str) -> None:
    folder = write_run(tmp_path / "run", [record(0, "current", 11.0, 5.0)])
    (folder / name).unlink()
    with pytest.raises(RunFolderError, match=name):
        analysis.read_run(folder)


def test_a_table_that_lost_rows_is_refused(tmp_path: Path) -> None:
    counts = {"planned": 3, "ended": 2, "dropped": 0, "unsent": 1, "missing": 0}
    folder = write_run(tmp_path / "run", [record(0, "current", 11.0, 5.0)], counts=counts)
    with pytest.raises(RunFolderError, match="holds 1 records; the manifest counted 2"):
        analysis.read_run(folder)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("requests.parquet", b"PAR1 and no more", "damaged"),
        ("health.parquet", b"PAR1 and no more", "damaged"),
        ("manifest.json", b"{}", "it holds no 'schema_version'"),
        ("manifest.json", b'{"schema_version": 1}', "it holds no 'plan'"),
        ("manifest.json", b'{"schema_version": 1, "plan": {"seed": "x"}}', "plan.*: "),
    ],
)
def test_damage_is_a_message_that_names_the_file(tmp_path, name, content, said) -> None:
    folder = write_run(tmp_path / "run", [record(0, "current", 11.0, 5.0)])
    (folder / name).write_bytes(content)
    with pytest.raises(RunFolderError, match=rf"{name}: .*{said}") as raised:
        analysis.read_run(folder)
    assert "pydantic" not in str(raised.value)
    assert raised.value.hint


def test_a_run_that_never_began_says_so_and_stays_as_it_is(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", [], ended_as="running", counts=None)
    for table in folder.glob("*.parquet"):
        table.unlink()
    (folder / "requests").mkdir()
    finish_if_ended(RunFolder(folder))
    with pytest.raises(RunFolderError, match="ended before its first request"):
        analysis.read_run(folder)
    assert (folder / "requests").is_dir()


@pytest.mark.parametrize(
    ("metric", "quantile"),
    [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("p5", 0.05), ("mean", None), ("x", None)],
)
def test_a_metric_names_its_quantile(metric: str, quantile: float | None) -> None:
    assert quantile_of(metric) == quantile


@pytest.mark.parametrize("fields", [{"ended_ns": 11_000_000_000}, {"ended_ns": None}])
def test_a_request_that_ended_before_it_began_is_damage(tmp_path: Path, fields) -> None:
    path = write_run(tmp_path / "run", [record(0, "current", 12.0, 20.0, **fields)])
    with pytest.raises(RunFolderError, match="ended before it began"):
        analysis.read_run(path)


def test_a_line_of_the_timeline_that_was_cut_is_left_out(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run", [record(0, "current", 12.0, 20.0)])
    whole = b'{"at": "2026-01-31T12:00:00", "kind": "start"}'
    cut = b'{"kind": "endpoint", "variants": {"current": {"instances": 1}'
    (path / "timeline.jsonl").write_bytes(b"\n".join([whole, cut, b'{"kind": "caf\xc3']))
    assert [event["kind"] for event in analysis.read_run(path).timeline] == ["start"]
