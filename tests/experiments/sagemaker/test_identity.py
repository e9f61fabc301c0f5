"""What boto3, STS, Application Auto Scaling and CloudWatch say, from real servers and settings."""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partialmethod
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from botocore.credentials import AssumeRoleProvider

from experiments.doctor import Invocations, Scalable
from experiments.errors import EndpointError
from experiments.local import process
from experiments.local.process import LocalEndpoint
from experiments.sagemaker.endpoint import describe, scaling_activity
from experiments.sagemaker.identity import _ahead_s, identify
from experiments.sagemaker.inspect import invocations, scalable_targets
from experiments.sagemaker.invoke import boto3_transport
from experiments.tables import Endpoint

FILE = """
    name = "shop"
    metrics_delay = "0s"
    [keys.OLD]
    secret_access_key = "old"
    account = "123456789012"
    expires = 2020-01-01T00:00:00Z
    [variants.blue]
    simulated = { constant = "1ms" }
    [variants.blue.autoscaling]
    max = 3
    invocations_per_instance = 100
    [variants.green]
    simulated = { constant = "1ms" }
    """
REFUSED = "not allowed. Canonical String:\nx-amz-security-token:SECRET/+=\nhost:a"
DIMENSION = "sagemaker:variant:DesiredInstanceCount"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalEndpoint]:
    folder = tmp_path_factory.mktemp("shop")
    (folder / "shop.endpoint.toml").write_text(FILE)
    running = process.start(folder / "shop.endpoint.toml", log_dir=folder)
    yield running
    running.stop()


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """No credentials, no region, no configuration, and nobody to ask for them."""
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    return monkeypatch


