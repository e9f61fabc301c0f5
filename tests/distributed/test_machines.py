"""Runs of workers on machines of their own: shipped records, and what is lost with whom.

Each is mostly waiting for what does not come, and so all of them are under way at once.
"""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from experiments import run_folder
from experiments.assignment import assign
from experiments.plan_file import load
from experiments.schedule import due_times_ns
from tests.distributed.conftest import Net, put_plan, started_in, wait_for
from tests.end_to_end.conftest import assert_adds_up, command, has_recorded, manifest_of

CUT_S = 5.5
"""Longer than a master takes to notice."""


def ended(process: "subprocess.Popen[str]") -> tuple[int, str]:
    said, _ = process.communicate(timeout=240)
    return process.returncode, said


def planned_of(folder: Path, seconds: int) -> int:
    plan = load(folder / "shop.toml", [f"traffic.duration={seconds}s"])
    return len(due_times_ns(plan.traffic, plan.seed))


def outlive(net: Net, folder: Path) -> None:
    port, out, seconds = 5557, put_plan(folder), 10
    workers = [net.start_worker(number, port, folder, out) for number in range(4)]
    run = net.start_run(folder, port, 4, seconds)
    wait_for(lambda: started_in(out))
    late = net.start_worker(0, port, folder, out)
    wait_for(lambda: has_recorded(out, rows=20, workers=4))
    rank_of = {w["pid"]: w["rank"] for w in manifest_of(next(out.iterdir()))["workers"]}
    workers[0].kill()
    net.set_link(1, "down")
    time.sleep(CUT_S)
    net.set_link(1, "up")
    code, said = ended(run)
    assert code == 4, said
    (made,) = out.iterdir()
    manifest = manifest_of(made)
    dead, cut = rank_of[workers[0].pid], rank_of[workers[1].pid]
    of = {worker["rank"]: worker for worker in manifest["workers"]}
    # The whole schedule is accounted for, and so is each share of it.
    planned = planned_of(folder, seconds)
    assert_adds_up(manifest["counts"])
    assert manifest["counts"]["planned"] == planned
    assert sum(worker["planned"] for worker in of.values()) == planned
    for worker in of.values():
        parts = [worker[key] for key in ("ended", "dropped", "unsent", "missing")]
        assert worker["planned"] == sum(parts)
    # Only what the dead worker would have sent is not there.
    assert {rank: worker["state"] for rank, worker in of.items()} == {
        rank: "lost" if rank == dead else "done" for rank in range(4)
    }
    assert {rank for rank, worker in of.items() if worker["was_silent"]} == {dead, cut}
    assert all(w["ended"] == w["planned"] for rank, w in of.items() if rank != dead)
    lost = of[dead]["unsent"] + of[dead]["missing"]
    assert 0 < lost < of[dead]["planned"]
    assert manifest["counts"]["ended"] == planned - lost
    records = pq.read_table(made / "requests.parquet").to_pandas()
    assert records["seq"].is_unique
    assert records.groupby("worker").size().to_dict() == {r: w["ended"] for r, w in of.items()}
    assert (records["seq"] // 2 % 4 == records["worker"]).all()
    plan = load(folder / "shop.toml", [f"traffic.duration={seconds}s"])
    seqs, assigned = records["seq"].to_numpy(), assign(plan, range(planned), 10)
    assert records["arm"].tolist() == [list(plan.arms)[arm] for arm in assigned.arm[seqs]]
    assert records["scheduled_ns"].tolist() == due_times_ns(plan.traffic, plan.seed)[seqs].tolist()
    # The slots of the others stayed theirs, whoever came: eight each.
    assert {worker["slots"] for worker in of.values()} == {8}
    assert records.groupby("worker")["slot"].max().le(7).all()
    # The link was cut in the middle of what its worker sent.
    during = records[(records["worker"] == cut) & records["scheduled_ns"].between(3e9, 7e9)]
    assert len(during) > 40
    assert "is silent. The run goes on" in said
    assert "is heard again" in said
    assert "and nothing of it is missing" not in said  # which the lost one's share outdoes
    report = json.loads((made / "report.json").read_text())
    check = next(each for each in report["checks"] if each["name"] == "workers")
    assert check["state"] == "fail"
    assert f"worker {dead}" in check["finding"]
    for worker in workers[1:]:
        code, said = ended(worker)
        assert code == 0, said
    late.terminate()  # on a machine so busy that it came when all was over
    code, said = ended(late)
    assert code in (0, -signal.SIGTERM), said
    # What was brought is not kept; what was not, is, and says how much the master did not know.
    assert not [*folder.glob("spool-[123]/*")]
    (begun,) = folder.glob(f"spool-0/*/requests/begun-{dead}")
    unknown = int.from_bytes(begun.read_bytes(), "little") - of[dead]["begun"]
    assert 0 <= unknown < 80 / 4 * 3


def lose_the_master(net: Net, folder: Path) -> None:
    port, out = 5558, put_plan(folder)
    apart = net.start_worker(4, port, folder, out)
    sharing = net.start_worker(5, port, folder, None)
    run = net.start_run(folder, port, 2, 30)
    wait_for(lambda: started_in(out))
    wait_for(lambda: has_recorded(out, rows=1, workers=2))
    children = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGKILL)
    code, said = ended(run)
    assert code == 4, said
    (made,) = out.iterdir()
    before = manifest_of(made)
    assert before["ended_as"] == "crashed"
    assert_adds_up(before["counts"])
    # Who shares the disk was awaited: all that it began has a record.
    (shared,) = (worker for worker in before["workers"] if worker["spool"] is None)
    assert 0 < shared["ended"] == shared["begun"]
    code, said = ended(sharing)
    assert code == 4, said
    code, said = ended(apart)
    assert code == 4, said
    spool = folder / "spool-4" / made.name / "requests"
    assert f"kept in {spool}" in said
    shutil.copytree(spool, made / "requests")
    (stream,) = spool.glob("requests-*")
    kept, is_whole = run_folder.read_stream(stream)
    assert is_whole
    assert kept is not None
    judged = subprocess.run(
        command("report", str(made)), cwd=folder, capture_output=True, text=True, check=False
    )
    assert judged.returncode == 4, judged.stderr
    after = manifest_of(made)["counts"]
    assert_adds_up(after)
    # They had drained, so that every request that left has its record.
    assert after["ended"] == kept.num_rows + shared["ended"] > before["counts"]["ended"] > 0
    assert after["missing"] == 0
    assert after["planned"] == planned_of(folder, 30)
    assert not (made / "requests").exists()


