"""`abreast run` on real processes: what it keeps, what it says, and how it ends."""

import http.client
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

import pytest

import analysis
from experiments.local import process as local_endpoint
from tests.end_to_end.conftest import (
    LOCAL,
    NO_VERDICT,
    STEADY,
    Command,
    assert_adds_up,
    command,
    environment,
    finish,
    manifest_of,
    only_run,
    run_abreast,
    start,
    until_trusted,
    write_plan,
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three seconds, whose endpoint captures."""
    folder = tmp_path_factory.mktemp("made")
    plan = write_plan(folder)
    file = plan.with_name("shop.endpoint.toml")
    file.write_text(file.read_text().replace("\n[", '\ncapture = { folder = "captured" }\n[', 1))
    ended = run_abreast(folder, "run", str(plan), "--set", "request.session_id=NEW_SESSION")
    assert ended.returncode in NO_VERDICT, ended.stderr
    assert ended.stdout.rstrip().endswith("report.html")
    return only_run(folder / "reports")


def test_a_short_run_is_recorded_whole_and_gives_no_verdict(made: Path) -> None:
    assert {file.name for file in made.iterdir()} == {
        "manifest.json", "plan.toml", "requests.parquet", "health.parquet", "payloads.parquet",
        "timeline.jsonl", "cold.arrows", "logs", "report.html", "report.md", "report.json",
        "junit.xml",
    }  # fmt: skip
    run = analysis.read_run(made)
    assert_adds_up(run.counts)
    assert run.counts["planned"] == run.counts["ended"] == len(run.requests) > 100
    rows = run.requests
    assert (rows["outcome"] == "ok").all(), rows["error"].dropna().unique()
    assert rows["seq"].tolist() == list(range(len(rows)))
    assert (rows["variant_invoked"] == rows["variant_asked"]).all()
    assert (rows["arm"] == rows["variant_asked"]).all()
    assert (rows["retries"] == 0).all()
    in_order = ["scheduled_ms", "started_ms", "sent_ms", "first_byte_ms", "ended_ms"]
    assert (rows[in_order].diff(axis=1).iloc[:, 1:] >= -0.001).all(axis=None)
    pairs = rows.groupby("group")
    assert (pairs["payload"].nunique() == 1).all()
    assert set(rows["phase"]) == {"warmup", "measure"}
    assert (rows["scheduled_ms"].ge(1000) == rows["phase"].eq("measure")).all()


def test_the_python_way_in(made: Path) -> None:
    run = analysis.read_run(made)
    comparison = analysis.compare(run)
    frame = comparison.to_frame()
    assert {"arm", "metric", "measure", "difference", "ratio_low", "call"} <= set(frame.columns)
    assert set(frame["metric"]) >= {"p50", "p99", "mean", "error_rate"}
    ok = run.measured[run.measured["outcome"] == "ok"]
    p50 = frame[(frame["metric"] == "p50") & (frame["measure"] == "response")]["value"].item()
    by_hand = sorted(ok[ok["arm"] == "candidate"]["response_ms"])
    assert p50 == by_hand[-(-len(by_hand) // 2) - 1]
    assert comparison._repr_html_().startswith('<iframe srcdoc="&lt;!doctype html&gt;')


def test_a_runs_records_are_joined_to_what_was_captured(made: Path, inside: Command) -> None:
    (captured,) = made.rglob("captured")

    def shown(folder: Path) -> list[int]:
        shown = inside("show", str(made), "--capture", str(folder))
        assert shown.returncode == 0, shown.stderr
        (line,) = re.findall(r"^capture .*$", shown.stdout, re.MULTILINE)
        return [int(number.replace(",", "")) for number in re.findall(r"[\d,]*\d", line)]

    matched, missing, doubled, foreign = shown(captured)
    assert matched > 100
    # Each arm is asked once before the clock starts, which is not recorded.
    assert (missing, doubled, foreign) == (0, 0, 2)

    changed = max(captured.rglob("*.jsonl"), key=lambda file: file.stat().st_size)
    _, second, *rest = (line for line in changed.read_text().splitlines() if made.name in line)
    changed.write_text("\n".join([second, second, *rest]) + "\n")
    assert shown(captured)[:3] == [matched - 2, 1, 1]

    refused = inside("show", str(made), "--capture", str(made / "none"))
    assert refused.returncode == 2
    assert "there is no .jsonl file" in refused.stderr
    assert inside("show", "ab", "--capture", str(captured)).returncode == 2


def test_stages_are_phases_of_the_records_and_a_run_can_be_replayed(
    abreast: Command, plan: Path, tmp_path: Path
) -> None:
    text = plan.read_text()
    staged = 'stages = [{ rate = 60, for = "500ms" }, { rate = 60, to = 180, for = "1s" }]'
    plan.write_text(text.replace("rate = 60\n", f"{staged}\n").replace('duration = "2s"\n', ""))
    ended = abreast("run", str(plan), "--set", "traffic.arrivals=constant")
    assert ended.returncode in NO_VERDICT, ended.stderr
    first = analysis.read_run(only_run(tmp_path / "reports"))
    assert_adds_up(first.counts)
    # 60 a second for the warm-up and the first stage, and 120 on average over the ramp.
    counted = first.requests["phase"].value_counts().to_dict()
    assert counted == {"warmup": 60, "stage-1": 30, "stage-2": 120}
    assert len(first.measured) == 150

    plan.write_text(text.replace("rate = 60\n", 'trace = "first.parquet"\n').replace(
        'duration = "2s"\n', ""
    ))  # fmt: skip
    (tmp_path / "first.parquet").write_bytes((first.path / "requests.parquet").read_bytes())
    ended = abreast("run", str(plan), "--out", str(tmp_path / "again"))
    assert ended.returncode in NO_VERDICT, ended.stderr
    again = analysis.read_run(only_run(tmp_path / "again"))
    assert_adds_up(again.counts)
    assert again.requests["scheduled_ms"].tolist() == first.requests["scheduled_ms"].tolist()


def test_users_of_a_closed_loop_wait_for_their_answer_and_think(
    abreast: Command, closed: Path, tmp_path: Path
) -> None:
    users = (
        "--set", "traffic.arrivals=closed", "--set", "traffic.users=4",
        "--set", "traffic.think_time=20ms",
    )  # fmt: skip
    just_enough = "limits={ max_requests=100000, max_minutes=0.05 }"
    ended = abreast("run", str(closed), *users, "--set", just_enough)
    assert ended.returncode in NO_VERDICT, ended.stderr
    assert "service time, from when each request left" in ended.stdout
    assert "response time" not in ended.stdout
    run = analysis.read_run(only_run(tmp_path / "reports"))
    assert run.manifest["ended_as"] == "complete"
    assert_adds_up(run.counts)
    rows = run.requests
    # 4 users, each at most once in 20 ms of thinking and 2 ms of service, for 3 s.
    assert 4 * 10 < run.counts["planned"] == len(rows) < 4 * 3 / 0.02
    assert sorted(rows["slot"].unique()) == [0, 1, 2, 3]
    assert (rows["started_ms"] >= rows["scheduled_ms"]).all()
    assert rows["scheduled_ms"].max() < 3000
    for _, own in rows.groupby("slot"):
        thought_ms = own["scheduled_ms"].to_numpy()[1:] - own["ended_ms"].to_numpy()[:-1]
        assert (thought_ms >= 20 - 1e-6).all()
    pairs = rows[rows["group"] < rows["group"].max()].groupby("group")
    assert (pairs["payload"].nunique() == 1).all()
    assert (pairs["arm"].nunique() == 2).all()

    few = "limits={max_requests=30, max_minutes=5}"
    ended = abreast("run", str(closed), *users, "--set", few, "--out", str(tmp_path / "few"))
    assert ended.returncode in NO_VERDICT
    assert "limits.max_requests = 30" in ended.stdout
    run = analysis.read_run(only_run(tmp_path / "few"))
    assert len(run.requests) == run.counts["planned"] == 28  # and the first of each arm


def test_both_transports_record_the_same(abreast: Command, plan: Path, tmp_path: Path) -> None:
    """One arm answers, the other fails as a model does."""
    endpoint = tmp_path / "shop.endpoint.toml"
    # After the first request, which has to be answered, and before the schedule begins.
    failing = (
        '[[faults]]\nkind = "model_error"\nstatus = 503\nvariant = "candidate"\nat = "100ms"\n'
    )
    endpoint.write_text(endpoint.read_text() + failing)
    rows = {}
    for transport in ("fast", "boto3"):
        out = tmp_path / transport
        abreast("run", str(plan), "--set", f"traffic.transport={transport}", "--out", str(out))
        assert manifest_of(only_run(out))["transport"] == {"name": transport, "why_not_fast": None}
        rows[transport] = analysis.read_run(only_run(out)).requests
    fast, boto3 = rows["fast"], rows["boto3"]
    same = [
        "seq", "group", "phase", "arm", "scheduled_ms", "variant_asked", "variant_invoked",
        "payload", "outcome", "http_status", "original_status", "error", "content_type",
        "bytes_out", "bytes_in", "response_digest", "prediction", "retries",
    ]  # fmt: skip
    assert fast[same].compare(boto3[same]).empty
    assert set(fast["outcome"]) == {"ok", "model_error"}
    assert fast["request_id"].notna().all()
    assert fast["service_ms"].median() < boto3["service_ms"].median()


class _Proxy(BaseHTTPRequestHandler):
    """Passes requests on to the URL that their first line names."""

    def do_POST(self) -> None:
        url = urlsplit(self.path)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        onward = http.client.HTTPConnection(url.netloc)
        onward.request("POST", url.path, body, dict(self.headers))
        answer = onward.getresponse()
        content = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)
        onward.close()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def proxied() -> Iterator[dict[str, str]]:
    """Give the environment of someone behind a proxy, while this lasts."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Proxy) as proxy:
        Thread(target=proxy.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{proxy.server_port}"
        yield {"HTTP_PROXY": address, "NO_PROXY": "", "no_proxy": ""}
        proxy.shutdown()


def test_boto3_sends_through_a_proxy_and_the_run_says_so(plan: Path, tmp_path: Path) -> None:
    endpoint = local_endpoint.start(tmp_path / "shop.endpoint.toml")
    try:
        plan.write_text(plan.read_text().replace(LOCAL, f'target = "{endpoint.url}"'))
        with proxied() as surroundings:
            known = endpoint.client_environment(environment()) | surroundings
            _, said = finish(start(command("run", str(plan)), tmp_path, known))
    finally:
        endpoint.stop()
    assert "boto3 sends, not the fast transport: A proxy is in force" in said, said
    transport = manifest_of(only_run(tmp_path / "reports"))["transport"]
    assert transport["name"] == "boto3"
    report = json.loads((only_run(tmp_path / "reports") / "report.json").read_text())
    assert report["run"]["transport"] == "boto3"
    assert report["run"]["why_not_fast"] == transport["why_not_fast"]
    assert (analysis.read_run(only_run(tmp_path / "reports")).requests["outcome"] == "ok").all()


@pytest.mark.alone
def test_a_variant_twice_as_fast_ends_in_a_verdict_for_it(
    inside: Command, plan: Path, tmp_path: Path
) -> None:
    # Six times as long as noise lasts is the shortest that has a verdict.
    shortest = (
        "--set", "traffic.duration=5s", "--set", "traffic.rate=160", "--set", "traffic.slots=128",
        "--set", "compare.memory=500ms", "--json",
    )  # fmt: skip
    (tmp_path / "shop.endpoint.toml").write_text(STEADY.format(current="600ms", candidate="300ms"))
    ended, folder = until_trusted(tmp_path, "run", str(plan), *shortest)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    report = json.loads(ended.stdout)
    assert report["verdict"]["state"] == "better"
    assert report["verdict"]["validity"] == "SUSPECT"  # a short run, and said so
    median = next(
        d for d in report["differences"] if (d["metric"], d["measure"]) == ("p50", "service")
    )
    # The server takes exactly half the time; the client's own share is the same in both arms.
    assert 0.4 < median["ratio"]["interval"]["low"] < median["ratio"]["interval"]["high"] < 0.75
    assert json.loads(inside("compare", str(folder), "--json").stdout) == report


def test_without_a_free_slot_requests_wait_or_are_dropped_and_both_are_counted(
    abreast: Command, plan: Path, tmp_path: Path
) -> None:
    few = ["--set", "traffic.slots=1", "--set", "traffic.rate=400", "--quiet"]
    # The queue takes longer than the run may, which ends it.
    few += ["--set", "limits={ max_requests=9999, max_minutes=0.05 }"]
    for overflow in ("queue", "drop"):
        out = tmp_path / overflow
        abreast("run", str(plan), *few, "--set", f"traffic.overflow={overflow}", "--out", str(out))
        run = analysis.read_run(only_run(out))
        assert_adds_up(run.counts)
        waited = run.requests[run.requests["slots_busy"] >= 1]
        assert len(waited) > 100
        if overflow == "queue":
            assert run.manifest["ended_as"] == "aborted"
            assert "limits.max_minutes" in run.manifest["reason"]
            assert run.counts["dropped"] == 0
            assert (waited["lateness_ms"] > 0).all()
        else:
            assert run.counts["dropped"] == (waited["outcome"] == "dropped").sum()
            assert waited["started_ms"].isna().all()


def test_a_run_ends_at_the_most_requests_it_may_send(
    abreast: Command, plan: Path, tmp_path: Path
) -> None:
    abreast("run", str(plan), "--quiet", "--set", "limits={max_requests=183, max_minutes=1}")
    manifest = manifest_of(only_run(tmp_path / "reports"))
    assert manifest["counts"]["planned"] == 181  # of the 192 that the schedule would hold
    assert (manifest["ended_as"], manifest["reason"]) == (
        "stopped", "limits.max_requests = 183 were sent, the first ones included.",
    )  # fmt: skip