def at(running: LocalEndpoint, monkeypatch: pytest.MonkeyPatch, **variables: str) -> Endpoint:
    """The endpoint by its URL, from an environment with its keys, or with others."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, {**running.environment(), **variables}[name])
    return Endpoint(name="shop", target=running.url)


def test_sts_names_the_account_of_the_keys_and_the_time(
    shop: LocalEndpoint, environment: pytest.MonkeyPatch
) -> None:
    found = identify(at(shop, environment))
    assert (found.method, found.is_temporary, found.renews) == ("env", False, False)
    assert found.arn == "arn:aws:iam::123456789012:user/local"
    assert found.region == "us-east-1"
    assert found.ahead_s is not None
    assert abs(found.ahead_s) < 5


def test_sts_says_why_it_refuses_a_key(
    shop: LocalEndpoint, environment: pytest.MonkeyPatch
) -> None:
    old = identify(at(shop, environment, AWS_ACCESS_KEY_ID="OLD", AWS_SECRET_ACCESS_KEY="old"))
    assert (old.is_reached, "ExpiredToken" in (old.refusal or "")) == (True, True)
    wrong = identify(at(shop, environment, AWS_SECRET_ACCESS_KEY="wrong"))
    assert "SignatureDoesNotMatch" in (wrong.refusal or "")
    assert wrong.ahead_s is not None


def test_a_key_in_variables_says_when_it_expires_where_a_variable_does(
    environment: pytest.MonkeyPatch,
) -> None:
    expires = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    environment.setenv("AWS_ACCESS_KEY_ID", "a")
    environment.setenv("AWS_SECRET_ACCESS_KEY", "b")
    environment.setenv("AWS_SESSION_TOKEN", "c")
    aws = Endpoint(name="shop")
    assert identify(aws).expires_at is None
    assert identify(aws).is_temporary
    environment.setenv("AWS_CREDENTIAL_EXPIRATION", expires.isoformat())
    found = identify(aws)
    assert (found.expires_at, found.renews) == (expires, False)


def test_a_profile_with_a_process_renews(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hour = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    keys = {"Version": 1, "AccessKeyId": "a", "SecretAccessKey": "b", "SessionToken": "c"}
    (tmp_path / "keys.json").write_text(json.dumps({**keys, "Expiration": hour}))
    script = f"print(open(r'{tmp_path / 'keys.json'}').read())"
    (tmp_path / "process.py").write_text(script)
    (tmp_path / "config").write_text(
        f"[profile load]\ncredential_process = {sys.executable} {tmp_path / 'process.py'}\n"
    )
    found = identify(Endpoint(name="shop", profile="load"))
    assert (found.method, found.profile, found.renews) == ("custom-process", "load", True)


def test_a_role_with_mfa_is_not_renewed_and_what_comes_of_a_login_ends_with_it(
    canned: tuple[Endpoint, dict[str, Any]], environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # botocore asks for the code once, and raises where it is to renew what it got for it.
    endpoint, answers = canned
    hour = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    answers["Query"] = (
        "<Response><AssumeRoleResult><Credentials><AccessKeyId>a</AccessKeyId>"
        "<SecretAccessKey>b</SecretAccessKey><SessionToken>c</SessionToken>"
        f"<Expiration>{hour}</Expiration></Credentials></AssumeRoleResult>"
        "<GetCallerIdentityResult><Arn>of-the-role</Arn></GetCallerIdentityResult></Response>"
    )
    environment.setenv("AWS_ENDPOINT_URL_STS", endpoint.target)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        environment.delenv(name)
    make = AssumeRoleProvider.__init__
    environment.setattr(AssumeRoleProvider, "__init__", partialmethod(make, prompter=str))
    keys = "aws_access_key_id = a\naws_secret_access_key = b\n"
    (tmp_path / "credentials").write_text(f"[keys]\n{keys}[logged-in]\n{keys}")
    role = "role_arn = arn:aws:iam::123456789012:role/load\nsource_profile ="
    (tmp_path / "config").write_text(
        f"[profile plain]\n{role} keys\n"
        f"[profile coded]\n{role} keys\nmfa_serial = arn:aws:iam::123456789012:mfa/me\n"
        f"[profile lent]\n{role} logged-in\n[profile logged-in]\nsso_session = corp\n"
    )
    found = [
        identify(endpoint.model_copy(update={"profile": profile}))
        for profile in ("plain", "coded", "lent")
    ]
    assert {(each.method, each.arn) for each in found} == {("assume-role", "of-the-role")}
    assert all(each.expires_at for each in found)
    assert [(each.renews, each.is_of_a_login) for each in found] == [
        (True, False), (False, False), (True, True),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("profile", "said", "step"),
    [
        ("nobody", "ProfileNotFound", "endpoint.profile"),
        ("sso", "sso", "aws sso login"),
        ("old-sso", "sso", "aws sso login"),
        ("failing", "CredentialRetrievalError", "credential_process, run that by hand"),
        ("absent", "No such file", "credential_process, run that by hand"),
        ("babbling", "JSONDecodeError", "credential_process, run that by hand"),
    ],
)
def test_credentials_that_cannot_be_had_are_said_with_what_to_do(
    profile: str, said: str, step: str, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment.setenv("HOME", str(tmp_path))
    old = "sso_start_url = https://a.example\nsso_region = eu-west-1\n"
    role = "sso_account_id = 123456789012\nsso_role_name = load\n"
    (tmp_path / "config").write_text(
        f"[sso-session corp]\n{old}[profile sso]\nsso_session = corp\n{role}"
        f"[profile old-sso]\n{old}{role}"
        "[profile failing]\ncredential_process = false\n"
        "[profile absent]\ncredential_process = /no/such/program\n"
        "[profile babbling]\ncredential_process = echo hello\n"
    )
    with pytest.raises(EndpointError) as raised:
        identify(Endpoint(name="shop", profile=profile, region="eu-west-1"))
    assert said.lower() in raised.value.message.lower()
    assert step in raised.value.hint


def test_nothing_found_is_said() -> None:
    assert identify(Endpoint(name="shop")).method is None


@pytest.mark.parametrize("date", ["", "now", "Mon, 99 Nov 2026 10:00:00 GMT", "1 Jan 2026 10:00"])
def test_what_is_no_date_tells_no_time(date: str) -> None:
    assert _ahead_s(date) is None


def test_targets_and_invocations_are_read(
    shop: LocalEndpoint, environment: pytest.MonkeyPatch
) -> None:
    endpoint = at(shop, environment)
    variants = ["blue", "green"]
    found = invocations(endpoint, variants)
    assert found == Invocations(total=0, minutes=15, latest=None)
    boto3_transport(endpoint, slots=1)(
        {"EndpointName": "shop", "TargetVariant": "green", "Body": b"{}"}
    )
    found = invocations(endpoint, variants)
    assert isinstance(found, Invocations)
    assert (found.total, found.latest is None) == (1, False)
    resources = [f"endpoint/shop/variant/{variant}" for variant in variants]
    assert scalable_targets(endpoint, resources) == [
        Scalable(resource=resources[0], dimension=DIMENSION, least=1, most=3, is_suspended=False)
    ]


@pytest.fixture
def canned(environment: pytest.MonkeyPatch) -> Iterator[tuple[Endpoint, dict[str, Any]]]:
    """An endpoint whose API gives the answers in the mapping, by operation, 10 minutes late."""
    answers: dict[str, Any] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            operation = self.headers.get("X-Amz-Target", ".Query").partition(".")[2]
            assert body
            status, answer = 200, answers.get(operation)
            if answer is None:
                status, answer = 400, {"__type": "AccessDeniedException", "message": REFUSED}
            said = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def date_time_string(self, timestamp: float | None = None) -> str:
            return format_datetime(datetime.now(UTC) - timedelta(minutes=10), usegmt=True)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    environment.setenv("AWS_ACCESS_KEY_ID", "a")
    environment.setenv("AWS_SECRET_ACCESS_KEY", "b")
    environment.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield Endpoint(name="shop", target=f"http://127.0.0.1:{server.server_port}"), answers
        server.shutdown()
        thread.join()


def test_whatever_answers_tells_the_time(
    canned: tuple[Endpoint, Mapping[str, Any]],
) -> None:
    found = identify(canned[0])
    assert not found.is_reached  # it speaks no XML
    assert found.ahead_s == pytest.approx(600, abs=5)


def test_what_may_not_be_read_is_said(canned: tuple[Endpoint, Mapping[str, Any]]) -> None:
    endpoint, _ = canned
    every = (
        describe(endpoint, "shop").note,
        scalable_targets(endpoint, ["endpoint/shop/variant/blue"]),
        scaling_activity(endpoint, ["blue"])["note"],
        invocations(endpoint, ["blue"]),
    )
    for said in map(str, every):
        assert "AccessDenied" in said
        assert "x-amz-security-token:***" in said


def test_a_deployment_under_way_and_suspended_scaling_are_read(
    canned: tuple[Endpoint, dict[str, Any]],
) -> None:
    endpoint, answers = canned
    arn = "arn:aws:sagemaker:eu-west-1:123456789012:endpoint/shop"
    answers["DescribeEndpoint"] = {
        "EndpointName": "shop", "EndpointArn": arn, "EndpointConfigName": "shop-7",
        "EndpointStatus": "Updating", "CreationTime": 0, "LastModifiedTime": 0,
        "FailureReason": "the one before",
        "PendingDeploymentSummary": {"EndpointConfigName": "shop-8"},
    }  # fmt: skip
    answers["DescribeEndpointConfig"] = {
        "EndpointConfigName": "shop-7", "EndpointConfigArn": arn, "ProductionVariants": [],
        "CreationTime": 0,
    }  # fmt: skip
    found = describe(endpoint, "shop")
    assert (found.pending, found.arn, found.status) == ("shop-8", arn, "Updating")
    assert found.failure == "the one before"
    kinds = ("DynamicScalingIn", "DynamicScalingOut", "ScheduledScaling")
    one = {
        "ServiceNamespace": "sagemaker", "ResourceId": "endpoint/shop/variant/blue",
        "ScalableDimension": DIMENSION, "MinCapacity": 1, "MaxCapacity": 4, "RoleARN": arn,
        "CreationTime": 0, "SuspendedState": {f"{kind}Suspended": True for kind in kinds},
    }  # fmt: skip
    answers["DescribeScalableTargets"] = {"ScalableTargets": [one]}
    answers["DescribeScalingActivities"] = {"ScalingActivities": []}
    (target,) = scalable_targets(endpoint, [one["ResourceId"]])
    assert isinstance(target, Scalable)
    assert (target.is_suspended, target.most) == (True, 4)
