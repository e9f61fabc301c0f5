"""Every way an answer can end comes to one outcome, the same through boto3 and fast."""

import json
from operator import attrgetter

import pytest
from botocore.exceptions import ClientError

from tests.experiments.traffic import peer
from tests.experiments.traffic.conftest import Scripted
from tests.experiments.traffic.transports import CALL

# Clients of other tests may go meanwhile, and leave connections to the collector, which warns.
pytestmark = pytest.mark.filterwarnings(
    "ignore:unclosed <s:ResourceWarning",
    "ignore:Exception ignored in. <s:pytest.PytestUnraisableExceptionWarning",
)
HIDDEN = {"sent_ns", "first_byte_ns", "ended_ns", "connect_ns", "answer", "exception"}


def answer(status: int, headers: dict[str, str], body: bytes) -> bytes:
    return peer.answer(status, {"Connection": "close", **headers}, body)


def error(status: int, code: str, body: dict[str, object]) -> bytes:
    headers = {
        "x-amzn-ErrorType": f"{code}:http://internal/",
        "x-amzn-RequestId": "req-1",
        "x-Amzn-Invoked-Production-Variant": "blue",
    }
    return answer(status, headers, json.dumps(body).encode())


MODEL_SAID = {
    "Message": "m",
    "OriginalStatusCode": 500,
    "OriginalMessage": "o",
    "LogStreamArn": "a",
}
GOOD = {
    "Content-Type": "text/csv",
    "x-Amzn-Invoked-Production-Variant": "blue",
    "x-amzn-RequestId": "req-7",
    "X-Amzn-SageMaker-Custom-Attributes": "\xe9=1",
    "X-Amzn-SageMaker-New-Session-Id": "1; Expires=2026-01-01T00:00:00Z",
}
CLOSES = b"HTTP/1.1 200 OK\r\nConnection: close\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
CASES: dict[str, tuple[bytes, str, int | None]] = {
    "throttled": (error(400, "ThrottlingException", {"message": None}), "throttled", 400),
    "validation": (error(400, "ValidationError", {"Message": "bad"}), "validation", 400),
    "half a character": (
        error(400, "ValidationError", {"message": "\ud800"}), "validation", 400
    ),
    "model error": (error(424, "ModelError", MODEL_SAID), "model_error", 424),
    "model timeout": (
        error(424, "ModelError", {"Message": "m", "OriginalStatusCode": 0}), "model_timeout", 424
    ),
    "no number": (
        error(424, "ModelError", {"Message": "m", "OriginalStatusCode": "five"}), "model_error", 424
    ),
    "not ready": (error(429, "ModelNotReadyException", {"Message": "m"}), "model_not_ready", 429),
    "internal": (error(500, "InternalFailure", {"Message": "m"}), "internal", 500),
    "unavailable": (error(503, "ServiceUnavailable", {"Message": "m"}), "unavailable", 503),
    "dependency": (error(530, "InternalDependencyException", {"Message": "m"}), "dependency", 530),
    "signature": (error(403, "InvalidSignatureException", {"message": "m"}), "auth", 403),
    "expired": (error(403, "ExpiredTokenException", {"message": "m"}), "auth", 403),
    "too large": (answer(413, {}, b"<html>too large</html>"), "validation", 413),
    "no json": (answer(500, {}, b"not json"), "internal", 500),
    "empty": (answer(418, {}, b""), "other", 418),
    "no UTF-8": (answer(400, {"x-amzn-RequestId": "req-2"}, b"caf\xe9"), "other", 400),
    "a list": (
        answer(500, {"x-Amzn-Invoked-Production-Variant": "blue"}, b"[1]"), "internal", 500
    ),
    "a text": (answer(429, {}, b'"slow down"'), "throttled", 429),
    "null": (answer(503, {}, b"null"), "unavailable", 503),
    "a list for a code": (answer(400, {}, b'{"Code": []}'), "other", 400),
    "deep": (answer(500, {}, b"[" * 100_000), "internal", 500),
    "moved": (answer(307, {"Location": "http://127.0.0.1:1/"}, b""), "other", 307),
    "multiple": (answer(300, {}, b""), "other", 300),
    "cut message": (b"HTTP/1.1 503 X\r\nContent-Length: 99\r\n\r\n{", "unavailable", 503),
    "cut chunk of an error": (
        b"HTTP/1.1 500 X\r\n" + CHUNKED + b"5\r\nabc", "connection", None
    ),
    "ok": (answer(200, GOOD, b"3\n"), "ok", 200),
    "created": (answer(201, {}, b"3\n"), "ok", 201),
    "no text": (answer(200, {}, b"\xff\xfe"), "ok", 200),
    "nothing": (b"HTTP/1.1 204 X\r\nConnection: close\r\n\r\n", "ok", 204),
    "chunked": (CLOSES + CHUNKED + b"2\r\n3\n\r\n0\r\n\r\n", "ok", 200),
    "to the end": (CLOSES + b"\r\n3\n", "ok", 200),
    "cut short": (CLOSES + b"Content-Length: 10\r\n\r\nshort", "connection", 200),
    "cut chunk": (CLOSES + CHUNKED + b"5\r\nabc", "connection", 200),
    "no answer": (b"", "connection", None),
    "no HTTP": (b"SSH-2.0-OpenSSH\r\n\r\n", "connection", None),
}  # fmt: skip
"""Of each answer the outcome and the status."""


