"""A user's own locustfile, run by plain Locust: what its calls leave, and when it is refused."""

import json
import re
import signal
import subprocess
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

import analysis
from tests.end_to_end.conftest import (
    ENDPOINT,
    NO_VERDICT,
    ROOT,
    assert_adds_up,
    finish,
    has_recorded,
    manifest_of,
    only_run,
    start_locust,
    wait_for,
    write_plan,
)

CLOSED = (
    "--set", "traffic.arrivals=closed", "--set", "traffic.users=8",
    "--set", "traffic.routing=pinned",
)  # fmt: skip

HEAD = """
import json
import time
from pathlib import Path

from botocore.exceptions import ClientError
from locust import LoadTestShape, User, constant, events, task
from locust.exception import StopUser

from experiments.traffic import EndpointUser, follow

follow(events)


def note(**seen):
    with Path("seen.jsonl").open("a") as file:
        file.write(json.dumps(seen) + "\\n")

"""

FOUR_KINDS = """
class Pinned(EndpointUser):
    wait_time = constant(0.02)

    @task
    def ask(self):
        for variant, body in (("current", '{"x": 3}'), ("candidate", b'{"x": 99}')):
            answer = self.client.invoke_endpoint(
                EndpointName="shop", TargetVariant=variant, Body=body,
                ContentType="application/json",
            )
            note(
                kind="answer",
                body=answer.pop("Body").read().decode(),
                answer={k: v for k, v in answer.items() if k != "ResponseMetadata"},
                request_id=answer["ResponseMetadata"]["RequestId"],
            )


class Routed(User):
    wait_time = constant(300)

    @task
    def ask_whoever(self):
        answer = self.client.invoke_endpoint(EndpointName="shop", Body=open("rows.jsonl", "rb"))
        note(kind="routed", variant=answer["InvokedProductionVariant"])


class Astray(User):
    wait_time = constant(300)

    @task
    def ask_nobody(self):
        try:
            self.client.invoke_endpoint(EndpointName="shop", TargetVariant="absent", Body=b"{}")
        except ClientError as error:
            note(
                kind="error",
                code=error.response["Error"]["Code"],
                request_id=error.response["ResponseMetadata"]["RequestId"],
            )


class Stubborn(User):
    @task
    def ask_for_ever(self):
        while True:
            try:
                self.client.describe_endpoint(EndpointName="shop")
            except Exception as error:
                note(kind="other", type=type(error).__name__, said=str(error))
            try:
                self.client.invoke_endpoint(EndpointName="shop", Body=None)
            except Exception as error:
                note(kind="refused", type=type(error).__name__)
            time.sleep(0.2)
"""


def locust(plan: Path, text: str, *arguments: str) -> subprocess.Popen[str]:
    """Start Locust headless on a locustfile of this text, beside the plan."""
    file = plan.with_name("mine.py")
    file.write_text(text)
    asked = ("--plan", str(plan), "--headless", "--only-summary", *arguments)
    return start_locust(plan.parent, *asked, file=Path(file.name))


def seen_in(folder: Path, kind: str) -> list[dict[str, Any]]:
    lines = (folder / "seen.jsonl").read_text().splitlines()
    return [seen for seen in map(json.loads, lines) if seen["kind"] == kind]


def seconds_under_way(folder: Path) -> float:
    events = map(json.loads, (folder / "timeline.jsonl").read_text().splitlines())
    at = {event["kind"]: datetime.fromisoformat(event["at"]) for event in events}
    return (at["end"] - at["start"]).total_seconds()


