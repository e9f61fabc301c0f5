"""Every way a call can end becomes one outcome, as it arrives on the wire and through boto3."""

import errno
import json
import os
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import botocore.exceptions as failures
import pytest
from botocore.response import StreamingBody

from experiments.record import NO_DESCRIPTOR
from experiments.sagemaker import invoke
from experiments.sagemaker.invoke import Reply, boto3_transport, classify
from experiments.tables import Endpoint


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_PROFILE", raising=False)


def answer(status: int, headers: dict[str, str], body: bytes) -> bytes:
    lines = [f"HTTP/1.1 {status} X", *(f"{k}: {v}" for k, v in headers.items())]
    lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@contextmanager
def endpoint_that_says(raw: bytes, *, close: bool = True) -> Iterator[str]:
    """A server that answers every request on every connection with the same bytes."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.2)
    done = threading.Event()

    def hears_a_request(connection: socket.socket) -> bool:
        heard = b""
        while not done.is_set():
            head, blank, body = heard.partition(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head.lower())
            if blank and len(body) >= int(length[1] if length else 0):
                return True
            try:
                if not (more := connection.recv(65536)):
                    return False
            except TimeoutError:
                continue
            heard += more
        return False

    def answer_all(connection: socket.socket) -> None:
        while hears_a_request(connection):
            connection.sendall(raw)
            if close:
                return

    def serve() -> None:
        while not done.is_set():
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            with connection:
                connection.settimeout(0.2)
                answer_all(connection)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        done.set()
        thread.join()
        listener.close()


def call(url: str) -> Reply:
    transport = boto3_transport(Endpoint(name="digits", target=url), slots=1)
    return transport({"EndpointName": "digits", "Body": b"{}"})


def error(status: int, code: str, body: dict[str, object]) -> bytes:
    headers = {"x-amzn-ErrorType": code, "x-amzn-RequestId": "req-1"}
    return answer(status, headers, json.dumps(body).encode())


@pytest.mark.parametrize(
    ("raw", "outcome", "status", "original"),
    [
        (error(400, "ThrottlingException", {"message": None}), "throttled", 400, None),
        (error(400, "ValidationError", {"Message": "bad"}), "validation", 400, None),
        (
            error(424, "ModelError", {"Message": "m", "OriginalStatusCode": 500}),
            "model_error", 424, 500,
        ),
        (
            error(424, "ModelError", {"Message": "m", "OriginalStatusCode": 0}),
            "model_timeout", 424, 0,
        ),
        (error(429, "ModelNotReadyException", {"Message": "m"}), "model_not_ready", 429, None),
        (error(500, "InternalFailure", {"Message": "m"}), "internal", 500, None),
        (error(503, "ServiceUnavailable", {"Message": "m"}), "unavailable", 503, None),
        (error(530, "InternalDependencyException", {"Message": "m"}), "dependency", 530, None),
        (error(403, "InvalidSignatureException", {"message": "m"}), "auth", 403, None),
        (answer(413, {}, b"<html>too large</html>"), "validation", 413, None),
        (answer(500, {}, b"not json"), "internal", 500, None),
        (answer(418, {}, b""), "other", 418, None),
        (answer(400, {}, b"caf\xe9"), "other", 400, None),
        (answer(429, {}, b"[1]"), "throttled", 429, None),
        (
            error(424, "ModelError", {"Message": "m", "OriginalStatusCode": "five"}),
            "model_error", 424, None,
        ),
    ],
)  # fmt: skip
def test_an_error_answer_becomes_its_outcome(
    raw: bytes, outcome: str, status: int, original: int | None
) -> None:
    with endpoint_that_says(raw) as url:
        reply = call(url)
    assert (reply.outcome, reply.http_status, reply.original_status) == (outcome, status, original)
    assert reply.error
    assert reply.retries == 0


def test_the_text_of_a_body_that_botocore_cannot_read_is_kept() -> None:
    with endpoint_that_says(
        answer(503, {"x-amzn-RequestId": "req-1"}, b"caf\xe9 is closed")
    ) as url:
        reply = call(url)
    assert (reply.outcome, reply.request_id) == ("unavailable", "req-1")
    assert "caf\ufffd is closed" in (reply.error or "")


LINK = ". See https://console.example/logs in account 1 for more information."


@pytest.mark.parametrize(
    ("message", "kept"),
    [
        (
            f'Received server error (500) from primary with message "no {{"x": "b"}}\n"{LINK}',
            "Received server error (500) from primary with message "
            f"(14 characters, not kept){LINK}",
        ),
        ("bad input: mine", "(15 characters, not kept)"),
    ],
)
def test_what_a_model_said_is_not_kept(message: str, kept: str) -> None:
    said = {"Message": message, "OriginalStatusCode": 500, "OriginalMessage": "bad input: mine"}
    with endpoint_that_says(error(424, "ModelError", said)) as url:
        reply = call(url)
    assert reply.error == f"ModelError: {kept}"
    with pytest.raises(failures.ClientError, match=r"with message|mine"):  # which is the user's
        reply.as_boto3()
    with endpoint_that_says(answer(424, {}, b"caf\xe9: bad input: mine")) as url:
        assert "mine" not in (call(url).error or "")


def test_a_failure_for_want_of_a_descriptor_says_so() -> None:
    few = OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    reply = classify(failures.EndpointConnectionError(endpoint_url="http://a", error=few))
    assert reply is not None
    assert (reply.outcome, NO_DESCRIPTOR in (reply.error or "")) == ("connection", True)


@pytest.mark.parametrize("length", [b"three", b"9" * 5000])
def test_a_length_that_is_none_is_a_failure_of_the_call(length: bytes) -> None:
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: " + length + b"\r\n\r\n3\n"
    with endpoint_that_says(raw) as url:
        reply = call(url)
    assert (reply.outcome, reply.http_status) == ("other", 200)
    with pytest.raises(ValueError, match="int"):
        reply.as_boto3()


def test_an_error_answer_that_is_cut_within_a_chunk_is_a_failed_connection() -> None:
    cut = b"HTTP/1.1 500 X\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc"
    with endpoint_that_says(cut) as url:
        assert call(url).outcome == "connection"


def test_a_good_answer_is_read_to_its_end_and_stamped_in_order() -> None:
    headers = {
        "x-Amzn-Invoked-Production-Variant": "blue",
        "x-amzn-RequestId": "req-7",
        "Content-Type": "text/csv",
    }
    with endpoint_that_says(answer(200, headers, b"3\n"), close=False) as url:
        transport = boto3_transport(Endpoint(name="digits", target=url), slots=1)
        first, second = (transport({"EndpointName": "digits", "Body": b"x"}) for _ in range(2))
    assert (first.outcome, first.body, first.variant) == ("ok", b"3\n", "blue")
    assert (first.request_id, first.content_type, first.retries) == ("req-7", "text/csv", 0)
    assert first.sent_ns is not None
    assert first.first_byte_ns is not None
    assert first.sent_ns <= first.first_byte_ns <= first.ended_ns <= second.ended_ns
    assert (first.new_connection, second.new_connection) == (True, False)
    assert 0 < (first.connect_ns or 0) < first.ended_ns - first.sent_ns
    assert second.connect_ns is None


def test_boto3s_answer_is_given_whole_with_a_body_to_read_again() -> None:
    headers = {"x-Amzn-Invoked-Production-Variant": "blue", "Content-Type": "text/csv"}
    with endpoint_that_says(answer(200, headers, b"3\n4\n")) as url:
        given = call(url).as_boto3()
    body = given.pop("Body")
    assert isinstance(body, StreamingBody)
    assert list(body.iter_lines()) == [b"3", b"4"]
    assert given.pop("ResponseMetadata")["HTTPStatusCode"] == 200
    assert given == {"ContentType": "text/csv", "InvokedProductionVariant": "blue"}


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (error(424, "ModelError", {"Message": "m", "OriginalStatusCode": 500}), "ModelError"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", "ResponseStreamingError"),
        (b"", "ConnectionClosedError"),
    ],
)
def test_boto3s_exception_is_raised_as_it_was(raw: bytes, kind: str) -> None:
    with endpoint_that_says(raw) as url:
        reply = call(url)
    with pytest.raises((failures.ClientError, failures.BotoCoreError)) as raised:
        reply.as_boto3()
    assert type(raised.value).__name__ == kind


def test_a_body_that_is_cut_short_is_a_connection_failure() -> None:
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort"
    with endpoint_that_says(raw) as url:
        reply = call(url)
    assert reply.outcome == "connection"
    assert reply.first_byte_ns is not None
    assert reply.body is None


def test_a_connection_closed_without_an_answer_is_one_failure_and_not_sent_again() -> None:
    with endpoint_that_says(b"") as url:
        assert call(url).outcome == "connection"


def test_nobody_listening_is_a_connection_failure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert call(f"http://127.0.0.1:{port}").outcome == "connection"


def test_an_endpoint_that_never_answers_is_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invoke, "READ_TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        reply = call(f"http://127.0.0.1:{server.getsockname()[1]}")
    assert reply.outcome == "timeout"


def test_missing_credentials_are_an_auth_failure() -> None:
    failure = classify(failures.NoCredentialsError())
    assert failure is not None
    assert failure.outcome == "auth"


def test_what_is_no_failure_of_a_call_is_not_classified() -> None:
    assert classify(ZeroDivisionError()) is None
