"""The fast transport: botocore's requests and answers, over connections of our own.

What goes out is byte for byte what boto3 sends, and what fails raises what boto3 raises. Nothing
is sent twice: a kept connection that its server has closed is noticed before anything is written,
and what fails later is a failure.
"""

import hashlib
import time
from collections.abc import Mapping
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import gevent
from gevent import get_hub
from gevent.threadpool import ThreadPool

from experiments.invocation import INVOKE, STREAM
from experiments.sagemaker import invoke
from experiments.sagemaker.invoke import Transport
from experiments.sagemaker.redacted import keep_out, said
from experiments.sagemaker.reply import Reply, reply_of_failure
from experiments.sagemaker.signing import Keys, Signer, UnlikeBotocoreError
from experiments.sagemaker.streamed import Streamed
from experiments.sagemaker.wire import Wire, as_botocore
from experiments.tables import Endpoint
from experiments.traffic.http1 import Connection
from experiments.traffic.sockets import connect, verifying_context

_HASHED_ASIDE = 262_144
"""Bodies from this size on, in bytes, are hashed in a thread while other slots go on."""

_ANY_KEYS = Keys("none", "none", None)
_MOST_BODIES, _MOST_BODY_BYTES = 4096, 67_108_864
_RENEWAL_PAUSE_S = 1.0


def fast_transport(endpoint: Endpoint) -> Transport | str:
    """Make the transport; or say in a sentence why it cannot be used here.

    Making it sends nothing but what botocore's chain of credentials sends. It opens as many
    connections as there are requests in flight.
    """
    try:
        botocore = Wire(endpoint)
        if (obstacle := botocore.obstacle()) is not None:
            return obstacle
        pool = _Pool(botocore)
        signer = Signer(botocore.written, FreshKeys(botocore.credentials))
        for operation in (INVOKE, STREAM):
            signer.head(operation, botocore.every_parameter(operation), b"{}", "")
    except UnlikeBotocoreError as error:
        return f"How this botocore writes requests is not known here: {error}."
    except Exception as error:  # noqa: BLE001 - whatever stands in the way, boto3 can be asked
        return f"Preparing it failed: {said(error)}"
    return _transport(botocore, pool, signer)


def _transport(botocore: Wire, pool: "_Pool", signer: Signer) -> Transport:
    hashes = _BodyHashes()

    def call(parameters: Mapping[str, Any], operation: str = INVOKE, /) -> Reply:
        stream = Streamed() if operation == STREAM else None
        connection = connect_ns = sent_ns = first_byte_ns = answered = None
        head = b""
        try:
            body = parameters.get("Body", b"")
            if not isinstance(body, bytes):
                _, body = botocore.written(operation, parameters, _ANY_KEYS)
            head = signer.head(operation, parameters, body, hashes.of(body))
            connection = pool.take()
            if connection is None:
                began_ns = time.perf_counter_ns()
                try:
                    connection = pool.open()
                finally:
                    connect_ns = time.perf_counter_ns() - began_ns
            sent_ns = time.perf_counter_ns()
            status, headers = connection.begin(head, body)
            answered = status, headers, b""
            if stream is not None and status < 300:
                content = b""
                pieces = connection.pieces(status, headers)
                stream.read(botocore.answer_of(operation, status, headers, pieces))
            else:
                content = connection.read(status, headers)
            ended_ns = time.perf_counter_ns()
        except BaseException as error:
            ended_ns = time.perf_counter_ns()
            if connection is not None:
                first_byte_ns = None if stream else connection.first_byte_ns
                connection.stream.close()
            if not isinstance(error, Exception):
                raise
            # Not kept in a variable here, which the error's traceback would hold.
            failed = reply_of_failure(
                as_botocore(error, pool.url_of(head), is_connected=connection is not None),
                (sent_ns, first_byte_ns, ended_ns, connect_ns),
                answered,
            )
            return failed if stream is None else stream.told(failed)
        first_byte_ns = None if stream else connection.first_byte_ns
        pool.put_back(connection)
        if status >= 300:
            answered = status, headers, content
            return reply_of_failure(
                botocore.error_of(operation, *answered),
                (sent_ns, first_byte_ns, ended_ns, connect_ns),
                answered,
            )
        reply = Reply(  # four by place, under the fields' own names: those cost 0.1 µs each
            "ok",
            sent_ns,
            first_byte_ns,
            ended_ns,
            http_status=status,
            request_id=headers.get("x-amzn-requestid") or headers.get("x-amz-request-id"),
            content_type=headers.get("content-type"),
            body=content,
            variant=headers.get("x-amzn-invoked-production-variant"),
            retries=0,
            new_connection=connect_ns is not None,
            connect_ns=connect_ns,
            answer=partial(botocore.answer_of, operation, status, headers),
        )
        return reply if stream is None else stream.told(reply)

    return call