def test_calls_get_what_boto3_gives_and_are_recorded_as_any_request(closed: Path) -> None:
    process = locust(closed, HEAD + FOUR_KINDS, *CLOSED)
    out, err = finish(process)
    assert process.returncode in NO_VERDICT, err
    folder = only_run(closed.parent / "reports")
    manifest = manifest_of(folder)
    assert manifest["ended_as"] == "complete"
    assert manifest["locustfile"] == "mine.py"
    assert "service time, from when each request left" in out
    # Users who are asleep for minutes do not hold up the end.
    assert seconds_under_way(folder) < 10

    run = analysis.read_run(folder)
    assert_adds_up(run.counts)
    rows = run.requests
    assert run.counts["planned"] == run.counts["ended"] == len(rows)
    assert rows["seq"].tolist() == list(range(len(rows)))
    assert (rows["scheduled_ms"] == rows["started_ms"]).all()
    assert rows["started_ms"].between(0, 3000).all()
    assert (rows["started_ms"].ge(1000) == rows["phase"].eq("measure")).all()
    assert set(rows["slot"]) == set(range(8))
    assert rows["slots_busy"].between(0, 7).all()
    assert rows["group"].isna().all()
    assert (rows["retries"].dropna() == 0).all()

    pinned = rows[rows["variant_asked"].isin(["current", "candidate"])]
    assert (pinned["outcome"] == "ok").all(), pinned["error"].dropna().unique()
    assert (pinned["arm"] == pinned["variant_asked"]).all()
    assert (pinned["variant_invoked"] == pinned["variant_asked"]).all()
    assert set(pinned.loc[pinned["arm"] == "current", "payload"]) == {3}
    assert set(pinned.loc[pinned["arm"] == "candidate", "payload"]) == {-1}
    assert set(pinned["bytes_out"]) == {len('{"x": 3}'), len('{"x": 99}')}
    answers = seen_in(closed.parent, "answer")
    # 2 users, each at most twice in 20 ms of waiting and 9 ms of service, for 3 s.
    assert 2 * 2 * 10 < len(answers) < 2 * 2 * 3 / 0.02
    assert {seen["request_id"] for seen in answers} <= set(pinned["request_id"])
    assert {seen["body"] for seen in answers} == {'{"predictions": [{"label": 0}]}'}
    for seen in answers:
        assert seen["answer"]["ContentType"] == "application/json"
        assert seen["answer"]["InvokedProductionVariant"] in ("current", "candidate")

    unpinned = rows[rows["variant_asked"].isna()]
    routed = unpinned[unpinned["outcome"] == "ok"]
    assert len(routed) == 2
    assert sorted(routed["arm"]) == sorted(s["variant"] for s in seen_in(closed.parent, "routed"))
    assert set(routed["bytes_out"]) == {(closed.parent / "rows.jsonl").stat().st_size}

    astray = rows[rows["variant_asked"] == "absent"]
    assert len(astray) == 2
    assert (astray["outcome"] == "validation").all()
    assert astray["arm"].isna().all()
    errors = seen_in(closed.parent, "error")
    assert {seen["code"] for seen in errors} == {"ValidationError"}
    assert {seen["request_id"] for seen in errors} == set(astray["request_id"])

    refused = unpinned[unpinned["outcome"] != "ok"]
    assert set(refused["outcome"]) == {"validation"}
    assert refused["error"].str.contains("Invalid type for parameter Body").all()
    assert {seen["type"] for seen in seen_in(closed.parent, "refused")} == {"ParamValidationError"}
    assert len(seen_in(closed.parent, "refused")) == len(refused)
    others = seen_in(closed.parent, "other")
    assert {seen["type"] for seen in others} == {"AttributeError"}
    assert "no describe_endpoint" in others[0]["said"]


ONE_TASK = """
class Asker(EndpointUser):
    @task
    def ask(self):
        self.client.invoke_endpoint(EndpointName="shop", TargetVariant="current", Body=b"{}")
"""

SERVING = """
class Slot(EndpointUser):
    pass
"""

SHAPE = """
class Steps(LoadTestShape):
    def tick(self):
        return (1, 1)
"""


@pytest.mark.parametrize(
    ("text", "arguments", "said"),
    [
        (ONE_TASK, (), ['traffic.arrivals is "poisson"', 'Set arrivals = "closed"']),
        (ONE_TASK, (*CLOSED, "--set", "traffic.think_time=1s"), ["traffic.think_time is 1 s"]),
        (ONE_TASK + SERVING, CLOSED, ["Slot has no task", "Asker has tasks of its own"]),
        (ONE_TASK + SHAPE, CLOSED, ["Steps sets the number of users"]),
    ],
    ids=["open plan", "think time", "mixed", "shape"],
)
def test_what_does_not_go_together_is_refused_before_anything_is_sent(
    closed: Path, text: str, arguments: tuple[str, ...], said: list[str]
) -> None:
    plan = closed if arguments else write_plan(closed.parent)
    process = locust(plan, HEAD + text, *arguments)
    _, err = finish(process)
    assert process.returncode == 2, err
    for part in said:
        assert part in err
    assert "Traceback" not in err
    assert not (plan.parent / "reports").exists()


