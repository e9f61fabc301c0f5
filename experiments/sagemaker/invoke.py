"""The seam to InvokeEndpoint: parameters in, Reply out, and every failure as one outcome.

A transport is a function from boto3's keyword arguments to a Reply, for answers that come whole or
in a stream. It never raises for what an endpoint or a network can do, never retries, and reads the
body within the timed region.
"""

import io
import os
import re
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import boto3
import botocore.awsrequest
import botocore.eventstream
import botocore.exceptions as failures
import urllib3
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.response import StreamingBody

from experiments.invocation import INVOKE, STREAM
from experiments.record import NO_DESCRIPTOR
from experiments.sagemaker.redacted import keep_out, without_secrets
from experiments.sagemaker.signing import Keys
from experiments.sagemaker.streamed import Streamed, replayed
from experiments.tables import Endpoint

CONNECT_TIMEOUT_S = 10
READ_TIMEOUT_S = 70
"""SageMaker's model limit is 60 s; its API reference asks for a client timeout of 70 s."""

ONE_ATTEMPT = Config(retries={"total_max_attempts": 1, "mode": "standard"})
"""No retries: `max_attempts` = 1 would still retry once, and a retry hides a failure."""


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


Transport = Callable[..., Reply]
"""Makes one call: from boto3's keyword arguments and, by place, STREAM where it is no INVOKE."""
Answered = tuple[int, Mapping[str, str], bytes]
"""An answer's status, its headers, found by names in lower case, and its body."""
Stamps = tuple[int | None, int | None, int, int | None]
"""A call's `sent_ns`, `first_byte_ns`, `ended_ns` and `connect_ns`."""


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

    The reply has no times.

    Neither what it says nor the exception, whose message this mends, repeats a secret.
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
    for kind, outcome in _OUTCOME_BY_EXCEPTION:
        if isinstance(error, kind):
            beneath = str(getattr(error, "kwargs", {}).get("error"))
            said = beneath if NO_DESCRIPTOR in beneath else str(error)
            return _failed(outcome, error=f"{type(error).__name__}: {said}")
    if answered is None:
        return None
    status, headers, body = answered
    return _failed(
        _OUTCOME_BY_STATUS.get(status, "other"),
        http_status=status,
        error=f"{type(error).__name__}: {error}: {_not_kept(headers, body)}",
        request_id=headers.get("x-amzn-requestid"),
        retries=0,
        variant=headers.get("x-amzn-invoked-production-variant"),
    )


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


class _Stamps(threading.local):
    """What a call's hooks saw; a greenlet's own, since locust patches threads."""

    sent_ns: int | None = None
    connect_ns: int | None = None
    answered: Answered | None = None


_stamps = _Stamps()


def _timed(connection: Any) -> Any:
    class Timed(connection):  # type: ignore[misc]
        def connect(self) -> None:
            began_ns = time.perf_counter_ns()
            try:
                super().connect()
            finally:
                _stamps.connect_ns = time.perf_counter_ns() - began_ns

    return Timed


def _note_sending(**_: object) -> None:
    _stamps.sent_ns = time.perf_counter_ns()


def _note_answer(response_dict: Mapping[str, Any], **_: object) -> None:
    body = response_dict["body"]  # of a good answer a stream
    body = body if isinstance(body, bytes) else b""
    _stamps.answered = response_dict["status_code"], response_dict["headers"], body


def url_of(endpoint: Endpoint) -> str | None:
    """Give the URL to call, where it is not AWS's own.

    The local endpoint's comes from the environment that it was started with, and is passed on
    explicitly, since a profile may tell boto3 to ignore that environment.
    """
    if endpoint.target == "local":
        return os.environ["AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME"]
    return endpoint.url


def session_for(endpoint: Endpoint) -> boto3.Session:
    """Open boto3's own chain of region and credentials, as the plan narrows it.

    Raises:
        botocore.exceptions.BotoCoreError: for example an unknown profile.
    """
    return boto3.Session(region_name=endpoint.region, profile_name=endpoint.profile)


def boto3_transport(
    endpoint: Endpoint, slots: int, renewed: Callable[[Any], Callable[[], Keys]] | None = None
) -> Transport:
    """Make the transport that calls boto3, with a connection for each slot and no retries.

    `renewed` gives keys from credentials that expire; boto3 alone renews them within a request.
    """
    aws = botocore.awsrequest
    aws.AWSHTTPConnectionPool.ConnectionCls = _timed(aws.AWSHTTPConnection)
    aws.AWSHTTPSConnectionPool.ConnectionCls = _timed(aws.AWSHTTPSConnection)
    session = session_for(endpoint)
    client = session.client(
        "sagemaker-runtime",
        endpoint_url=url_of(endpoint),
        config=ONE_ATTEMPT.merge(
            Config(
                max_pool_connections=max(slots, 10),
                connect_timeout=CONNECT_TIMEOUT_S,
                read_timeout=READ_TIMEOUT_S,
            )
        ),
    )
    credentials: Any = session.get_credentials()
    if credentials is not None and not hasattr(credentials, "refresh_needed"):
        keep_out(credentials.secret_key, credentials.token)
    if renewed is not None and hasattr(credentials, "refresh_needed"):
        keys = renewed(credentials)

        def give_keys(request: Any, **_: object) -> None:
            given = Credentials(*keys())
            request.context.setdefault("signing", {})["request_credentials"] = given

        client.meta.events.register("before-sign.sagemaker-runtime", give_keys)
    client.meta.events.register("before-send.sagemaker-runtime", _note_sending)
    client.meta.events.register("before-parse.sagemaker-runtime", _note_answer)

    def call(parameters: Mapping[str, Any], operation: str = INVOKE, /) -> Reply:
        _stamps.sent_ns = _stamps.connect_ns = _stamps.answered = None
        stream = Streamed() if operation == STREAM else None
        first_byte_ns = body = None
        try:
            if stream is not None:
                answer = client.invoke_endpoint_with_response_stream(**parameters)
                # botocore has urllib3 take an answer that is shorter than it says for a whole one.
                answer["Body"]._raw_stream.enforce_content_length = True
                stream.read(answer)
            else:
                answer = client.invoke_endpoint(**parameters)
                first_byte_ns = time.perf_counter_ns()
                body = answer["Body"].read()
            ended_ns = time.perf_counter_ns()
        except Exception as error:  # noqa: BLE001 - raised again where no call can fail with it
            ended_ns = time.perf_counter_ns()
            stamps = _stamps.sent_ns, first_byte_ns, ended_ns, _stamps.connect_ns
            failed = reply_of_failure(error, stamps, _stamps.answered)
            return failed if stream is None else stream.told(failed)
        meta = answer["ResponseMetadata"]
        reply = Reply(
            outcome="ok",
            sent_ns=_stamps.sent_ns,
            first_byte_ns=first_byte_ns,
            ended_ns=ended_ns,
            http_status=meta["HTTPStatusCode"],
            request_id=meta.get("RequestId"),
            content_type=answer.get("ContentType"),
            body=body,
            variant=answer.get("InvokedProductionVariant"),
            retries=meta.get("RetryAttempts"),
            new_connection=_stamps.connect_ns is not None,
            connect_ns=_stamps.connect_ns,
            answer=lambda: answer,
        )
        return reply if stream is None else stream.told(reply)

    return call
