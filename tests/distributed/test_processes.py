"""Runs of several processes of one machine: the run that one makes, in each way of running."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import zmq

from experiments.assignment import assign
from experiments.plan import Plan
from experiments.schedule import due_times_ns
from tests.distributed.conftest import wait_for
from tests.end_to_end.conftest import (
    ENDPOINT,
    PLAN,
    STEADY,
    assert_adds_up,
    command,
    environment,
    has_recorded,
    manifest_of,
    only_run,
)

GARBAGE = [
    b"", b"\xc1", b"\x01", b"\x93\x01", b"GET / HTTP/1.1\r\n\r\n",
    b"\x93\xacclient_ready\x05\xa1w", b"\x93\xaalocustfile\xc0\xa1w",
]  # fmt: skip
"""No msgpack, what is cut short, and messages of which Locust can make nothing."""
SLOWER = STEADY.format(current="100ms", candidate="300ms")


def start(folder: Path, *arguments: str, endpoint: str = ENDPOINT) -> "subprocess.Popen[str]":
    (folder / "shop.endpoint.toml").write_text(endpoint)
    (folder / "rows.jsonl").write_text("".join(f'{{"x": {i}}}\n' for i in range(10)))
    (folder / "shop.toml").write_text(PLAN)
    overrides = [part for each in arguments if "=" in each for part in ("--set", each)]
    flags = [each for each in arguments if "=" not in each]
    return subprocess.Popen(
        command("run", "shop.toml", "--out", "out", "--processes", "2", *flags, *overrides),
        cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def ended(run: "subprocess.Popen[str]", *codes: int) -> str:
    said, _ = run.communicate(timeout=240)
    assert run.returncode in codes, said
    return said


def gate(folder: Path) -> Path:
    margins = 'regression={ runs_per_side = 2, baseline = "current", margins = { p50 = "25%" } }'
    ended(start(folder, "question=regression", margins), 0, 1, 3, 4)
    return only_run(folder / "out")


def decided(folder: Path) -> Path:
    run = start(folder, "traffic.duration=40s", "compare.memory=0.5s", "traffic.rate=120",
                "traffic.slots=64", "--until-decided", endpoint=SLOWER)  # fmt: skip
    ended(run, 1, 4)
    return only_run(folder / "out")


def search(folder: Path) -> Path:
    slo = 'slo={ p90 = "1ms", abort_on_fail = true, abort_after = "1s" }'
    ladder = 'capacity={ arm = "current", ladder = [60], probe = "8s", peak_rate = 50 }'
    run = start(folder, "question=capacity", slo, ladder, "traffic.routing=pinned")
    ended(run, 1, 4)
    return only_run(folder / "out")


def stopped(folder: Path) -> Path:
    run = start(folder, "traffic.duration=60s")
    wait_for(lambda: has_recorded(folder / "out", rows=1, workers=2))
    run.send_signal(signal.SIGINT)
    ended(run, 130)
    return only_run(folder / "out")


def limited(folder: Path) -> Path:
    ended(start(folder, "seed=1", "limits={ max_requests = 182, max_minutes = 2 }"), 0, 1, 3, 4)
    return only_run(folder / "out")


def workers_of(run: "subprocess.Popen[str]") -> dict[int, list[str]]:
    """Give the command lines of the workers that a run has started, once there are any."""
    listed = Path(f"/proc/{run.pid}/task/{run.pid}/children")

    def lines() -> dict[int, list[str]]:
        children = [int(child) for child in listed.read_text().split()]
        of = {c: Path(f"/proc/{c}/cmdline").read_text().split("\0") for c in children}
        return {child: line for child, line in of.items() if "--worker" in line}

    wait_for(lines)
    return lines()


def dead(folder: Path) -> tuple[str, list[Path]]:
    run = start(folder)
    os.kill(next(iter(workers_of(run))), signal.SIGKILL)
    began_s = time.monotonic()
    said = ended(run, 2)
    assert time.monotonic() - began_s < 20  # the master would wait for a minute
    return said, [*(folder / "out").glob("*")]


def garbled(folder: Path) -> Path:
    run = start(folder)
    line = next(iter(workers_of(run).values()))
    with zmq.Context() as context, context.socket(zmq.DEALER) as sender:
        sender.setsockopt(zmq.IDENTITY, b"whoever")
        sender.connect(f"tcp://127.0.0.1:{line[line.index('--master-port') + 1]}")
        for frame in GARBAGE:
            sender.send(frame)
        ended(run, 0, 1, 3, 4)
    return only_run(folder / "out")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Any]]:
    """Give what came of a scene; three of them are under way at once."""
    with ThreadPoolExecutor(3) as pool:
        each: dict[Callable[[Path], Any], Future[Any]] = {
            scene: pool.submit(scene, tmp_path_factory.mktemp(scene.__name__))
            for scene in (decided, gate, search, stopped, limited, dead, garbled)
        }
        yield lambda scene: each[scene].result()


def test_ctrl_c_lets_every_process_end_what_it_sent(scenes: Callable[..., Path]) -> None:
    manifest = manifest_of(scenes(stopped))
    assert manifest["ended_as"] == "interrupted"
    assert_adds_up(manifest["counts"])
    assert manifest["counts"]["missing"] == 0 < manifest["counts"]["unsent"]
    assert all(0 < w["ended"] == w["begun"] < w["planned"] for w in manifest["workers"])
    assert {worker["state"] for worker in manifest["workers"]} == {"done"}


def test_a_limit_cuts_the_schedule_for_all_processes_alike(scenes: Callable[..., Path]) -> None:
    manifest = manifest_of(scenes(limited))
    # 198 requests are drawn, and the first ones of the two arms count too.
    assert (manifest["counts"]["planned"], manifest["counts"]["ended"]) == (180, 180)
    assert manifest["counts"]["missing"] == 0
    assert {(worker["state"], worker["garbled"]) for worker in manifest["workers"]} == {("done", 0)}
    assert manifest["ended_as"] == "stopped"
    assert "limits.max_requests = 182 were sent" in manifest["reason"]


def test_each_run_of_a_gate_is_record_for_record_what_its_plan_says(
    scenes: Callable[..., Path],
) -> None:
    series = scenes(gate)
    runs = sorted((series / "runs").iterdir())
    assert [manifest_of(run)["seed"] for run in runs] == [5, 6]
    assert len(json.loads((series / "report.json").read_text())["runs"]) == 4
    for made in runs:
        manifest = manifest_of(made)
        plan = Plan.model_validate(manifest["plan"])
        table = pq.read_table(made / "requests.parquet")
        due_ns = due_times_ns(plan.traffic, plan.seed)
        assigned = assign(plan, range(len(due_ns)), 10)
        assert table["seq"].to_pylist() == list(range(len(due_ns)))
        assert table["scheduled_ns"].to_pylist() == due_ns.tolist()
        assert table["arm"].to_pylist() == [list(plan.arms)[arm] for arm in assigned.arm]
        assert table["payload"].to_pylist() == assigned.payload.tolist()
        pairs = table.to_pandas().groupby("group")["worker"]
        assert (pairs.nunique() == 1).all()
        assert (pairs.first().to_numpy() == pairs.first().index % 2).all()
        assert_adds_up(manifest["counts"])
        assert manifest["counts"]["planned"] == manifest["counts"]["ended"] == len(due_ns)
        workers = manifest["workers"]
        assert [worker["rank"] for worker in workers] == [0, 1]
        assert [worker["slots"] for worker in workers] == [16, 16]
        assert {(worker["state"], worker["garbled"]) for worker in workers} == {("done", 0)}
        assert sum(worker["ended"] for worker in workers) == manifest["counts"]["ended"]
        # One machine has one clock, and no way between.
        assert all(abs(worker["offset_ms"]) < 5 for worker in workers)
        assert all(0 < worker["rtt_ms"] < 100 for worker in workers)
        assert all(abs(worker["drift_ms"]) < worker["rtt_ms"] + 20 for worker in workers)
        health = pq.read_table(made / "health.parquet").to_pandas()
        assert health.groupby("worker")["ended"].sum().sum() == manifest["counts"]["ended"]
        assert not (made / "requests").exists()


def test_a_look_judges_the_records_of_all_processes_and_stops_them(
    scenes: Callable[..., Path],
) -> None:
    folder = scenes(decided)
    manifest = manifest_of(folder)
    assert (manifest["ended_as"], manifest["decided"]["decided"]) == ("stopped", True)
    assert_adds_up(manifest["counts"])
    assert manifest["counts"]["missing"] == 0 < manifest["counts"]["unsent"]
    assert all(worker["ended"] == worker["begun"] > 500 for worker in manifest["workers"])


def test_an_slo_that_a_probe_loses_over_both_processes_stops_them(
    scenes: Callable[..., Path],
) -> None:
    series = scenes(search)
    (probe,) = (series / "runs").iterdir()
    manifest = manifest_of(probe)
    assert manifest["ended_as"] == "stopped"
    assert manifest["slo_lost"] == ["current", None, "p90", None]
    # Of 480 in all 48 may miss, which neither process had sent when both had.
    said = manifest["reason"]
    missed, sent = (int(word) for word in said.split(": ")[1].split()[0:3:2])
    assert missed == sent > 48
    assert_adds_up(manifest["counts"])
    assert manifest["counts"]["missing"] == 0 < manifest["counts"]["unsent"]
    assert {worker["state"] for worker in manifest["workers"]} == {"done"}
    capacity = json.loads((series / "report.json").read_text())["capacity"]
    assert capacity["end"] in ("no_pass", "client")  # where this machine was too busy to tell


def test_a_process_that_is_killed_at_its_start_ends_the_run_and_is_named(
    scenes: Callable[..., tuple[str, list[Path]]],
) -> None:
    said, left = scenes(dead)
    assert "Worker 0 of --processes was killed by SIGKILL before the run began" in said
    assert "a fault in abreast" not in said
    assert not left


def test_what_cannot_be_read_costs_the_master_neither_its_ears_nor_a_record(
    scenes: Callable[..., Path],
) -> None:
    made = scenes(garbled)
    manifest = manifest_of(made)
    assert manifest["ended_as"] == "complete"
    assert manifest["counts"]["ended"] == manifest["counts"]["planned"]
    log = (made / "logs" / "locust.log").read_text()
    assert log.count("Unrecognized message") == 5
    assert log.count("A message of whoever is left out") == 2
