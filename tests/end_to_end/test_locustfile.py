"""Plain Locust with our locustfile: headless, and with its web UI."""

import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import psutil
import pytest

import analysis
from tests.end_to_end.conftest import (
    NO_VERDICT,
    ROOT,
    TIMELINES,
    assert_adds_up,
    finish,
    has_recorded,
    manifest_of,
    only_run,
    start_locust,
    wait_for,
)

SLOW = """
name = "shop"
[variants.current]
simulated = { distribution = "constant", constant = "1s", workers = 64 }
[variants.candidate]
simulated = { distribution = "constant", constant = "1s", workers = 64 }
"""


def locust(plan: Path, *arguments: str) -> subprocess.Popen[str]:
    return start_locust(plan.parent, "--plan", str(plan), *arguments)


def headless(plan: Path, *arguments: str) -> subprocess.Popen[str]:
    return locust(plan, "--headless", "--only-summary", *arguments)


def test_headless_runs_the_plan_and_exits_with_its_verdict(plan: Path) -> None:
    process = headless(plan)
    out, err = finish(process)
    assert process.returncode in NO_VERDICT, err
    assert "cannot tell" in out.lower() or "do not read on" in out.lower()
    folder = only_run(plan.parent / "reports")
    assert (folder / "report.html").is_file()
    manifest = manifest_of(folder)
    assert manifest["ended_as"] == "complete"
    assert_adds_up(manifest["counts"])
    assert manifest["counts"]["ended"] == manifest["counts"]["planned"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--set", "traffic.rat=5"], ["traffic.rat: there is no such key"]),
        (
            ["--master", "--expect-workers", "1"],
            ["which only this process reaches", "abreast run PLAN --processes N"],
        ),
        (["--out", "/proc/nowhere"], ["/proc/nowhere"]),
        (["--plan", ""], ["--plan ab"]),
    ],
    ids=["a bad plan", "workers that could not reach it", "no folder", "no plan"],
)
def test_what_cannot_be_run_is_refused(plan: Path, arguments: list[str], said: list[str]) -> None:
    process = headless(plan, *arguments)
    _, err = finish(process)
    assert process.returncode == 2, err
    for part in said:
        assert part in err


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_drains_and_twice_stops_at_once_and_both_are_judged(plan: Path, times: int) -> None:
    (plan.parent / "shop.endpoint.toml").write_text(SLOW)
    plan.write_text(plan.read_text().replace("rate = 60", "rate = 20").replace("2s", "60s"))
    process = headless(plan)
    wait_for(lambda: has_recorded(plan.parent / "reports", rows=11))
    for _ in range(times):
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
    out, err = finish(process)
    assert process.returncode == 130, err
    assert "Press Ctrl-C again to stop at once" in err
    assert "Traceback" not in err
    folder = only_run(plan.parent / "reports")
    assert f"{folder.name}/report.html" in out
    assert (folder / "report.html").is_file()
    manifest = manifest_of(folder)
    assert manifest["ended_as"] == "interrupted"
    assert ("stopped at once" in manifest["reason"]) == (times == 2)
    assert_adds_up(manifest["counts"])
    assert manifest["counts"]["missing"] == 0
    assert manifest["counts"]["unsent"] > 300
    outcomes = analysis.read_run(folder).requests["outcome"].value_counts()
    # About 20 a second, each of which is under way for 1 s.
    assert outcomes["ok"] > 10
    assert outcomes.get("aborted", 0) > 2 if times == 2 else "aborted" not in outcomes


def test_ctrl_c_while_a_run_is_judged_says_how_to_judge_it(plan: Path) -> None:
    process = headless(plan, "--set", "traffic.duration=1s")
    judging = psutil.Process(process.pid)
    wait_for(lambda: any("report" in child.cmdline() for child in judging.children()))
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(0.2)
    _, err = finish(process)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    folder = only_run(plan.parent / "reports")
    assert f"`abreast report {folder}` judges them" in err
    assert manifest_of(folder)["ended_as"] == "complete"


def test_each_start_in_the_web_ui_makes_a_run_of_its_own_and_its_stop_drains(plan: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = locust(plan, "--web-port", str(port))
    try:
        swarm(f"http://127.0.0.1:{port}/swarm")
        wait_for(lambda: reports(plan) == 1)
        swarm(f"http://127.0.0.1:{port}/swarm")
        wait_for(lambda: sum('"start"' in f.read_text() for f in plan.parent.glob(TIMELINES)) == 2)
        urllib.request.urlopen(f"http://127.0.0.1:{port}/stop", b"", timeout=30).close()
        wait_for(lambda: reports(plan) == 2)
        # Bound to all interfaces, this address of the same machine would answer too.
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", port), timeout=5)
    finally:
        process.terminate()
        _, err = process.communicate(timeout=60)
    assert f"Live charts: http://127.0.0.1:{port}/live" in err
    first, second = map(manifest_of, sorted((plan.parent / "reports").iterdir()))
    assert first["slots"] == second["slots"] == 32
    assert first["ended_as"] == "complete"
    assert first["counts"]["ended"] == first["counts"]["planned"]
    assert second["ended_as"] == "interrupted"
    assert_adds_up(second["counts"])
    assert second["counts"]["missing"] == 0
    assert second["counts"]["unsent"] > 0


def test_an_open_web_interface_without_a_login_is_refused(plan: Path) -> None:
    process = locust(plan, "--web-host", "*", "--web-port", "0")
    _, err = finish(process)
    assert process.returncode == 2, err
    assert '--web-host "*": whoever reaches this machine could start' in err
    assert "--web-login" in err


def test_which_addresses_are_this_machines_alone() -> None:
    alone = ["127.0.0.1", "127.1.2.3", "localhost", "::1", "127.0.0.1:80", "localhost:8", "[::1]:8"]
    others = ["", "*", "0.0.0.0", "::", "10.0.0.1", "example.com", "[::]:8", "[", "127.0.0.1.x"]
    hosts = alone + others
    code = f"from experiments.traffic import web; print([*map(web._is_loopback, {hosts})])"
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert found.stdout.strip() == str([True] * len(alone) + [False] * len(others))


def reports(plan: Path) -> int:
    return len(list((plan.parent / "reports").glob("*/report.html")))


def swarm(url: str) -> None:
    form = urllib.parse.urlencode({"user_count": 32, "spawn_rate": 32}).encode()

    def started() -> bool:
        try:
            with urllib.request.urlopen(url, form, timeout=5) as response:
                return bool(response.status == 200)
        except (urllib.error.URLError, ConnectionError):
            return False

    wait_for(started)
