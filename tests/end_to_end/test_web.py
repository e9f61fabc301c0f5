"""`abreast run --web`: Locust's own interface shows the run, stops it, and starts no other."""

import json
import re
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

import analysis
from tests.end_to_end.conftest import (
    assert_adds_up,
    command,
    finish,
    manifest_of,
    only_run,
    start,
    wait_for,
)


def asked(url: str, form: bytes | None = None, **headers: str) -> Any:
    request = urllib.request.Request(url, form, headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def test_its_stop_drains_and_what_it_shows_is_what_was_recorded(plan: Path) -> None:
    plan.write_text(plan.read_text().replace('"2s"', '"30s"'))
    process = start(command("run", str(plan), "--web"), plan.parent)
    assert process.stderr is not None
    try:
        said = iter(process.stderr)
        address = next(found[1] for line in said if (found := re.search(r"(http\S+)/live$", line)))
        for headers in (
            {"Host": "elsewhere.example"},
            {"Origin": "http://elsewhere.example"},
            {"Origin": "null"},
        ):
            with pytest.raises(urllib.error.HTTPError, match="403"):
                asked(f"{address}/stop", b"", **headers)
        refused = asked(f"{address}/swarm", b"user_count=1&spawn_rate=1")
        assert refused["success"] is False
        assert "its plan says what is sent" in refused["message"]
        wait_for(lambda: asked(f"{address}/live.json")["seen"] >= 3)
        table = asked(f"{address}/stats/requests")
        seen = asked(f"{address}/live.json")
        assert asked(f"{address}/stop", b"")["success"] is True
        out, err = finish(process)
    finally:
        process.kill()
    assert process.returncode == 130, err
    folder = only_run(plan.parent / "reports")
    assert f"{folder.name}/report.html" in out
    manifest = manifest_of(folder)
    assert manifest["ended_as"] == "interrupted"
    assert_adds_up(manifest["counts"])
    assert manifest["counts"]["missing"] == 0
    assert manifest["counts"]["unsent"] > 1000

    rows = analysis.read_run(folder).requests
    names = {entry["name"]: entry for entry in table["stats"]}
    tab = {row["arm"]: row for row in table["extended_stats"][0]["data"]}
    assert set(tab) == {"current", "candidate"}
    assert names["Aggregated"]["num_requests"] == sum(row["requests"] for row in tab.values()) > 100
    for arm, row in tab.items():
        assert row["requests"] == names[arm]["num_requests"]
        came = rows[rows["arm"] == arm].sort_values("ended_ms")
        median = came["response_ms"].iloc[: row["requests"]].median()
        assert names[arm]["median_response_time"] == pytest.approx(median, abs=1.0)
        assert float(row["p50"]) == pytest.approx(median, rel=0.05)
    assert [arm["arm"] for arm in seen["arms"]] == ["current", "candidate"]
    assert seen["planned"] == manifest["planned"]
    assert len(seen["points"]) == seen["seen"] >= 3
