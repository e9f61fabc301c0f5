"""What came of one call: a reply, in which every failure has one outcome of a closed set."""

import io
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import botocore.eventstream
import botocore.exceptions as failures
import urllib3
from botocore.response import StreamingBody

from experiments.record import NO_DESCRIPTOR
from experiments.sagemaker.redacted import without_secrets

Answered = tuple[int, Mapping[str, str], bytes]
"""An answer's status, its headers, found by names in lower case, and its body."""
Stamps = tuple[int | None, int | None, int, int | None]
"""A call's `sent_ns`, `first_byte_ns`, `ended_ns` and `connect_ns`."""


class Reply(NamedTuple):
    """What came of one call. Times are `time.perf_counter_ns()`; `None` is "not known"."""

    outcome: str
    sent_ns: int | None
    first_byte_ns: int | None
    ended_ns: int
    http_status: int | None = None
    original_status: int | None = None
    error: str | None = None
    request_id: str | None = None
    content_type: str | None = None
    body: bytes | None = None
    variant: str | None = None
    retries: int | None = None
    new_connection: bool | None = None
    connect_ns: int | None = None
    """How long opening its connection took, where it opened one."""
    answer: Callable[[], Mapping[str, Any]] | None = None
    """Gives what boto3 returned, whose Body has been read."""
    exception: Exception | None = None
    """What boto3 raised."""
    parts: tuple[bytes, ...] | None = None
    """What came of a stream; its first byte is that of the first part."""
    longest_gap_ns: int | None = None

    def as_boto3(self) -> dict[str, Any]:
        """Give the call's answer as boto3 gives it, with a Body that is still to be read.

        Raises:
            Exception: what boto3 raised, in the call or in reading its Body.
        """
        if self.parts is not None:  # a stream raises what broke it when its Body is read
            assert self.answer is not None
            return {**self.answer(), "Body": replayed(self.parts, self.exception)}
        if self.exception is not None:
            try:
                raise self.exception
            finally:
                del self  # the traceback would hold this reply, which holds the exception
        assert self.answer is not None
        assert self.body is not None
        return {**self.answer(), "Body": StreamingBody(io.BytesIO(self.body), len(self.body))}


