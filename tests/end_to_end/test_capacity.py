"""A capacity search through the whole program: an answer, a refusal, an interruption."""

import json
import signal
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.end_to_end.conftest import (
    Command,
    command,
    finish,
    manifest_of,
    only_run,
    start,
    until_trusted,
    wait_for,
    write_plan,
)

ENDPOINT = """
name = "shop"
[variants.current]
instance_type = "ml.c6i.large"
simulated = { constant = "%s", workers = 2 }
"""
STEADY = (ENDPOINT % "200ms").replace("workers = 2", "workers = 16")
"""Full at 80 a second, and slow beside any machine."""
PLAN = """
question = "capacity"
seed = 5
[endpoint]
name = "shop"
target = "local"
config = "shop.endpoint.toml"
[arms.current]
instance_price_usd_per_hour = 0.1
[request]
payloads = "rows.jsonl"
content_type = "application/json"
[traffic]
routing = "pinned"
warmup = "1s"
[slo]
p90 = "150ms"
[capacity]
resolution = "30%"
probe = "3s"
cooldown = "0s"
replicates = 1
start_rate = 25
peak_rate = 300
"""


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    return write_plan(tmp_path, PLAN, ENDPOINT % "25ms")


Searched = tuple["subprocess.CompletedProcess[str]", Path]
"""What a search printed, and its folder."""
SEARCHES = {
    # No rate that is tried lies near what theory gives, where none can be told soon.
    "near": ("capacity.start_rate=62", "capacity.resolution=50%"),
    # 64 slots are taken before the warm-up is over.
    "beyond": ("capacity.ladder=[200]",),
}


def search(folder: Path, overrides: tuple[str, ...]) -> Searched:
    sets = [part for each in overrides for part in ("--set", each)]
    plan = write_plan(folder, PLAN.replace("150ms", "300ms"), STEADY)
    return until_trusted(folder, "run", str(plan), *sets, "--set", 'capacity.probe="2s"')


@pytest.fixture(scope="module")
def searches(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Searched]:
    """What came of each; they are mostly waiting, and under way at once."""
    with ThreadPoolExecutor(len(SEARCHES)) as pool:
        folders = [tmp_path_factory.mktemp(name) for name in SEARCHES]
        return dict(zip(SEARCHES, pool.map(search, folders, SEARCHES.values()), strict=True))


@pytest.mark.alone
def test_a_search_finds_what_the_endpoint_is_known_to_carry(
    inside: Command, searches: dict[str, Searched], tmp_path: Path
) -> None:
    ended, folder = searches["near"]
    assert ended.returncode == 0, ended.stdout + ended.stderr
    found = json.loads((folder / "report.json").read_text())["capacity"]
    assert found["instances"] == 1
    assert len(found["probes"]) == len(list((folder / "runs").iterdir()))
    for run in (folder / "runs").iterdir():
        after = manifest_of(run)["endpoint_after"]["variants"]["current"]
        assert after["instances"] == after["desired_instances"] == 1
        assert manifest_of(run)["scaling"] == {"activities": []}
    again = inside("capacity", str(folder), "--json")
    assert again.returncode == ended.returncode
    assert json.loads(again.stdout)["capacity"] == found
    # Theory gives the rate that keeps 300 ms.
    (tmp_path / "shop.endpoint.toml").write_text(STEADY)
    truth = inside("serve", "shop.endpoint.toml", "--truth", "--rate", "20", "--slo", "p90=300ms")
    known = float(truth.stdout.split("current")[-1].split()[0])
    assert 70 < known < 80
    low, high = found["interval"]["low"], found["interval"]["high"]
    assert low <= known <= high
    assert high / low <= 1.5**3 * 1.001
    assert low <= found["rate_rps"] <= high
    assert (folder / "report.html").read_text().count("<svg") >= 2


@pytest.mark.alone
def test_a_rate_far_beyond_what_the_endpoint_carries_is_its_own_limit(
    searches: dict[str, Searched],
) -> None:
    ended, folder = searches["beyond"]
    assert ended.returncode == 1, ended.stdout + ended.stderr
    report = json.loads((folder / "report.json").read_text())
    assert (report["capacity"]["end"], report["capacity"]["high_rps"]) == ("no_pass", 200)


def test_instances_that_came_and_went_in_a_probe_make_it_invalid(
    abreast: Command, plan: Path, tmp_path: Path
) -> None:
    scaled = """
[variants.current.autoscaling]
max = 2
invocations_per_instance = 3000
activities = [{ at = "3s", instances = 2 }, { at = "4s", instances = 1 }]
"""
    (tmp_path / "shop.endpoint.toml").write_text(
        'update_takes = "100ms"' + ENDPOINT % "25ms" + scaled
    )
    ended = abreast("run", str(plan), "--set", "capacity.ladder=[20, 20]")
    assert ended.returncode == 4, ended.stdout + ended.stderr
    assert "register-scalable-target" in ended.stdout
    # It is said before the first probe, too.
    before, _, _ = ended.stderr.partition("Probe 1")
    assert "endpoint/shop/variant/current may have 1 to 2" in before
    assert "DynamicScalingInSuspended=false" in before
    first = sorted((only_run(tmp_path / "reports") / "runs").iterdir())[0]
    described = [each["description"] for each in manifest_of(first)["scaling"]["activities"]]
    assert "Setting desired instance count to 2." in described


