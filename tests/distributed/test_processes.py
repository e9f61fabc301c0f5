"""Runs of several processes of one machine are the run that one process makes."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.distributed.conftest import started_in, wait_for
from tests.end_to_end.conftest import (
    ENDPOINT,
    PLAN,
    assert_adds_up,
    command,
    environment,
    manifest_of,
    only_run,
)


def start(folder: Path, name: str, *arguments: str) -> "subprocess.Popen[str]":
    line = command("run", "shop.toml", "--out", name, *arguments)
    return subprocess.Popen(
        line, cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True,
    )  # fmt: skip


def put_plan(folder: Path) -> None:
    (folder / "shop.endpoint.toml").write_text(ENDPOINT)
    (folder / "rows.jsonl").write_text("".join(f'{{"x": {i}}}\n' for i in range(10)))
    (folder / "shop.toml").write_text(PLAN)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Make the same run by one process and by two, and one by two that Ctrl-C ends; all at once."""
    folder = tmp_path_factory.mktemp("runs")
    put_plan(folder)
    by_two = ("--processes", "2")
    one, two = start(folder, "one"), start(folder, "two", *by_two)
    stopped = start(folder, "stopped", *by_two, "--set", "traffic.duration=60s")
    wait_for(lambda: started_in(folder / "stopped"))
    time.sleep(3)
    stopped.send_signal(signal.SIGINT)
    for run, codes in ((one, (3, 4)), (two, (3, 4)), (stopped, (130,))):
        said, _ = run.communicate(timeout=120)
        assert run.returncode in codes, said
    return {name: only_run(folder / name) for name in ("one", "two", "stopped")}


def test_ctrl_c_lets_every_process_end_what_it_sent(runs: dict[str, Path]) -> None:
    manifest = manifest_of(runs["stopped"])
    assert manifest["ended_as"] == "interrupted"
    assert_adds_up(manifest["counts"])
    assert manifest["counts"]["missing"] == 0 < manifest["counts"]["unsent"]
    assert all(0 < w["ended"] == w["begun"] < w["planned"] for w in manifest["workers"])
    assert {worker["state"] for worker in manifest["workers"]} == {"done"}


def test_two_processes_send_record_for_record_what_one_sends(runs: dict[str, Path]) -> None:
    one, two = runs["one"], runs["two"]
    wanted = ["seq", "group", "phase", "arm", "payload", "scheduled_ns", "variant_asked"]
    alone, together = (pq.read_table(made / "requests.parquet") for made in (one, two))
    assert together.select(wanted).equals(alone.select(wanted))
    pairs = together.to_pandas().groupby("group")["worker"]
    assert (pairs.nunique() == 1).all()
    assert (pairs.first().to_numpy() == pairs.first().index % 2).all()
    manifest = manifest_of(two)
    assert_adds_up(manifest["counts"])
    assert manifest["counts"] == manifest_of(one)["counts"]
    workers = manifest["workers"]
    assert [worker["rank"] for worker in workers] == [0, 1]
    assert [worker["slots"] for worker in workers] == [16, 16]
    assert {worker["state"] for worker in workers} == {"done"}
    assert sum(worker["ended"] for worker in workers) == manifest["counts"]["ended"]
    # One machine has one clock, and no way between.
    assert all(abs(worker["offset_ms"]) < 5 for worker in workers)
    assert all(0 < worker["rtt_ms"] < 100 for worker in workers)
    assert all(abs(worker["drift_ms"]) < worker["rtt_ms"] + 20 for worker in workers)
    health = pq.read_table(two / "health.parquet").to_pandas()
    assert health.groupby("worker")["ended"].sum().sum() == manifest["counts"]["ended"]
    assert not (two / "requests").exists()


def test_a_process_that_dies_at_its_start_ends_the_run_and_says_so(tmp_path: Path) -> None:
    put_plan(tmp_path)
    run = start(tmp_path, "dead", "--processes", "2")
    listed = Path(f"/proc/{run.pid}/task/{run.pid}/children")

    def workers() -> list[int]:
        children = listed.read_text().split()
        return [int(c) for c in children if b"--worker" in Path(f"/proc/{c}/cmdline").read_bytes()]

    wait_for(workers)
    os.kill(workers()[0], signal.SIGKILL)
    began_s = time.monotonic()
    said, _ = run.communicate(timeout=50)
    assert time.monotonic() - began_s < 20  # the master would wait for a minute
    assert run.returncode == 70, said
    assert "A worker process ended before the run began (exit code -9)" in said
    assert not [*(tmp_path / "dead").glob("*")]