def of_answer(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Give the members of a reply that boto3's answer tells."""
    meta = answer["ResponseMetadata"]
    return {
        "http_status": meta["HTTPStatusCode"],
        "request_id": meta.get("RequestId"),
        "content_type": answer.get("ContentType"),
        "variant": answer.get("InvokedProductionVariant"),
        "retries": meta.get("RetryAttempts"),
        "answer": lambda: answer,
    }


def replayed(parts: tuple[bytes, ...], error: Exception | None) -> Iterator[dict[str, Any]]:
    """Give the events that a stream had, and end as it did; it can be closed, as boto3's can."""
    for part in parts:
        yield {"PayloadPart": {"Bytes": part}}
    if error is not None:
        raise error


_OUTCOME_BY_CODE = {
    "ThrottlingException": "throttled",
    "TooManyRequestsException": "throttled",
    "ModelError": "model_error",
    "ModelNotReadyException": "model_not_ready",
    "ValidationError": "validation",
    "ValidationException": "validation",
    "ServiceUnavailable": "unavailable",
    "ServiceUnavailableException": "unavailable",
    "InternalFailure": "internal",
    "InternalDependencyException": "dependency",
}
_OUTCOME_BY_STATUS = {
    401: "auth",
    403: "auth",
    413: "validation",
    424: "model_error",
    429: "throttled",
    500: "internal",
    503: "unavailable",
    530: "dependency",
}
_OUTCOME_BY_EXCEPTION: tuple[tuple[type[Exception], str], ...] = (
    (failures.ReadTimeoutError, "timeout"),
    (failures.ConnectTimeoutError, "timeout"),
    (failures.NoCredentialsError, "auth"),
    (failures.PartialCredentialsError, "auth"),
    (failures.CredentialRetrievalError, "auth"),
    (failures.TokenRetrievalError, "auth"),
    (failures.SSOError, "auth"),
    (failures.ParamValidationError, "validation"),
    (failures.IncompleteReadError, "connection"),
    (failures.ConnectionError, "connection"),
    (failures.HTTPClientError, "connection"),
    (botocore.eventstream.ParserError, "connection"),
    # Of streams and of an error answer whose body is cut, read without botocore's own exceptions.
    (urllib3.exceptions.ReadTimeoutError, "timeout"),
    (urllib3.exceptions.HTTPError, "connection"),
    (failures.BotoCoreError, "other"),
)


def classify(error: Exception, answered: Answered | None = None) -> Reply | None:
    """Put a failed call into the closed set of outcomes; `None`: not a failure of a call.

    The reply has no times. Neither it nor the exception, whose message this mends, tells a secret.
    """
    error.args = tuple(without_secrets(a) if isinstance(a, str) else a for a in error.args)
    failed = _classify(error, answered)
    return failed and failed._replace(error=without_secrets(failed.error or ""), exception=error)


_QUOTING = re.compile(r'(.*? error \(\d+\) from \S+ with message )"(.*)"([^"]*)', re.DOTALL)
_failed = partial(Reply, sent_ns=None, first_byte_ns=None, ended_ns=0)


def _classify(error: Exception, answered: Answered | None) -> Reply | None:
    """Find the outcome of a failure.

    After an answer it is one whatever the exception: botocore's parser has many for an odd body.
    The classes follow SageMaker Runtime's error codes before HTTP statuses: throttling arrives as
    a plain 400, and a model's own status is hidden behind 424.
    """
    if isinstance(error, failures.EventStreamError):
        broke = error.response.get("Error", {})
        said = _without_what_a_model_said(str(broke.get("Message")))
        return _failed("stream_error", http_status=200, error=f"{broke.get('Code')}: {said}")
    if isinstance(error, failures.ClientError):
        return _classify_answer(error, answered)
    status, headers, body = answered or (None, {}, b"")
    for kind, outcome in _OUTCOME_BY_EXCEPTION:
        if isinstance(error, kind):
            beneath = str(getattr(error, "kwargs", {}).get("error"))
            said = beneath if NO_DESCRIPTOR in beneath else str(error)
            failed = _failed(outcome, error=f"{type(error).__name__}: {said}")
            # A good answer that breaks off has told the variant: without it this would have no arm.
            return failed._replace(**_of_head(status, headers)) if status == 200 else failed
    if status is None:
        return None
    said = f"{type(error).__name__}: {error}: {_not_kept(headers, body)}"
    outcome = _OUTCOME_BY_STATUS.get(status, "other")
    return _failed(outcome, error=said, **_of_head(status, headers))


def _of_head(status: int | None, headers: Mapping[str, str]) -> dict[str, Any]:
    return {
        "http_status": status,
        "request_id": headers.get("x-amzn-requestid"),
        "retries": 0,
        "variant": headers.get("x-amzn-invoked-production-variant"),
    }


def _classify_answer(error: failures.ClientError, answered: Answered | None) -> Reply:
    response: Mapping[str, Any] = error.response  # more than its type says: a ModelError's members
    said = response.get("Error", {})
    meta = response.get("ResponseMetadata", {})
    status = meta.get("HTTPStatusCode")
    code = str(said.get("Code", ""))
    original = response.get("OriginalStatusCode")
    outcome = _OUTCOME_BY_CODE.get(code) or _OUTCOME_BY_STATUS.get(status, "other")
    if outcome == "model_error" and original == 0:
        outcome = "model_timeout"
    # A throttled call's message is null on the wire.
    message = str(said.get("Message") or "no message")
    if outcome == "model_error":
        message = _without_what_a_model_said(message)
    elif answered is not None and message.encode(errors="replace") == answered[2]:
        message = _not_kept(*answered[1:])  # botocore's message where it cannot parse the body
    text = f"{code}: {message}"
    return _failed(
        outcome,
        http_status=status,
        original_status=original,
        error=text,
        request_id=meta.get("RequestId"),
        retries=meta.get("RetryAttempts"),
        # The API does not promise it on an error; where it comes, the failure has an arm.
        variant=meta.get("HTTPHeaders", {}).get("x-amzn-invoked-production-variant"),
    )


def _without_what_a_model_said(message: str) -> str:
    """Give a model error's message in the service's own words: a model may repeat its input."""
    quoting = _QUOTING.fullmatch(message)
    before, quoted, after = quoting.groups() if quoting else ("", message, "")
    return f"{before}({len(quoted)} characters, not kept){after}"


def _not_kept(headers: Mapping[str, str], body: bytes) -> str:
    """Stand for a body that is no error of the service: whoever wrote it may repeat its input."""
    return f"({len(body)} bytes of {headers.get('content-type', 'no type')}, not kept)"


def reply_of_failure(error: Exception, stamps: Stamps, answered: Answered | None) -> Reply:
    """Give the reply of a call that boto3 would end with this exception.

    Raises:
        Exception: `error` itself, where it is not the failure of a call.
    """
    failed = classify(error, answered)
    if failed is None:
        raise error
    sent_ns, first_byte_ns, ended_ns, connect_ns = stamps
    return failed._replace(
        sent_ns=sent_ns,
        first_byte_ns=first_byte_ns,
        ended_ns=ended_ns,
        new_connection=connect_ns is not None,
        connect_ns=connect_ns,
    )