@pytest.mark.alone
def test_an_endpoint_that_takes_no_time_gives_a_refusal_and_no_number(
    abreast: Command, plan: Path, tmp_path: Path
) -> None:
    (tmp_path / "shop.endpoint.toml").write_text(ENDPOINT % "0ms")
    # boto3 sends about 1,500 a second from one core, and the endpoint answers many more.
    slow = ("--set", "traffic.transport=boto3", "--set", "capacity.ladder=[100, 4000]",
            "--set", 'slo={ p90 = "20ms" }', "--set", 'capacity.probe="1s"')  # fmt: skip
    ended = abreast("run", str(plan), *slow, seconds=240)
    assert ended.returncode == 4, ended.stdout + ended.stderr
    assert "the client was the limit, not the endpoint" in " ".join(ended.stdout.split())
    report = json.loads((only_run(tmp_path / "reports") / "report.json").read_text())
    assert report["capacity"]["rate_rps"] is None
    assert report["capacity"]["interval"] is None
    assert report["capacity"]["sizing"] is None


def interrupted(plan: Path, when: Callable[[], object]) -> str:
    """Interrupt a search, and give what it said."""
    running = start(command("run", str(plan)), plan.parent)
    wait_for(when)
    running.send_signal(signal.SIGINT)
    said = "".join(finish(running))
    assert running.returncode == 130, said
    return said


def test_an_interrupted_search_keeps_and_judges_what_was_made(plan: Path, tmp_path: Path) -> None:
    interrupted(plan, lambda: list(tmp_path.glob("reports/*/runs/*/requests.parquet")))
    folder = only_run(tmp_path / "reports")
    assert manifest_of(folder)["ended_as"] == "interrupted"
    report = json.loads((folder / "report.json").read_text())
    assert report["capacity"]["probes"]
    assert "It was interrupted." in report["verdict"]["context"][-1]


def test_a_calibration_that_is_interrupted_is_an_interruption(plan: Path, tmp_path: Path) -> None:
    plan.write_text(PLAN.replace("start_rate = 25\n", ""))
    said = interrupted(plan, lambda: list(tmp_path.glob("reports/*/runs/*/requests/*.arrows")))
    assert "holds no probe" not in said


def test_limits_hold_for_all_probes_together(abreast: Command, plan: Path, tmp_path: Path) -> None:
    # The first probe sends 100, and whatever comes of it 50 or more are next.
    limits = "limits={ max_requests = 150, max_minutes = 5 }"
    ended = abreast("run", str(plan), "--set", limits)
    assert "beyond [limits]" in ended.stderr
    assert "\nprobe 1, 25 req/s  00:0" in ended.stderr
    assert ended.returncode in (3, 4), ended.stdout  # 4: the machine was too busy to tell more
    folder = only_run(tmp_path / "reports")
    assert manifest_of(folder)["search_end"] == "limits"
    assert sum(manifest_of(run)["counts"]["ended"] for run in (folder / "runs").iterdir()) < 150


def test_a_plan_that_is_edited_or_gone_meanwhile_changes_no_later_probe(
    plan: Path, tmp_path: Path
) -> None:
    ladder = command("run", str(plan), "--set", "capacity.ladder=[20, 20]")
    running = start([*ladder, "--set", 'capacity.probe="1s"'], tmp_path)
    wait_for(lambda: list(tmp_path.glob("reports/*/runs/*/manifest.json")))
    plan.write_text(PLAN.replace('p90 = "150ms"', 'p90 = "1ms"'))
    wait_for(lambda: len(list(tmp_path.glob("reports/*/runs/*/requests.parquet"))) == 1)
    plan.unlink()
    said = "".join(finish(running))
    assert running.returncode != 2, said
    folder = only_run(tmp_path / "reports")
    probes = [manifest_of(run)["plan"] for run in sorted((folder / "runs").iterdir())]
    assert [probe["slo"]["p90"] for probe in probes] == [0.15] * 2
    text = (next((folder / "runs").iterdir()) / "plan.toml").read_text()
    assert text.count("# set on the command line: capacity.ladder") == 1


def test_a_dry_run_says_what_is_searched(inside: Command, plan: Path) -> None:
    shown = inside("run", str(plan), "--dry-run")
    assert shown.returncode == 0, shown.stderr
    assert "for the highest rate" in shown.stdout
    assert "takes      at least 0." in shown.stdout
    assert "p90 within 150 ms" in shown.stdout
