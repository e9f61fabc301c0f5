"""Credentials that expire are renewed beside the requests, and awaited only once they have."""

import json
import re
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3
import gevent
import pytest
from botocore.credentials import RefreshableCredentials
from botocore.exceptions import CredentialRetrievalError

from experiments.traffic import fast
from experiments.traffic.fast import FreshKeys
from tests.experiments.traffic.peer import OK, saying, serving
from tests.experiments.traffic.transports import CALL, fast_at

# A transport keeps its connections, and goes with them.
pytestmark = [
    pytest.mark.usefixtures("aws_environment"),
    pytest.mark.filterwarnings(
        "ignore:unclosed <s:ResourceWarning",
        "ignore:Exception ignored in. <s:pytest.PytestUnraisableExceptionWarning",
    ),
]


def lasting(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


class Issuer:
    """Issues credentials with a number; slowly, or not at all."""

    def __init__(self) -> None:
        self.asked = self.issued = 0
        self.takes_s = 0.0
        self.fails = False

    def __call__(self) -> dict[str, str]:
        self.asked += 1
        time.sleep(self.takes_s)
        if self.fails:
            raise CredentialRetrievalError(provider="test", error_msg="no")
        self.issued += 1
        return {
            "access_key": f"AKID{self.issued}", "secret_key": "s", "token": f"t{self.issued}",
            "expiry_time": lasting(3600),
        }  # fmt: skip

    def credentials(self) -> RefreshableCredentials:
        return RefreshableCredentials.create_from_metadata(self(), self, "test")


def expire(credentials: RefreshableCredentials, seconds: float) -> None:
    credentials._expiry_time = datetime.now(UTC) + timedelta(seconds=seconds)


def test_credentials_are_renewed_ahead_while_the_old_ones_are_used() -> None:
    issuer = Issuer()
    credentials = issuer.credentials()
    keys = FreshKeys(credentials)
    expire(credentials, 840)  # botocore renews 900 s ahead
    issuer.takes_s = 1.0
    began = time.perf_counter()
    assert keys().access_key == "AKID1"
    gevent.sleep(0.05)
    assert keys().access_key == "AKID1"
    assert time.perf_counter() - began < 0.9
    with gevent.Timeout(20):
        while keys() != ("AKID2", "s", "t2"):
            gevent.sleep(0.01)
    assert issuer.issued == 2


def test_expired_credentials_are_awaited_once_for_all() -> None:
    issuer = Issuer()
    credentials = issuer.credentials()
    keys = FreshKeys(credentials)
    expire(credentials, -1)
    issuer.takes_s = 0.2
    asking = [gevent.spawn(keys) for _ in range(20)]
    gevent.joinall(asking, timeout=30, raise_error=True)
    assert {each.value.access_key for each in asking} == {"AKID2"}
    assert issuer.issued == 2


def test_a_renewal_does_not_wait_for_the_threads_of_others() -> None:
    issuer = Issuer()
    credentials = issuer.credentials()
    keys = FreshKeys(credentials)
    expire(credentials, -1)
    others, release = gevent.get_hub().threadpool, threading.Event()
    for _ in range(others.maxsize + 1):
        others.spawn(release.wait, 60)
    asking = [gevent.spawn(keys) for _ in range(20)]
    gevent.joinall(asking, timeout=30, raise_error=True)
    assert {each.value.access_key for each in asking} == {"AKID2"}
    assert issuer.issued == 2
    release.set()
    others.join()


@pytest.mark.parametrize("seconds", [840, 300])  # botocore raises in the last 600 s
def test_keys_that_are_still_valid_are_used_while_renewals_fail(
    seconds: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fast, "_RENEWAL_PAUSE_S", 1.0)
    issuer = Issuer()
    credentials = issuer.credentials()
    keys = FreshKeys(credentials)
    expire(credentials, seconds)
    issuer.fails = True
    for _ in range(10):
        assert keys().access_key == "AKID1"
        gevent.sleep(0.01)
    assert issuer.asked == 2
    issuer.fails = False
    with gevent.Timeout(20):
        while keys().access_key != "AKID2":
            gevent.sleep(0.01)


def test_credentials_that_cannot_be_renewed_are_an_auth_failure(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    issuer = Issuer()
    credentials = issuer.credentials()
    monkeypatch.setattr(boto3.Session, "get_credentials", lambda self: credentials)
    monkeypatch.setattr(fast, "_RENEWAL_PAUSE_S", 0)
    with serving(saying(OK)) as peer:
        transport = fast_at(peer.url)
        expire(credentials, -1)
        issuer.fails = True
        time.sleep(1.01 - time.time() % 1)  # keys are asked for once a second
        refused = transport(CALL)
        issuer.fails = False
        assert transport(CALL).outcome == "ok"
    assert refused.outcome == "auth"
    assert "CredentialRetrievalError" in (refused.error or "")


def test_credentials_change_while_requests_are_in_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    issuer = Issuer()
    credentials = issuer.credentials()
    issuer.takes_s = 0.2
    monkeypatch.setattr(boto3.Session, "get_credentials", lambda self: credentials)
    with serving(saying(OK)) as peer:
        transport = fast_at(peer.url)
        expire(credentials, 840)
        transport(CALL)

        def ask() -> set[str]:
            outcomes = set()
            while b"Token: t2" not in peer.requests[-1]:
                outcomes.add(transport(CALL).outcome)
                gevent.sleep(0.002)
            return outcomes

        asking = [gevent.spawn(ask) for _ in range(16)]
        gevent.joinall(asking, timeout=30, raise_error=True)
        pairs = {
            tuple(re.findall(rb"Credential=(AKID\d)|Security-Token: (t\d)", request))
            for request in peer.requests
        }
    assert {outcome for each in asking for outcome in each.value} == {"ok"}
    used = {(b"".join(a for a, _ in pair), b"".join(t for _, t in pair)) for pair in pairs}
    assert used == {(b"AKID1", b"t1"), (b"AKID2", b"t2")}


def test_a_command_for_credentials_runs_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    (tmp_path / "config").write_text(f"[default]\ncredential_process = sh {tmp_path}/issue\n")
    issued = {"Version": 1, "AccessKeyId": "AKID", "SecretAccessKey": "s", "SessionToken": "t"}
    said = json.dumps(issued | {"Expiration": lasting(3600)})
    (tmp_path / "issue").write_text(f"echo asked >> {tmp_path}/log\necho '{said}'\n")
    fast_at("http://127.0.0.1:1")
    assert (tmp_path / "log").read_text() == "asked\n"