class FreshKeys:
    """Credentials that are renewed beside the requests, and awaited only once they have expired.

    Raises:
        botocore.exceptions.BotoCoreError: there are none yet, and none can be had.
    """

    def __init__(self, credentials: Any) -> None:
        self._credentials = credentials
        self._is_due = getattr(credentials, "refresh_needed", lambda **_: False)
        # In a thread, since it may compute for long and wait where gevent cannot see; in its own,
        # since whoever spawns one of the hub's waits while all of those are busy. A process that
        # gives the keys is waited for where gevent sees it, which starts none in other threads.
        is_process = getattr(credentials, "method", "") == "custom-process"
        self._spawn = gevent.spawn if is_process else ThreadPool(1).spawn
        self._renewal: Any = None
        self._not_before_s = 0.0
        self._failure: Exception | None = None
        self._keys = self._ask()

    def __call__(self) -> Keys:
        """Give the keys to sign with now.

        Raises:
            botocore.exceptions.BotoCoreError: they have expired and cannot be renewed.
        """
        if self._is_due():
            is_idle = self._renewal is None or self._renewal.ready()
            if is_idle and time.monotonic() >= self._not_before_s:
                self._renewal = self._spawn(self._renew)
            if self._is_due(refresh_in=0):
                self._renewal.get()
                if self._failure is not None:
                    raise self._failure.with_traceback(None)
        return self._keys

    def _ask(self) -> Keys:
        frozen = self._credentials.get_frozen_credentials()
        keep_out(frozen.secret_key, frozen.token)
        return Keys(frozen.access_key, frozen.secret_key, frozen.token)

    def _renew(self) -> None:
        try:
            self._keys, self._failure = self._ask(), None
        except Exception as error:  # noqa: BLE001 - raised to those who need the keys
            self._failure = error
            if isinstance(error, TypeError):  # gevent's, of a process within a chain of roles
                self._spawn = gevent.spawn
        if self._is_due():
            self._not_before_s = time.monotonic() + _RENEWAL_PAUSE_S


class _BodyHashes:
    """SHA-256 of bodies, once for each object: a run sends the same ones again and again."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[bytes, str]] = {}
        self._held = 0

    def of(self, body: bytes) -> str:
        known = self._known.get(id(body))
        if known is not None:  # the body is held, so that its id is no other's
            return known[1]
        if len(body) < _HASHED_ASIDE:
            digest = hashlib.sha256(body).hexdigest()
        else:
            digest = get_hub().threadpool.apply(lambda: hashlib.sha256(body).hexdigest())
        self._held += len(body)
        if len(self._known) >= _MOST_BODIES or self._held > _MOST_BODY_BYTES:
            self._known.clear()
            self._held = len(body)
        self._known[id(body)] = body, digest
        return digest


class _Pool:
    """Connections to an endpoint's host, the last used first.

    Raises:
        OSError: the file of trusted certificates cannot be read.
    """

    def __init__(self, botocore: Wire) -> None:
        parts = urlsplit(botocore.url)
        is_tls = parts.scheme == "https"
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if is_tls else 80)
        self._context = verifying_context(botocore.ca_bundle()) if is_tls else None
        self._idle: list[Connection] = []

    def take(self) -> Connection | None:
        """Take a connection whose server still waits; `None`: a new one is needed."""
        while self._idle:
            connection = self._idle.pop()
            if connection.stream.is_quiet():
                return connection
            connection.stream.close()
        return None

    def open(self) -> Connection:
        """Connect, looking the host's address up anew."""
        limits = {"within_s": invoke.CONNECT_TIMEOUT_S, "timeout_s": invoke.READ_TIMEOUT_S}
        return Connection(connect(self._host, self._port, self._context, **limits))

    def url_of(self, head: bytes) -> str:
        """Give the URL that a request goes to, as botocore's messages say it."""
        return self._origin + head.decode().partition(" ")[2].partition(" ")[0]

    def put_back(self, connection: Connection) -> None:
        """Keep a connection for the next request, if it can carry one."""
        if connection.is_reusable:
            self._idle.append(connection)
        else:
            connection.stream.close()
