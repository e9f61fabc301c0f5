"""The seam to InvokeEndpoint: boto3's keyword arguments in, a Reply out, whole or streamed.

A transport never raises for what an endpoint or a network can do, never retries, and reads the body
within the timed region.
"""

import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import boto3
import botocore.awsrequest
from botocore.config import Config
from botocore.credentials import Credentials

from experiments.invocation import INVOKE, STREAM
from experiments.sagemaker.redacted import keep_out
from experiments.sagemaker.reply import Answered, Reply, of_answer, reply_of_failure
from experiments.sagemaker.signing import Keys
from experiments.sagemaker.streamed import Streamed
from experiments.tables import Endpoint

CONNECT_TIMEOUT_S = 10
READ_TIMEOUT_S = 70
"""SageMaker's model limit is 60 s; its API reference asks for a client timeout of 70 s."""

ONE_ATTEMPT = Config(retries={"total_max_attempts": 1, "mode": "standard"})
"""No retries: `max_attempts` = 1 would still retry once, and a retry hides a failure."""

Transport = Callable[..., Reply]
"""Makes one call: from boto3's keyword arguments and, by place, STREAM where it is no INVOKE."""


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
    config = Config(
        max_pool_connections=max(slots, 10),
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=READ_TIMEOUT_S,
    )
    client = session.client(
        "sagemaker-runtime",
        endpoint_url=url_of(endpoint),
        config=ONE_ATTEMPT.merge(config),
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
        reply = Reply(
            outcome="ok",
            sent_ns=_stamps.sent_ns,
            first_byte_ns=first_byte_ns,
            ended_ns=ended_ns,
            body=body,
            new_connection=_stamps.connect_ns is not None,
            connect_ns=_stamps.connect_ns,
            **of_answer(answer),
        )
        return reply if stream is None else stream.told(reply)

    return call
