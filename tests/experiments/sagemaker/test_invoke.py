"""What boto3's transport makes of answers and failures; test_answers.py has every outcome."""

import errno
import json
import os

import botocore.exceptions as failures
import pytest
from botocore.response import StreamingBody

from experiments.record import NO_DESCRIPTOR
from experiments.sagemaker.invoke import boto3_transport
from experiments.sagemaker.reply import Reply, classify
from tests.experiments.traffic.peer import answer, saying, serving
from tests.experiments.traffic.transports import CALL, at, aws_environment, both_at


@pytest.fixture(scope="module", autouse=True)
def _environment():
    with aws_environment():
        yield


def error(status: int, code: str, body: dict[str, object]) -> bytes:
    headers = {"x-amzn-ErrorType": code, "x-amzn-RequestId": "req-1"}
    return answer(status, headers, json.dumps(body).encode())


def reply_to(raw: bytes) -> Reply:
    with serving(saying(raw, close=True)) as peer:
        return boto3_transport(at(peer.url), slots=1)(CALL)


def test_a_body_that_is_no_error_of_the_service_is_not_kept() -> None:
    reply = reply_to(answer(503, {"x-amzn-RequestId": "req-1"}, b"caf\xe9 is closed"))
    assert (reply.outcome, reply.request_id) == ("unavailable", "req-1")
    assert "(14 bytes of no type, not kept)" in (reply.error or "")


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
    reply = reply_to(error(424, "ModelError", said))
    assert reply.error == f"ModelError: {kept}"
    with pytest.raises(failures.ClientError, match=r"with message|mine"):  # which is the user's
        reply.as_boto3()
    assert "mine" not in (reply_to(answer(424, {}, b"caf\xe9: bad input: mine")).error or "")


def test_a_failure_for_want_of_a_descriptor_says_so() -> None:
    few = OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    reply = classify(failures.EndpointConnectionError(endpoint_url="http://a", error=few))
    assert reply is not None
    assert (reply.outcome, NO_DESCRIPTOR in (reply.error or "")) == ("connection", True)


@pytest.mark.parametrize("length", [b"three", b"9" * 5000])
def test_a_length_that_is_none_is_a_failure_of_the_call(length: bytes) -> None:
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: " + length + b"\r\n\r\n3\n"
    reply = reply_to(raw)
    assert (reply.outcome, reply.http_status) == ("other", 200)
    with pytest.raises(ValueError, match="int"):
        reply.as_boto3()


def test_a_good_answer_is_read_to_its_end_and_stamped_in_order() -> None:
    headers = {
        "x-Amzn-Invoked-Production-Variant": "blue",
        "x-amzn-RequestId": "req-7",
        "Content-Type": "text/csv",
    }
    with serving(saying(answer(200, headers, b"3\n"))) as peer:
        transport = boto3_transport(at(peer.url), slots=1)
        first, second = transport(CALL), transport(CALL)
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
    given = reply_to(answer(200, headers, b"3\n4\n")).as_boto3()
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
    reply = reply_to(raw)
    with pytest.raises((failures.ClientError, failures.BotoCoreError)) as raised:
        reply.as_boto3()
    assert type(raised.value).__name__ == kind


def test_an_answer_that_breaks_off_is_of_the_variant_that_it_named() -> None:
    head = b"HTTP/1.1 200 OK\r\nx-Amzn-Invoked-Production-Variant: blue\r\n"
    raw = head + b"x-amzn-RequestId: req-1\r\nContent-Length: 10\r\n\r\nshort"
    with serving(saying(raw, close=True)) as peer:
        for transport in both_at(peer.url):
            reply = transport(CALL)
            assert (reply.outcome, reply.http_status, reply.variant) == ("connection", 200, "blue")
            assert (reply.request_id, reply.body) == ("req-1", None)


def test_missing_credentials_are_an_auth_failure() -> None:
    failure = classify(failures.NoCredentialsError())
    assert failure is not None
    assert failure.outcome == "auth"


def test_what_is_no_failure_of_a_call_is_not_classified() -> None:
    assert classify(ZeroDivisionError()) is None
