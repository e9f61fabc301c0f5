"""`abreast doctor`: a plan that may be run, and one whose every trouble is named."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from experiments.local import process
from experiments.local.process import LocalEndpoint
from tests.end_to_end.conftest import LOCAL, PLAN, Command, command, environment

ALL = [
    "Payloads", "Credentials", "Region", "Account", "Clock", "Endpoint", "Arms", "Cost", "Scaling",
    "Other traffic", "Answers", "Permissions", "Transport", "Retries", "Open files", "Machine",
    "Generator",
]  # fmt: skip

TROUBLED = """
name = "shop"
metrics_delay = "0s"
update_takes = "10m"
[variants.current]
simulated = { constant = "1ms", workers = 4 }
instances = 2
[variants.current.autoscaling]
max = 4
invocations_per_instance = 100
[variants.candidate]
simulated = { constant = "1ms", workers = 4 }
managed = { min = 1, max = 3 }
"""


SENDS_TWICE = """
from botocore.httpsession import URLLib3Session
once = URLLib3Session.send
URLLib3Session.send = lambda *call: (once(*call), once(*call))[1]
"""


def findings(said: str) -> dict[str, dict[str, Any]]:
    return {each["title"]: each for each in json.loads(said)["checks"]}


def test_a_plan_that_may_be_run(plan: Path, abreast: Command, inside: Command) -> None:
    # Others may be busy here meanwhile, whose load the doctor is right to name.
    settings = ("--set", "traffic.rate=100", "--set", "traffic.routing=weighted")
    ended = abreast("doctor", str(plan), "--json", *settings)
    found = findings(ended.stdout)
    assert list(found) == ALL, ended.stderr
    busy = {"Machine", "Generator"}
    states = {title: each["state"] for title, each in found.items() if title not in busy}
    assert states == dict.fromkeys(states, "ok") | {"Permissions": "skip"}, found
    assert ended.returncode == (2 if found["Generator"]["state"] == "fail" else 0)
    assert "one process, at 100 req/s: " in found["Generator"]["finding"]
    # What the endpoint routes is sent to each arm all the same, by its name.
    assert found["Answers"]["finding"].startswith("current answered")
    assert "; candidate answered" in found["Answers"]["finding"]
    # 300 requests in 3 s of two instances, and the first to each arm.
    cost = "about 302 requests in 0.1 minutes: 0.00167 instance-hours (instances: current 1, "
    assert found["Cost"]["finding"].startswith(cost)
    assert "arn:aws:iam::123456789012:user/local" in found["Account"]["finding"]
    policy = json.loads(ended.stdout)["policy"]
    arn = "arn:aws:sagemaker:us-east-1:123456789012:endpoint/shop"
    assert policy["Statement"][0]["Resource"] == [arn]
    assert not (plan.parent / "reports").exists()
    shown = inside("run", str(plan), "--dry-run").stdout
    # 180 requests in 3 s and one to each arm before, of two instances: 6 s are a 600th of an hour.
    takes = "takes      about 182 requests in 0.1 minutes: 0.00167 instance-hours"
    assert f"{takes} (instances: current 1, candidate 1)" in shown
    assert "guarded    p50 ±5%, error_rate ±1 pp\n" in shown


@pytest.fixture
def troubled(tmp_path: Path) -> Iterator[LocalEndpoint]:
    file = tmp_path / "troubled.endpoint.toml"
    file.write_text(TROUBLED)
    running = process.start(file)
    yield running
    running.stop()


def test_each_trouble_is_named(troubled: LocalEndpoint, tmp_path: Path) -> None:
    # Everything at once: an update under way, scaling, uneven instances, others' requests, an
    # answer without the prediction, few files, and a Python that has patched boto3 before locust.
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(SENDS_TWICE)
    (tmp_path / "rows.jsonl").write_text('{"x": 1}\n')
    path = tmp_path / "troubled.toml"
    path.write_text(
        PLAN.replace(LOCAL, f'target = "{troubled.url}"')
        + '[answers]\nprediction = "nothing.here"\n'
    )
    surroundings = environment() | troubled.environment()
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        del surroundings[name]
    update = (
        "import boto3; c = boto3.client('sagemaker'); r = boto3.client('sagemaker-runtime');"
        "r.invoke_endpoint(EndpointName='shop', Body=b'{}')['Body'].read();"
        "c.update_endpoint_weights_and_capacities(EndpointName='shop', "
        "DesiredWeightsAndCapacities=[{'VariantName': 'current', 'DesiredWeight': 3.0}])"
    )
    no_proxy = surroundings | {"NO_PROXY": "*"}
    subprocess.run([*command()[:2], "-c", update], env=no_proxy, check=True, timeout=60)
    surroundings["PYTHONPATH"] += f":{tmp_path / 'site'}"
    del surroundings["HTTP_PROXY"]
    ended = subprocess.run(
        ["sh", "-c", 'ulimit -n 230 && exec "$@"', "sh", *command("doctor", str(path), "--json")],
        cwd=tmp_path, env=surroundings | {"AWS_MAX_ATTEMPTS": "5"}, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    assert ended.returncode == 2, ended.stderr
    found = findings(ended.stdout)
    states = {title: each["state"] for title, each in found.items() if title != "Machine"}
    assert states == {
        "Payloads": "ok", "Credentials": "ok", "Region": "ok", "Account": "ok", "Clock": "ok",
        "Endpoint": "fail", "Arms": "warn", "Cost": "ok", "Scaling": "warn",
        "Other traffic": "warn",
        "Answers": "fail", "Permissions": "skip", "Transport": "ok", "Retries": "fail",
        "Open files": "fail", "Generator": "fail",
    }, found  # fmt: skip
    assert "Updating" in found["Endpoint"]["finding"]
    assert "current 33%, candidate 67%" in found["Arms"]["cause"]
    assert "endpoint/shop/variant/current may have 1 to 4" in found["Scaling"]["finding"]
    assert "ManagedInstanceScaling may give candidate 1 to 3" in found["Scaling"]["finding"]
    assert "few: 1, latest at" in found["Other traffic"]["finding"]
    assert found["Answers"]["finding"].count("nothing.here") == 2  # of each arm
    assert "was sent 2 times" in found["Retries"]["finding"]
    assert "230 open files" in found["Open files"]["finding"]
    assert "boto3 was imported before locust" in found["Generator"]["cause"]
    assert "Traceback" not in ended.stdout + ended.stderr


def test_without_credentials_the_rest_is_not_asked_and_the_policy_is_printed_all_the_same(
    plan: Path, abreast: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    limits = "limits={ max_requests = 1000, max_minutes = 5 }"
    plan.write_text(plan.read_text().replace(LOCAL, ""))
    ended = abreast("doctor", str(plan), "--set", limits, "--set", "request.payloads=none.jsonl",
                    "--set", "traffic.transport=boto3")  # fmt: skip
    assert ended.returncode == 2
    said = " ".join(ended.stdout.split())
    assert "✗ Credentials: boto3 cannot get credentials: ProfileNotFound" in said
    assert "→ Check endpoint.profile and AWS_PROFILE" in said
    assert said.count("nothing can be asked") == 1
    assert " Endpoint: not checked, nor are Arms, Cost, Scaling, Other traffic, Answers" in said
    assert "none.jsonl cannot be read" in said
    assert "✓ Transport: boto3, " in said
    assert "✓ Retries" in ended.stdout
    assert ended.stdout.rstrip().splitlines()[-1].startswith("Failed: Payloads, Credentials")
    printed = abreast("doctor", str(plan), "--set", limits, "--policy")
    assert printed.returncode == 0, printed.stderr
    (arn,) = json.loads(printed.stdout)["Statement"][0]["Resource"]
    assert arn == "arn:aws:sagemaker:*:*:endpoint/shop"
