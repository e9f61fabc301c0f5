"""The fast transport: what boto3's does, and nothing twice, over connections of its own."""

import json
import re
import socket
import ssl
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from pathlib import Path
from typing import Any

import boto3
import gevent
import pytest
from botocore.credentials import RefreshableCredentials
from botocore.exceptions import ClientError

from experiments import child
from experiments.local import process
from experiments.sagemaker import invoke
from experiments.sagemaker.invoke import Reply, Transport, boto3_transport
from experiments.sagemaker.wire import EVERY_PARAMETER
from experiments.tables import Endpoint
from experiments.traffic import fast
from experiments.traffic.fast import FreshKeys, fast_transport
from tests.experiments.traffic.peer import OK, answer, make_expired, saying, serving

CALL: dict[str, Any] = {"EndpointName": "digits", "Body": b"{}"}
HIDDEN = {"sent_ns", "first_byte_ns", "ended_ns", "connect_ns", "answer", "exception"}


# A boto3 client that goes leaves its connections to the collector, which warns.
pytestmark = pytest.mark.filterwarnings(
    "ignore:unclosed <socket:ResourceWarning",
    "ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning",
    "ignore:unclosed <ssl:ResourceWarning",
    "ignore:Exception ignored in. <ssl:pytest.PytestUnraisableExceptionWarning",
)


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_PROFILE", "AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for scheme in ("http", "https", "no", "all"):
        monkeypatch.delenv(f"{scheme}_proxy", raising=False)
        monkeypatch.delenv(f"{scheme.upper()}_PROXY", raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")


def at(url: str) -> Endpoint:
    return Endpoint(name="digits", target=url)


def fast_at(url: str) -> Transport:
    made = fast_transport(at(url))
    assert callable(made), made
    return made


def why_not(endpoint: Endpoint) -> str | None:
    made = fast_transport(endpoint)
    return made if isinstance(made, str) else None


def call(url: str, **parameters: Any) -> Reply:
    return fast_at(url)(CALL | parameters)


def error(status: int, code: str, body: dict[str, object]) -> bytes:
    headers = {
        "x-amzn-ErrorType": f"{code}:http://internal/",
        "x-amzn-RequestId": "req-1",
        "x-Amzn-Invoked-Production-Variant": "blue",
    }
    return answer(status, headers, json.dumps(body).encode())


ANSWERS = {
    "throttled": error(400, "ThrottlingException", {"message": None}),
    "validation": error(400, "ValidationError", {"Message": "bad"}),
    "model error": error(
        424,
        "ModelError",
        {"Message": "m", "OriginalStatusCode": 500, "OriginalMessage": "o", "LogStreamArn": "arn"},
    ),
    "model timeout": error(424, "ModelError", {"Message": "m", "OriginalStatusCode": 0}),
    "not ready": error(429, "ModelNotReadyException", {"Message": "m"}),
    "internal": error(500, "InternalFailure", {"Message": "m"}),
    "unavailable": error(503, "ServiceUnavailable", {"Message": "m"}),
    "dependency": error(530, "InternalDependencyException", {"Message": "m"}),
    "signature": error(403, "InvalidSignatureException", {"message": "m"}),
    "expired": error(403, "ExpiredTokenException", {"message": "m"}),
    "too large": answer(413, {}, b"<html>too large</html>"),
    "no json": answer(500, {}, b"not json"),
    "empty": answer(418, {}, b""),
    "no UTF-8": answer(400, {"x-amzn-RequestId": "req-2"}, b"caf\xe9"),
    "a list": answer(500, {"x-Amzn-Invoked-Production-Variant": "blue"}, b"[1]"),
    "a text": answer(429, {}, b'"slow down"'),
    "null": answer(503, {}, b"null"),
    "a list for a code": answer(400, {}, b'{"Code": []}'),
    "no number": error(424, "ModelError", {"Message": "m", "OriginalStatusCode": "five"}),
    "deep": answer(500, {}, b"[" * 100_000),
    "moved": answer(307, {"Location": "http://127.0.0.1:1/"}, b""),
    "multiple": answer(300, {}, b""),
    "cut message": b"HTTP/1.1 503 X\r\nContent-Length: 99\r\n\r\n{",
    "ok": answer(
        200,
        {
            "Content-Type": "text/csv",
            "x-Amzn-Invoked-Production-Variant": "blue",
            "x-amzn-RequestId": "req-7",
            "X-Amzn-SageMaker-Custom-Attributes": "\xe9=1",
            "X-Amzn-SageMaker-New-Session-Id": "1; Expires=2026-01-01T00:00:00Z",
        },
        b"3\n",
    ),
    "created": answer(201, {}, b"3\n"),
    "no text": answer(200, {}, b"\xff\xfe"),
    "nothing": b"HTTP/1.1 204 X\r\n\r\n",
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n3\n\r\n0\r\n\r\n",
    "to the end": b"HTTP/1.1 200 OK\r\n\r\n3\n",
    "cut short": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
    "cut chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc",
    "no answer": b"",
    "no HTTP": b"SSH-2.0-OpenSSH\r\n\r\n",
}


def from_each(url: str) -> tuple[Reply, Reply]:
    return boto3_transport(at(url), 1)(CALL), fast_at(url)(CALL)


@pytest.mark.parametrize("raw", ANSWERS.values(), ids=ANSWERS.keys())
def test_an_answer_comes_to_the_same_as_through_boto3(raw: bytes) -> None:
    with serving(saying(raw, close=True)) as peer:
        theirs, ours = from_each(peer.url)
    # The words for a broken connection are of whoever reads from it.
    hidden = HIDDEN | ({"error"} if ours.outcome == "connection" else set())
    assert {k: v for k, v in ours._asdict().items() if k not in hidden} == {
        k: v for k, v in theirs._asdict().items() if k not in hidden
    }
    if theirs.http_status is None or theirs.outcome == "connection":
        return
    if theirs.outcome == "ok":
        assert {**ours.as_boto3(), "Body": None} == {**theirs.as_boto3(), "Body": None}
        assert ours.as_boto3()["Body"].read() == ours.body
        return
    assert ours.exception is not None
    assert str(ours.exception) == str(theirs.exception)
    # Each client makes classes of its own for the errors of its service.
    assert type(ours.exception).__name__ == type(theirs.exception).__name__
    response_of = attrgetter("response") if isinstance(ours.exception, ClientError) else repr
    assert response_of(ours.exception) == response_of(theirs.exception)


def test_parameters_that_botocore_refuses_are_the_same_failure() -> None:
    with serving(saying(OK)) as peer:
        transports = boto3_transport(at(peer.url), 1), fast_at(peer.url)
        for parameters in (
            {"EndpointName": "x"},
            {"EndpointName": "x", "Body": 5},
            CALL | {"InferenceId": ""},
            CALL | {"Unknown": "x"},
            CALL | {"CustomAttributes": "a\nb"},
        ):
            theirs, ours = (transport(parameters) for transport in transports)
            assert (ours.outcome, ours.error) == (theirs.outcome, theirs.error)
        assert peer.requests == []


@pytest.mark.parametrize("body", ["\xe9", bytearray(b"abc"), b""])
def test_a_body_of_any_type_is_sent_as_boto3_sends_it(body: Any) -> None:
    with serving(saying(OK)) as peer:
        for transport in (boto3_transport(at(peer.url), 1), fast_at(peer.url)):
            assert transport(CALL | {"Body": body}).outcome == "ok"
        theirs, ours = (request.partition(b"\r\n\r\n")[2] for request in peer.requests)
    assert ours == theirs


def test_a_failure_whose_chunks_are_cut_is_a_connection_failure() -> None:
    raw = b"HTTP/1.1 500 X\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc"
    with serving(saying(raw, close=True)) as peer:
        reply = call(peer.url)
    assert reply.outcome == "connection"
    assert "3 of 5 bytes" in (reply.error or "")


def test_nobody_there_is_the_same_failure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    for url in (f"http://127.0.0.1:{port}", "http://no.such.host.invalid"):
        theirs, ours = from_each(url)
        assert ours.outcome == theirs.outcome == "connection"
        assert ours.error == theirs.error
        assert ours.sent_ns is None


def test_an_endpoint_that_never_answers_is_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invoke, "READ_TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        theirs, ours = from_each(f"http://127.0.0.1:{server.getsockname()[1]}")
    assert ours.outcome == theirs.outcome == "timeout"
    assert ours.error == theirs.error


def test_an_answer_that_stops_is_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invoke, "READ_TIMEOUT_S", 0.2)
    with serving(saying(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort")) as peer:
        theirs, ours = from_each(peer.url)
    assert ours.outcome == theirs.outcome == "timeout"
    assert ours.first_byte_ns is not None


def test_a_connection_is_kept_and_stamps_are_in_order() -> None:
    with serving(saying(OK)) as peer:
        transport = fast_at(peer.url)
        first, second = transport(CALL), transport(CALL)
        assert peer.connections == 1
    assert (first.new_connection, second.new_connection) == (True, False)
    assert (first.connect_ns or 0) > 0
    assert second.connect_ns is None
    assert first.sent_ns is not None
    assert first.first_byte_ns is not None
    assert first.sent_ns <= first.first_byte_ns <= first.ended_ns <= (second.sent_ns or 0)


def test_a_kept_connection_that_was_closed_is_replaced_before_anything_is_sent() -> None:
    with serving(saying(OK, close=True)) as peer:
        transport = fast_at(peer.url)
        for _ in range(20):
            assert transport(CALL).outcome == "ok"
            time.sleep(0.01)  # the close arrives
        assert len(peer.requests) == peer.connections == 20


def test_a_request_is_never_sent_twice() -> None:
    """A server that takes a request on a kept connection, and closes without an answer."""

    def script(connection: socket.socket, request: bytes) -> bool:
        if len(peer.requests) % 2:
            connection.sendall(OK)
            return True
        return False

    with serving(script) as peer:
        transport = fast_at(peer.url)
        outcomes = [transport(CALL).outcome for _ in range(10)]
        assert len(peer.requests) == 10
    assert outcomes == ["ok", "connection"] * 5


def test_many_requests_at_once_have_a_connection_each() -> None:
    def script(connection: socket.socket, request: bytes) -> bool:
        time.sleep(0.1)
        connection.sendall(answer(200, {}, request.partition(b"\r\n\r\n")[2]))
        return True

    with serving(script) as peer:
        transport = fast_at(peer.url)
        for _ in range(2):
            bodies = [str(number).encode() for number in range(20)]
            calls = [gevent.spawn(transport, CALL | {"Body": body}) for body in bodies]
            gevent.joinall(calls, timeout=30, raise_error=True)
            assert [each.value.body for each in calls] == bodies
        assert peer.connections == 20


def test_a_killed_request_gives_its_connection_up() -> None:
    def script(connection: socket.socket, request: bytes) -> bool:
        time.sleep(0.2)
        connection.sendall(OK)
        return True

    with serving(script) as peer:
        transport = fast_at(peer.url)
        killed = gevent.spawn(transport, CALL)
        gevent.sleep(0.1)
        killed.kill()
        assert transport(CALL).new_connection
        assert len(peer.requests) == 2


@pytest.mark.parametrize("is_tls", [False, True])
def test_bodies_of_25_mb_go_both_ways_while_others_have_their_turn(
    is_tls: bool, certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def script(connection: socket.socket, request: bytes) -> bool:
        connection.sendall(answer(200, {}, request.partition(b"\r\n\r\n")[2]))
        return True

    body = bytes(range(256)) * 102_400
    ticks = 0

    def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            gevent.sleep(0.001)

    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificates / "trusted.pem"))
    with serving(script, server_side(certificates) if is_tls else None) as peer:
        url = peer.url.replace("http:", "https:") if is_tls else peer.url
        transport = fast_at(url.replace("127.0.0.1", "localhost"))
        ticker = gevent.spawn(tick)
        reply = transport(CALL | {"Body": body})
        ticker.kill()
    assert reply.outcome == "ok", reply.error
    assert reply.body == body
    assert ticks > 10


def test_a_server_that_refuses_before_it_has_read_all_is_heard() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def refuse() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(answer(413, {"Connection": "close"}, b"too large"))
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(1 << 20):
                    pass

        thread = threading.Thread(target=refuse)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        assert call(url, Body=bytes(10_000_000)).http_status == 413
        thread.join(30)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates that are valid, for another host, of nobody that is trusted, and expired."""
    folder = tmp_path_factory.mktemp("certificates")
    for name, host in (
        ("trusted", "localhost"),
        ("other-host", "example.org"),
        ("self", "localhost"),
    ):
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
             "-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", f"/CN={host}",
             "-addext", f"subjectAltName=DNS:{host}"],
            cwd=folder, check=True, capture_output=True, timeout=60,
        )  # fmt: skip
    make_expired(folder)
    trusted = ("trusted", "other-host", "expired")
    every = b"".join((folder / f"{name}.pem").read_bytes() for name in trusted)
    (folder / "bundle.pem").write_bytes(every)
    return folder


def server_side(certificates: Path, name: str = "trusted") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / f"{name}.pem", certificates / f"{name}.key")
    return context


@pytest.mark.parametrize(
    ("name", "outcome"),
    [
        ("trusted", "ok"),
        ("other-host", "connection"),
        ("self", "connection"),
        ("expired", "connection"),
    ],
)
def test_tls_is_verified_by_the_bundle_and_the_hosts_name(
    name: str, outcome: str, certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificates / "bundle.pem"))
    with serving(saying(OK), server_side(certificates, name)) as peer:
        url = f"https://localhost:{peer.port}"
        transport = fast_at(url)
        replies = [transport(CALL), transport(CALL)]
        assert boto3_transport(at(url), 1)(CALL).outcome == outcome
        assert [reply.outcome for reply in replies] == [outcome] * 2
        if outcome == "ok":
            assert [reply.new_connection for reply in replies] == [True, False]
        else:
            assert "CERTIFICATE_VERIFY_FAILED" in (replies[0].error or "")
            assert peer.requests == []


def test_a_tls_connection_that_was_closed_is_replaced(
    certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificates / "trusted.pem"))
    with serving(saying(OK, close=True), server_side(certificates)) as peer:
        transport = fast_at(f"https://localhost:{peer.port}")
        for _ in range(5):
            assert transport(CALL).outcome == "ok"
            time.sleep(0.02)
        assert len(peer.requests) == 5


def test_a_peer_that_does_not_shake_hands_is_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invoke, "CONNECT_TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        theirs, ours = from_each(f"https://localhost:{server.getsockname()[1]}")
    assert ours.outcome == theirs.outcome == "timeout"
    assert ours.sent_ns is None


def test_the_limit_of_the_handshake_is_not_that_of_an_answer(
    certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def script(connection: socket.socket, request: bytes) -> bool:
        time.sleep(0.8)
        connection.sendall(OK)
        return True

    monkeypatch.setattr(invoke, "CONNECT_TIMEOUT_S", 0.5)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificates / "trusted.pem"))
    with serving(script, server_side(certificates)) as peer:
        assert call(f"https://localhost:{peer.port}").outcome == "ok"


def test_without_a_bundle_nobody_on_this_machine_is_trusted(certificates: Path) -> None:
    with serving(saying(OK), server_side(certificates)) as peer:
        reply = call(f"https://localhost:{peer.port}")
    assert reply.outcome == "connection"


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"HTTP_PROXY": "http://127.0.0.1:1"}, "A proxy is in force"),
        ({"HTTP_PROXY": "http://127.0.0.1:1", "NO_PROXY": "127.0.0.1"}, None),
        ({"HTTPS_PROXY": "http://127.0.0.1:1"}, None),
        ({"AWS_PROFILE": "nobody"}, "ProfileNotFound"),
        ({}, None),
    ],
)
def test_what_stands_in_the_way_is_said(
    variables: dict[str, str], said: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    why = why_not(at("http://127.0.0.1:1"))
    assert (why is None) if said is None else (why is not None and said in why)


def test_a_bundle_that_is_not_there_stands_in_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", "/no/such/file.pem")
    assert "No such file" in (why_not(Endpoint(name="x")) or "")


def test_a_botocore_that_writes_requests_otherwise_stands_in_the_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("botocore.auth.SIGNED_HEADERS_BLACKLIST", [])
    assert why_not(at("http://127.0.0.1:1")) is None  # other signed headers are followed
    signed = "botocore.auth.SigV4Auth.canonical_query_string"
    monkeypatch.setattr(signed, lambda self, request: "version=2")
    assert "not known here" in (why_not(at("http://127.0.0.1:1")) or "")


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
            raise invoke.failures.CredentialRetrievalError(provider="test", error_msg="no")
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
    issuer.takes_s = 0.3
    began = time.perf_counter()
    assert keys().access_key == "AKID1"
    gevent.sleep(0.05)
    assert keys().access_key == "AKID1"
    assert time.perf_counter() - began < 0.25
    gevent.sleep(0.5)
    assert keys() == ("AKID2", "s", "t2")
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
    others = gevent.get_hub().threadpool
    for _ in range(others.maxsize + 1):
        others.spawn(time.sleep, 0.5)
    began = time.perf_counter()
    asking = [gevent.spawn(keys) for _ in range(20)]
    gevent.joinall(asking, timeout=30, raise_error=True)
    assert time.perf_counter() - began < 0.4
    assert {each.value.access_key for each in asking} == {"AKID2"}
    assert issuer.issued == 2
    others.join()


@pytest.mark.parametrize("seconds", [840, 300])  # botocore raises in the last 600 s
def test_keys_that_are_still_valid_are_used_while_renewals_fail(
    seconds: int, caplog: pytest.LogCaptureFixture
) -> None:
    issuer = Issuer()
    credentials = issuer.credentials()
    keys = FreshKeys(credentials)
    expire(credentials, seconds)
    issuer.fails = True
    for _ in range(20):
        assert keys().access_key == "AKID1"
        gevent.sleep(0.01)
    assert issuer.asked == 2
    issuer.fails = False
    gevent.sleep(1)
    keys()
    gevent.sleep(0.1)
    assert keys().access_key == "AKID2"


def test_credentials_that_cannot_be_renewed_are_an_auth_failure(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    issuer = Issuer()
    credentials = issuer.credentials()
    monkeypatch.setattr(boto3.Session, "get_credentials", lambda self: credentials)
    with serving(saying(OK)) as peer:
        transport = fast_at(peer.url)
        expire(credentials, -1)
        issuer.fails = True
        time.sleep(1.1)
        refused = transport(CALL)
        issuer.fails = False
        time.sleep(1.1)
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
        ends = time.perf_counter() + 2.5

        def ask() -> set[str]:
            outcomes = set()
            while time.perf_counter() < ends:
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


def test_every_parameter_is_one_of_botocores() -> None:
    client = boto3.client("sagemaker-runtime", region_name="us-east-1")
    known = client.meta.service_model.operation_model("InvokeEndpoint").input_shape.members
    assert set(EVERY_PARAMETER) <= set(known)


def test_bodies_are_hashed_once_and_forgotten_when_there_are_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fast, "_MOST_BODY_BYTES", 1000)
    hashes = fast._BodyHashes()
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert hashes.of(b"") == hashes.of(b"") == empty
    for number in range(50):
        hashes.of(bytes([number]) * 100)
    assert len(hashes._known) <= 11


def test_the_local_endpoint_finds_the_signature_good(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "shop.endpoint.toml"
    file.write_text('name = "shop"\n[variants.a]\nsimulated = { constant = "1ms" }\n')
    running = process.start(file)
    try:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", running.access_key_id)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", running.secret_access_key)
        monkeypatch.setenv("AWS_DEFAULT_REGION", running.region)
        transport = fast_at(running.url)
        asked = {"EndpointName": "shop", "Body": b"1", "CustomAttributes": "a  b", "Accept": "a/b"}
        for number in range(3):
            reply = transport(asked | {"InferenceId": f"run-{number}", "TargetVariant": "a"})
            assert (reply.outcome, reply.variant) == ("ok", "a"), reply.error
        assert transport(asked | {"TargetVariant": "b"}).outcome == "validation"
    finally:
        running.stop()


def test_it_works_where_locust_has_patched_the_library(certificates: Path) -> None:
    code = """
import locust, sys
from experiments.plan import Endpoint
from experiments.traffic.fast import fast_transport
endpoint = Endpoint(name="digits", target=sys.argv[1])
transport = fast_transport(endpoint)
replies = [transport({"EndpointName": "digits", "Body": b"{}"}) for _ in range(2)]
print([(reply.outcome, reply.new_connection) for reply in replies])
"""
    with serving(saying(OK), server_side(certificates)) as peer:
        ended = subprocess.run(
            [sys.executable, "-c", code, f"https://localhost:{peer.port}"],
            env={**child.environment(), "AWS_CA_BUNDLE": str(certificates / "trusted.pem")},
            cwd=child.ROOT, capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
    assert ended.stdout == "[('ok', True), ('ok', False)]\n"