def lose_the_masters_disk(net: Net, folder: Path) -> None:
    port, out = 5559, put_plan(folder)
    worker = net.start_worker(6, port, folder, out)
    run = net.start_run(folder, port, 1, 30)
    wait_for(lambda: [*out.glob("*/requests")])
    next(out.glob("*/requests")).joinpath("requests-0.arrows").touch()  # where its copy would be
    code, said = ended(run)
    assert code == 4, said
    manifest = manifest_of(next(out.iterdir()))
    assert manifest["ended_as"] == "aborted"
    assert "cannot be written" in manifest["reason"]
    assert manifest["workers"][0]["state"] == "lost"
    assert_adds_up(manifest["counts"])
    code, said = ended(worker)
    assert "They are kept in" in said
    assert [*folder.glob("spool-6/*/requests/requests-0.arrows")]


SCENES = (outlive, lose_the_master, lose_the_masters_disk)


@pytest.fixture(scope="module")
def scenes(net: Net, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Future[None]]]:
    """Start every scene."""
    with ThreadPoolExecutor(len(SCENES)) as pool:
        folders = [tmp_path_factory.mktemp(scene.__name__) for scene in SCENES]
        yield [pool.submit(*each) for each in zip(SCENES, [net] * 3, folders, strict=True)]


def test_a_run_outlives_a_dead_worker_a_cut_link_and_one_who_comes_late(
    scenes: list[Future[None]],
) -> None:
    scenes[0].result()


def test_records_outlive_their_master(scenes: list[Future[None]]) -> None:
    scenes[1].result()


def test_a_run_ends_when_its_master_cannot_keep_what_is_brought(
    scenes: list[Future[None]],
) -> None:
    scenes[2].result()