@pytest.mark.parametrize("name", CASES)
def test_an_answer_comes_to_the_same_outcome_on_both(name: str, scripted: Scripted) -> None:
    raw, outcome, status = CASES[name]
    theirs, ours = (transport(CALL) for transport in scripted.says(raw, close=True))
    assert (theirs.outcome, theirs.http_status) == (outcome, status)
    assert theirs.original_status == {"model error": 500, "model timeout": 0}.get(name)
    # The words for a broken connection are of whoever reads from it.
    hidden = HIDDEN | ({"error"} if outcome == "connection" else set())
    assert {k: v for k, v in ours._asdict().items() if k not in hidden} == {
        k: v for k, v in theirs._asdict().items() if k not in hidden
    }
    if outcome == "ok":
        assert {**ours.as_boto3(), "Body": None} == {**theirs.as_boto3(), "Body": None}
        assert ours.as_boto3()["Body"].read() == ours.body
    elif outcome != "connection":
        assert theirs.error
        assert ours.exception is not None
        assert str(ours.exception) == str(theirs.exception)
        # Each client makes classes of its own for the errors of its service.
        assert type(ours.exception).__name__ == type(theirs.exception).__name__
        response_of = attrgetter("response") if isinstance(ours.exception, ClientError) else repr
        assert response_of(ours.exception) == response_of(theirs.exception)


def test_a_body_that_is_cut_says_how_much_of_it_came(scripted: Scripted) -> None:
    for name, said in (("cut short", "5 of 10 bytes"), ("cut chunk of an error", "3 of 5 bytes")):
        reply = scripted.says(CASES[name][0], close=True).ours(CALL)
        assert said in (reply.error or "")
        assert reply.first_byte_ns is not None
        assert reply.body is None


@pytest.mark.parametrize(
    "parameters",
    [
        {"EndpointName": "x"},
        {"EndpointName": "x", "Body": 5},
        CALL | {"InferenceId": ""},
        CALL | {"Unknown": "x"},
        CALL | {"CustomAttributes": "a\nb"},
    ],
)
def test_parameters_that_botocore_refuses_are_the_same_failure(
    parameters: dict[str, object], scripted: Scripted
) -> None:
    scripted.peer.requests.clear()
    theirs, ours = (transport(parameters) for transport in scripted.both)
    assert (ours.outcome, ours.error) == (theirs.outcome, theirs.error)
    assert scripted.peer.requests == []


@pytest.mark.parametrize("body", ["\xe9", bytearray(b"abc"), b""])
def test_a_body_of_any_type_is_sent_as_boto3_sends_it(body: object, scripted: Scripted) -> None:
    scripted.peer.requests.clear()
    for transport in scripted.says(peer.OK):
        assert transport(CALL | {"Body": body}).outcome == "ok"
    theirs, ours = (request.partition(b"\r\n\r\n")[2] for request in scripted.peer.requests)
    assert ours == theirs
