"""What botocore would put on the wire for a call, and what it makes of what comes back.

Another transport asks here, so that its requests, answers and errors are botocore's own.
"""

import io
import ssl
from collections.abc import Generator, Mapping
from typing import Any
from urllib.parse import urlsplit

import botocore.awsrequest
import botocore.exceptions as failures
import botocore.httpsession
import botocore.parsers
import urllib3
from botocore import xform_name
from botocore.credentials import Credentials

from experiments.invocation import INVOKE, STREAM
from experiments.sagemaker.invoke import ONE_ATTEMPT, session_for, url_of
from experiments.sagemaker.signing import Keys
from experiments.tables import Endpoint

EVERY_PARAMETER: Mapping[str, Any] = {
    "EndpointName": "abreast",
    "Body": b"{}",
    "ContentType": "text/csv; charset=utf-8",
    "Accept": "application/json",
    "CustomAttributes": "seq=1",
    "TargetModel": "model.tar.gz",
    "TargetVariant": "a",
    "TargetContainerHostname": "first",
    "InferenceId": "1",
    "EnableExplanations": "`true`",
    "InferenceComponentName": "component",
    "SessionId": "NEW_SESSION",
}
"""A call with all that the oldest supported boto3 knows."""
EVERY_CALL: Mapping[str, Mapping[str, Any]] = {
    INVOKE: EVERY_PARAMETER,
    STREAM: {
        name: value
        for name, value in EVERY_PARAMETER.items()
        if name not in ("TargetModel", "EnableExplanations")
    },
}
_SENT = "x-abreast-sent"


class _Echo:
    """A socket that answers with what was sent on it."""

    def __init__(self) -> None:
        self._sent = b""

    def sendall(self, data: bytes) -> None:
        self._sent += data

    def makefile(self, *_: object) -> io.BytesIO:
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(self._sent)}\r\n\r\n"
        return io.BytesIO(head.encode() + self._sent)

    def settimeout(self, seconds: float | None) -> None:
        """There is nothing to wait for."""

    def close(self) -> None:
        """There is nothing to close."""


class _PlainConnection(botocore.awsrequest.AWSHTTPConnection):
    def connect(self) -> None:
        self.sock = _Echo()


class _TlsConnection(botocore.awsrequest.AWSHTTPSConnection):
    def connect(self) -> None:
        self.sock = _Echo()
        self.is_verified = True


class _PlainPool(botocore.awsrequest.AWSHTTPConnectionPool):
    ConnectionCls = _PlainConnection


class _TlsPool(botocore.awsrequest.AWSHTTPSConnectionPool):
    ConnectionCls = _TlsConnection


def _answer_with_request(request: Any, **_: object) -> botocore.awsrequest.AWSResponse:
    """Write a request as botocore's HTTP client does, and answer with what was written."""
    connections = urllib3.PoolManager()
    connections.pool_classes_by_scheme = {"http": _PlainPool, "https": _TlsPool}
    url = urlsplit(request.url)
    try:
        echoed = connections.connection_from_url(request.url).urlopen(
            request.method,
            url.path + (f"?{url.query}" if url.query else ""),
            body=request.body,
            headers=request.headers,
            retries=urllib3.Retry(False),
            assert_same_host=False,
            decode_content=False,
        )
    except Exception as error:  # as botocore's own: every failure to write is one of the client
        raise failures.HTTPClientError(error=error) from error
    headers: Any = {_SENT: echoed.data.decode("latin-1")}
    return botocore.awsrequest.AWSResponse(request.url, 200, headers, io.BytesIO())


class _Raw:
    """What botocore's EventStream reads from."""

    def __init__(self, pieces: Generator[bytes]) -> None:
        self._pieces = pieces

    def stream(self) -> Generator[bytes]:
        return self._pieces

    def close(self) -> None:
        self._pieces.close()


