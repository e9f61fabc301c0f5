"""The fast transport: botocore's requests and answers, over connections of our own.

What goes out is byte for byte what boto3 sends, and what fails raises what boto3 raises. Nothing
is sent twice: a kept connection that its server has closed is noticed before anything is written,
and what fails later is a failure.
"""

import hashlib
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from gevent import get_hub

from experiments.plan import Endpoint
from experiments.sagemaker import invoke
from experiments.sagemaker.invoke import Reply, Transport, reply_of_failure
from experiments.sagemaker.signing import Keys, Signer, UnlikeBotocoreError
from experiments.sagemaker.wire import EVERY_PARAMETER, OPERATION, Wire, as_botocore
from experiments.traffic.http1 import Connection
from experiments.traffic.sockets import connect, verifying_context

_HASHED_ASIDE = 262_144
"""Bodies from this size on, in bytes, are hashed in a thread while other slots go on."""

_ANY_KEYS = Keys("none", "none", None)
_MOST_BODIES, _MOST_BODY_BYTES = 65_536, 268_435_456


def why_not(endpoint: Endpoint) -> str | None:
    """Say in a sentence why this transport cannot be used here; `None`: it can.

    Sends nothing but what botocore's chain of credentials sends.
    """
    try:
        botocore = Wire(endpoint)
        obstacle = botocore.obstacle()
        if obstacle is None:
            _Pool(botocore)
            signer = Signer(botocore.written, FreshKeys(botocore.credentials))
            signer.head(OPERATION, EVERY_PARAMETER, b"{}", "")
    except UnlikeBotocoreError as error:
        return f"How this botocore writes requests is not known here: {error}."
    except Exception as error:  # noqa: BLE001 - whatever stands in the way, boto3 can be asked
        return f"Preparing it failed: {type(error).__name__}: {error}"
    return obstacle


def fast_transport(endpoint: Endpoint, slots: int) -> Transport:  # noqa: ARG001 - as boto3's
    """Make the transport, where `why_not` knows of no reason against it.

    It opens as many connections as there are requests in flight.

    Raises:
        botocore.exceptions.BotoCoreError: boto3 cannot make a client here.
        OSError: the file of trusted certificates cannot be read.
    """
    botocore = Wire(endpoint)
    pool = _Pool(botocore)
    signer = Signer(botocore.written, FreshKeys(botocore.credentials))
    hashes = _BodyHashes()

    def call(parameters: Mapping[str, Any]) -> Reply:
        connection = connect_ns = sent_ns = first_byte_ns = None
        head = b""
        try:
            body = parameters.get("Body", b"")
            if not isinstance(body, bytes):
                _, body = botocore.written(OPERATION, parameters, _ANY_KEYS)
            head = signer.head(OPERATION, parameters, body, hashes.of(body))
            connection = pool.take()
            if connection is None:
                began_ns = time.perf_counter_ns()
                try:
                    connection = pool.open()
                finally:
                    connect_ns = time.perf_counter_ns() - began_ns
            sent_ns = time.perf_counter_ns()
            status, headers, content = connection.exchange(head, body)
            ended_ns = time.perf_counter_ns()
        except BaseException as error:
            ended_ns = time.perf_counter_ns()
            if connection is not None:
                first_byte_ns = connection.first_byte_ns
                connection.stream.close()
            if not isinstance(error, Exception):
                raise
            # Not kept in a variable here, which the error's traceback would hold.
            return reply_of_failure(
                as_botocore(error, pool.url_of(head), is_connected=connection is not None),
                sent_ns,
                first_byte_ns,
                ended_ns,
                connect_ns,
            )
        first_byte_ns = connection.first_byte_ns
        pool.put_back(connection)
        if status >= 300:
            said = botocore.error_of(OPERATION, status, headers, content)
            return reply_of_failure(said, sent_ns, first_byte_ns, ended_ns, connect_ns)
        return Reply(
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
            answer=botocore.answer_of(OPERATION, status, headers, content),
        )

    return call


class FreshKeys:
    """Credentials that are renewed beside the requests, and awaited only once they have expired."""

    def __init__(self, credentials: Any) -> None:
        self._credentials = credentials
        self._is_due = getattr(credentials, "refresh_needed", None)
        self._renewal: Any = None
        self._failure: Exception | None = None
        self._renew()

    def __call__(self) -> Keys:
        """Give the keys to sign with now.

        Raises:
            botocore.exceptions.BotoCoreError: they have to be renewed and cannot be.
        """
        if self._is_due is not None and self._is_due():
            if self._renewal is None or self._renewal.ready():
                # In a thread, since it may compute for long and wait where gevent cannot see.
                self._renewal = get_hub().threadpool.spawn(self._renew)
            if self._is_due(refresh_in=0):
                self._renewal.wait()
        if self._failure is not None:
            raise self._failure.with_traceback(None)
        return self._keys

    def _renew(self) -> None:
        try:
            frozen = self._credentials.get_frozen_credentials()
        except Exception as error:  # noqa: BLE001 - raised to those who need the keys
            self._failure = error
        else:
            self._keys = Keys(frozen.access_key, frozen.secret_key, frozen.token)
            self._failure = None


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
