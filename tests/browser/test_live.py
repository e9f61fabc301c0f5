"""The live page in a real browser while a real run goes on, held to the run's records."""

import json
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import analysis
from tests.browser.chromium import Chromium, Page
from tests.end_to_end.conftest import ENDPOINT, PLAN, command, environment, only_run

FAULT = '[[faults]]\nkind = "model_error"\nstatus = 503\nshare = "20%"\nvariant = "candidate"\n'
HALF_A_PERCENT = 0.0051
ROUNDED = 0.0051
"""Times have three digits."""
HOSTILE = '</span><img src=x onerror="document.title=1"><script>document.title=2</script>"&\u202e🚀'
ROWS = (
    "[...document.querySelectorAll('#arms tr')].map(row => [...row.children].map(e => e.innerText))"
)


def test_the_page_follows_a_run_to_its_end_and_its_figures_are_those_of_the_records(
    tmp_path: Path, chromium: Chromium, axe: str
) -> None:
    (tmp_path / "shop.endpoint.toml").write_text(ENDPOINT + FAULT)
    (tmp_path / "rows.jsonl").write_text("".join(f'{{"x": {i}}}\n' for i in range(10)))
    plan = tmp_path / "shop.toml"
    plan.write_text(PLAN.replace("rate = 60", "rate = 50").replace('"2s"', '"8s"'))
    process = subprocess.Popen(
        command("run", str(plan), "--web", "--out", str(tmp_path / "runs")),
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        page = Page(chromium, address_of(process))
        wait_for(page, "document.getElementById('stage').innerText.startsWith('Sending: ')")
        assert page.run("document.querySelectorAll('#arms tr').length") == 2
        assert "There is no verdict here" in page.run("document.body.innerText")
        page.run(axe)
        for scheme in ("light", "dark"):
            page.media("screen", scheme)
            found = page.run("axe.run().then(found => JSON.stringify(found.violations))")
            assert [(e["id"], e["nodes"][0]["failureSummary"]) for e in json.loads(found)] == []
        page.phone()
        assert page.run("document.documentElement.scrollWidth") == 375
        wait_for(page, "document.getElementById('stage').innerText.startsWith('The run has ended')")
        assert process.wait(timeout=60) in (3, 4)
    finally:
        process.kill()
        process.communicate()

    run = analysis.read_run(only_run(tmp_path / "runs"))
    requests = run.requests
    rows = page.run(ROWS)
    assert [row[0] for row in rows] == ["current", "candidate"]
    for arm, _, _, _, _, ended, *times, failed, dropped in rows:
        of_arm = requests[requests["arm"] == arm]
        good = of_arm[of_arm["outcome"] == "ok"]
        assert int(ended) == len(of_arm)
        assert failed == ("0" if arm == "current" else f"{len(of_arm) - len(good)} model_error")
        assert dropped == "0"
        exact = [
            np.quantile(good[column], q, method="inverted_cdf")
            for column in ("response_ms", "service_ms")
            for q in (0.5, 0.99)
        ]
        assert [float(shown) for shown in times] == pytest.approx(
            exact, rel=HALF_A_PERCENT + ROUNDED
        )
    lines = "[...document.querySelectorAll('figure > svg path.line')]"
    assert page.run(f"{lines}.length") == 13
    assert page.run(f"{lines}.every(path => path.getAttribute('d').split('L').length >= 6)")

    compare_with_health(json.loads(page.run("JSON.stringify(points)")), run.health)
    looks = "new Set([...Array(16).keys()].map(look)).size"
    assert page.run(looks) == 16  # the most arms that a plan may have
    show_hostile_names(page)
    # Only the questions after the run's end go unanswered.
    assert [each for each in map(str, page.complaints()) if "CONNECTION_REFUSED" not in each] == []
    page.close()


def compare_with_health(points: list[dict[str, Any]], health: pd.DataFrame) -> None:
    """Hold the points of the first ten seconds, which are of all that came, to the rows."""
    assert len(points) == len(health)
    early = [point for point in points if 3.0 < point["elapsed_s"] < 9.9]
    assert len(early) >= 3
    for number, point in enumerate(points):
        so_far = health.iloc[: number + 1]
        if point in early:
            ended = point["achieved_rps"] * point["elapsed_s"]
            assert ended == pytest.approx(so_far["ended"].sum(), rel=0.05 / 3 + 1e-3)
            of_arms = sum(arm["rate_rps"] for arm in point["arms"].values())
            assert of_arms == pytest.approx(point["achieved_rps"], rel=2e-3)
            p99_ms = so_far["lateness_p99_ms"]
            late = point["lateness_p99_ms"]
            assert 0.99 * p99_ms.min() <= late <= 1.01 * p99_ms.max()


def address_of(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    said = ""
    for line in process.stderr:
        if found := re.search(r"http\S+/live$", line):
            return found[0]
        said += line
    raise AssertionError(said)


def show_hostile_names(page: Page) -> None:
    """Show an answer whose every text is hostile, and find each as text and none as markup."""
    arm = {"arm": HOSTILE, "ended": 1, "dropped": 0, "failed": {HOSTILE: 1}}
    times = {"response_ms": [None] * 3, "service_ms": [None] * 3}
    answer = {
        "run_id": HOSTILE, "stage": HOSTILE, "elapsed_s": 1, "length_s": 9, "planned": None,
        "begun": 1, "in_flight": 0, "arms": [arm | times], "recent": {"arms": {}, "due_rps": None},
    }  # fmt: skip
    page.run(f"show({json.dumps(answer)})")
    assert page.run("document.querySelectorAll('img, #arms script').length") == 0
    assert page.run("document.title").endswith(HOSTILE)
    assert page.run("document.querySelector('#arms th span').textContent") == HOSTILE
    assert page.run("document.getElementById('run').textContent") == HOSTILE
    assert HOSTILE in page.run("document.getElementById('stage').textContent")


def wait_for(page: Page, condition: str, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not page.run(condition):
        assert time.monotonic() < deadline, page.run("document.body.innerText")
        time.sleep(0.2)