class Wire:
    """One endpoint's calls, as botocore would write and read them; it sends nothing.

    Raises:
        botocore.exceptions.BotoCoreError: boto3 cannot make a client here.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        session = session_for(endpoint)
        self._client: Any = session.client(
            "sagemaker-runtime", endpoint_url=url_of(endpoint), config=ONE_ATTEMPT
        )
        events = self._client.meta.events
        events.register("before-sign.sagemaker-runtime", self._give_keys)
        events.register("before-send.sagemaker-runtime", _answer_with_request)
        self._model = self._client.meta.service_model
        self._parser = botocore.parsers.create_parser(self._model.resolved_protocol)
        self.credentials: Any = session.get_credentials()
        """Botocore's, renewed as it knows how; `None` where its chain finds none."""
        self.url: str = self._client.meta.endpoint_url

    def written(
        self, operation: str, parameters: Mapping[str, Any], keys: Keys
    ) -> tuple[bytes, bytes]:
        """Give the head and the body of the request that botocore sends for boto3's parameters.

        Raises:
            botocore.exceptions.BotoCoreError: botocore refuses the parameters.
        """
        self._keys = Credentials(*keys)
        answer = getattr(self._client, xform_name(operation))(**parameters)
        sent: str = answer["ResponseMetadata"]["HTTPHeaders"][_SENT]
        head, end, body = sent.encode("latin-1").partition(b"\r\n\r\n")
        return head + end, body

    def answer_of(
        self, operation: str, status: int, headers: Mapping[str, str]
    ) -> Mapping[str, Any]:
        """Give what botocore returns for a good answer, but for its Body."""
        return self._parsed(operation, status, headers, b"")

    def stream_of(
        self, status: int, headers: Mapping[str, str], pieces: Generator[bytes]
    ) -> Mapping[str, Any]:
        """Give what botocore returns for a good streamed answer, whose Body reads the pieces."""
        return self._parsed(STREAM, status, headers, _Raw(pieces))

    def error_of(
        self, operation: str, status: int, headers: Mapping[str, str], body: bytes
    ) -> Exception:
        """Give what botocore raises for an answer: of an odd body, its parser's own exception."""
        try:
            parsed = self._parsed(operation, status, headers, body)
            code = parsed.get("Error", {}).get("Code")
            error: Exception = self._client.exceptions.from_code(code)(parsed, operation)
        except Exception as failed:  # noqa: BLE001 - a body may be odd in many ways
            return failed
        return error

    def _parsed(
        self, operation: str, status: int, headers: Mapping[str, str], body: "bytes | _Raw"
    ) -> dict[str, Any]:
        answer: dict[str, Any] = {
            "status_code": status,
            "headers": botocore.awsrequest.HeadersDict(headers),
            "body": body,
            "context": {"operation_name": operation},
        }
        model = self._model.operation_model(operation)
        parsed: dict[str, Any] = self._parser.parse(answer, model.output_shape)
        code = parsed.get("Error", {}).get("Code")
        shape = None if code is None else self._model.shape_for_error_code(code)
        if shape is not None:
            parsed.update(self._parser.parse(answer, shape))
        # There are no retries, and botocore's own handler adds to the answer that there are none.
        self._client.meta.events.emit(
            f"needs-retry.sagemaker-runtime.{operation}",
            response=(
                botocore.awsrequest.AWSResponse(self.url, status, answer["headers"], None),
                parsed,
            ),
            endpoint=None,
            operation=model,
            attempts=1,
            caught_exception=None,
            request_dict={"context": {}},
        )
        parsed["ResponseMetadata"]["RetryAttempts"] = 0
        return parsed

    def ca_bundle(self) -> str:
        """Give the file of the certificates that botocore trusts here."""
        return str(botocore.httpsession.get_cert_path(self._http_session._verify))

    def obstacle(self) -> str | None:
        """Say why no other transport may stand in for botocore's here; `None`: it may."""
        scheme = urlsplit(self.url).scheme
        if scheme not in ("http", "https"):
            return f'The endpoint\'s URL has the scheme "{scheme}".'
        if self._http_session._proxy_config.proxy_url_for(self.url):
            return f"A proxy is in force for {self.url}."
        if self.credentials is None:
            return "There are no credentials."
        return None

    def _give_keys(self, request: Any, **_: object) -> None:
        request.context.setdefault("signing", {})["request_credentials"] = self._keys

    @property
    def _http_session(self) -> Any:
        return self._client._endpoint.http_session


def as_botocore(error: Exception, url: str, *, is_connected: bool) -> Exception:
    """Give what botocore raises when its own connection fails in this way."""
    if isinstance(error, failures.BotoCoreError):
        return error
    if isinstance(error, EOFError):
        return failures.ResponseStreamingError(error=error)
    if isinstance(error, ssl.SSLError):
        return failures.SSLError(endpoint_url=url, error=error)
    if isinstance(error, TimeoutError):
        if is_connected:
            return failures.ReadTimeoutError(endpoint_url=url, error=error)
        return failures.ConnectTimeoutError(endpoint_url=url, error=error)
    if isinstance(error, OSError):
        if is_connected:
            return failures.ConnectionClosedError(endpoint_url=url, error=error)
        return failures.EndpointConnectionError(endpoint_url=url, error=error)
    return error
