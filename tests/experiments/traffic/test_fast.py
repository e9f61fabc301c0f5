"""The fast transport's connections: kept, replaced, verified, and nothing sent twice."""

import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import gevent
import pytest

from experiments import child
from experiments.local import process
from experiments.sagemaker import invoke
from experiments.sagemaker.invoke import boto3_transport
from experiments.sagemaker.reply import Reply
from experiments.tables import Endpoint
from experiments.traffic import fast
from experiments.traffic.fast import fast_transport
from tests.end_to_end.conftest import wait_for
from tests.experiments.traffic.peer import OK, answer, saying, serving
from tests.experiments.traffic.transports import CALL, at, both_at, fast_at

# A boto3 client that goes leaves its connections to the collector, which warns.
pytestmark = [
    pytest.mark.usefixtures("aws_environment"),
    pytest.mark.filterwarnings(
        "ignore:unclosed <s:ResourceWarning",
        "ignore:Exception ignored in. <s:pytest.PytestUnraisableExceptionWarning",
    ),
]


def of_both(url: str) -> list[Reply]:
    return [transport(CALL) for transport in both_at(url)]


def test_nobody_there_is_the_same_failure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    for url in (f"http://127.0.0.1:{port}", "http://no.such.host.invalid"):
        theirs, ours = of_both(url)
        assert ours.outcome == theirs.outcome == "connection"
        assert ours.error == theirs.error
        assert ours.sent_ns is None


def test_an_endpoint_that_never_answers_is_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invoke, "READ_TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        theirs, ours = of_both(f"http://127.0.0.1:{server.getsockname()[1]}")
    assert ours.outcome == theirs.outcome == "timeout"
    assert ours.error == theirs.error


def test_an_answer_that_stops_is_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invoke, "READ_TIMEOUT_S", 0.2)
    with serving(saying(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort")) as peer:
        theirs, ours = of_both(peer.url)
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
            wait_for(lambda: peer.closed >= peer.connections)
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
        time.sleep(0.6)
        connection.sendall(OK)
        return True

    with serving(script) as peer:
        transport = fast_at(peer.url)
        killed = gevent.spawn(transport, CALL)
        with gevent.Timeout(20):
            while not peer.requests:
                gevent.sleep(0.001)
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
        assert fast_at(url)(CALL | {"Body": bytes(10_000_000)}).http_status == 413
        thread.join(30)


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
            wait_for(lambda: peer.closed >= peer.connections)
        assert len(peer.requests) == 5


@pytest.mark.parametrize(
    ("said", "is_reset", "outcome", "status"),
    [
        (answer(413, {"Connection": "close"}, b"too large"), False, "validation", 413),
        (b"HTTP/1.1 200 OK\r\n\r\nhalf", True, "connection", 200),
        (b"HTTP/1.1 200 OK\r\n\r\nwhole", False, "ok", 200),
    ],
)
def test_an_end_over_tls_is_told_from_a_reset_and_an_early_answer_is_heard(
    certificates: Path,
    monkeypatch: pytest.MonkeyPatch,
    said: bytes,
    is_reset: bool,
    outcome: str,
    status: int,
) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificates / "trusted.pem"))
    body = bytes(8_000_000) if status == 413 else b"{}"
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def end() -> None:
            plain, _ = listener.accept()
            with server_side(certificates).wrap_socket(plain, server_side=True) as connection:
                connection.recv(16_384)
                connection.sendall(said)
                if is_reset:
                    time.sleep(0.2)  # for what was said to be read before
                    linger = struct.pack("ii", 1, 0)
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

        thread = threading.Thread(target=end)
        thread.start()
        reply = fast_at(f"https://localhost:{listener.getsockname()[1]}")(CALL | {"Body": body})
        thread.join(30)
    if status == 413 and reply.outcome == "connection":
        # What was not read resets the connection, and may overtake the answer; no fault of TLS.
        assert "Connection was closed" in (reply.error or "")
        return
    assert (reply.outcome, reply.http_status) == (outcome, status), reply.error


def test_a_peer_that_does_not_shake_hands_is_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invoke, "CONNECT_TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        theirs, ours = of_both(f"https://localhost:{server.getsockname()[1]}")
    assert ours.outcome == theirs.outcome == "timeout"
    assert ours.sent_ns is None


def test_the_limit_of_the_handshake_is_not_that_of_an_answer(
    certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def script(connection: socket.socket, request: bytes) -> bool:
        time.sleep(1.7)
        connection.sendall(OK)
        return True

    monkeypatch.setattr(invoke, "CONNECT_TIMEOUT_S", 1.5)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificates / "trusted.pem"))
    with serving(script, server_side(certificates)) as peer:
        assert fast_at(f"https://localhost:{peer.port}")(CALL).outcome == "ok"


def test_without_a_bundle_nobody_on_this_machine_is_trusted(certificates: Path) -> None:
    with serving(saying(OK), server_side(certificates)) as peer:
        reply = fast_at(f"https://localhost:{peer.port}")(CALL)
    assert reply.outcome == "connection"


def why_not(endpoint: Endpoint) -> str | None:
    made = fast_transport(endpoint)
    return made if isinstance(made, str) else None


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


def test_a_path_that_urllib3_writes_otherwise_stands_in_the_way() -> None:
    assert "a way of its own" in (why_not(at("http://127.0.0.1:1/a%2fb")) or "")
    assert why_not(at("http://127.0.0.1:1/a%2Fb/")) is None


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