def test_the_plans_limits_hold(closed: Path) -> None:
    limits = "limits={max_requests=30, max_minutes=5}"
    process = locust(closed, HEAD + ONE_TASK, *CLOSED, "--set", limits)
    _, err = finish(process)
    assert process.returncode in NO_VERDICT, err
    run = analysis.read_run(only_run(closed.parent / "reports"))
    assert run.manifest["ended_as"] == "stopped"
    assert "limits.max_requests = 30" in run.manifest["reason"]
    assert len(run.requests) == run.counts["planned"] == run.counts["ended"] == 30 - 2


def test_users_who_all_end_early_end_the_run_and_it_says_so(closed: Path) -> None:
    text = ONE_TASK + "        raise StopUser\n"
    process = locust(closed, HEAD + text, *CLOSED)
    _, err = finish(process)
    assert process.returncode == 4, err
    run = analysis.read_run(only_run(closed.parent / "reports"))
    assert run.manifest["ended_as"] == "aborted"
    assert "All users of the locustfile ended" in run.manifest["reason"]
    assert len(run.requests) == run.counts["ended"] == 8


def test_ctrl_c_awaits_what_is_in_flight(closed: Path) -> None:
    endpoint = closed.parent / "shop.endpoint.toml"
    endpoint.write_text(
        ENDPOINT.replace(
            'distribution = "lognormal", median = "6ms", sigma = 0.3, workers = 4',
            'distribution = "constant", constant = "3s", workers = 16',
        )
    )
    process = locust(closed, HEAD + ONE_TASK, *CLOSED, "--set", "traffic.duration=60s")
    wait_for(lambda: has_recorded(closed.parent / "reports", rows=8))
    process.send_signal(signal.SIGINT)
    out, err = finish(process)
    assert process.returncode == 130, err
    assert "Press Ctrl-C again" in err
    assert "Traceback" not in err
    assert "stopped before its end" in " ".join(out.split())
    run = analysis.read_run(only_run(closed.parent / "reports"))
    assert run.manifest["ended_as"] == "interrupted"
    assert_adds_up(run.counts)
    assert run.counts["missing"] == 0
    # Each user has had one answer, and awaits its second.
    assert (run.requests["outcome"] == "ok").all()
    assert len(run.requests) == 16


def test_the_locustfile_in_the_readme_runs_with_the_plan_beside_it(tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    section = readme.partition("## Your own locustfile")[2].partition("\n## ")[0]
    (text,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    (traffic,) = re.findall(r"```toml\n(.*?)```", section, re.DOTALL)
    assert 'duration = "10m"' in traffic
    (plan,) = re.findall(r"```toml\n(question.*?)```", readme, re.DOTALL)
    start, end = plan.index("[traffic]"), plan.index("[limits]")
    plan = plan[:start] + traffic.replace('"10m"', '"2s"\nwarmup = "0s"') + plan[end:]
    local = 'target = "local"\nconfig = "my.endpoint.toml"'
    (tmp_path / "my-plan.toml").write_text(re.sub(r'target = "aws".*', local, plan))
    (tmp_path / "bodies.jsonl").write_text('{"instances": [[1.0, 2.0]]}\n')
    renamed = ENDPOINT.replace('"shop"', '"my-endpoint"').replace("current", "blue")
    (tmp_path / "my.endpoint.toml").write_text(renamed.replace("candidate", "green-v2"))
    process = locust(tmp_path / "my-plan.toml", text)
    _, err = finish(process)
    assert process.returncode in NO_VERDICT, err
    assert "Traceback" not in err
    run = analysis.read_run(only_run(tmp_path / "reports"))
    assert run.manifest["ended_as"] == "complete"
    assert (run.requests["outcome"] == "ok").all()
    assert set(run.requests["arm"]) == {"blue", "green"}
    assert (run.requests["variant_asked"] == run.requests["variant_invoked"]).all()
