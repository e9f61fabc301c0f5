"""What botocore would put on the wire for a call, and what it makes of what comes back.

Another transport asks here, so that its requests, answers and errors are botocore's own.
"""

import io
import ssl
from collections.abc import Generator, Mapping
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import botocore.awsrequest
import botocore.exceptions as failures
import botocore.httpsession
import botocore.parsers
import urllib3
from botocore import xform_name
from botocore.credentials import Credentials

from experiments.sagemaker.invoke import ONE_ATTEMPT, session_for, url_of
from experiments.sagemaker.signing import Keys
from experiments.tables import Endpoint

_SENT = "x-abreast-sent"


_CONNECTIONS: Mapping[str, Any] = {
    "http": botocore.awsrequest.AWSHTTPConnection,
    "https": botocore.awsrequest.AWSHTTPSConnection,
}


class _Paper:
    """A socket that keeps what is sent on it."""

    def __init__(self) -> None:
        self.written = b""

    def sendall(self, data: bytes) -> None:
        self.written += data

    def settimeout(self, seconds: float | None) -> None:
        """There is nothing to wait for."""


def _answer_with_request(request: Any, **_: object) -> botocore.awsrequest.AWSResponse:
    """Write a request as botocore's HTTP client does, and answer with what was written."""
    url = urlsplit(request.url)
    connection = _CONNECTIONS[url.scheme](url.hostname, url.port)
    connection.sock = paper = _Paper()
    target = url.path + (f"?{url.query}" if url.query else "")
    try:
        connection.request(request.method, target, body=request.body, headers=request.headers)
    except Exception as error:  # as botocore's own: every failure to write is one of the client
        raise failures.HTTPClientError(error=error) from error
    headers: Any = {_SENT: paper.written.decode("latin-1")}
    return botocore.awsrequest.AWSResponse(request.url, 200, headers, io.BytesIO())


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
        """Give the head and the body of the request that botocore sends for boto3's parameters."""
        self._keys = Credentials(*keys)
        answer = getattr(self._client, xform_name(operation))(**parameters)
        sent: str = answer["ResponseMetadata"]["HTTPHeaders"][_SENT]
        head, end, body = sent.encode("latin-1").partition(b"\r\n\r\n")
        return head + end, body

    def every_parameter(self, operation: str) -> dict[str, Any]:
        """Give a call with every parameter that this boto3 knows of."""
        members = self._model.operation_model(operation).input_shape.members
        texts = [name for name, shape in members.items() if shape.type_name == "string"]
        return {**dict.fromkeys(texts, "1"), "Body": b"{}"}

    def answer_of(
        self,
        operation: str,
        status: int,
        headers: Mapping[str, str],
        pieces: Generator[bytes] | None = None,
    ) -> Mapping[str, Any]:
        """Give what botocore returns for a good answer; its Body only where that reads `pieces`."""
        if pieces is None:
            return self._parsed(operation, status, headers, b"")
        raw = SimpleNamespace(stream=lambda: pieces, close=pieces.close)
        return self._parsed(operation, status, headers, raw)

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
        self, operation: str, status: int, headers: Mapping[str, str], body: bytes | SimpleNamespace
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
        if urllib3.util.parse_url(self.url).request_uri != (urlsplit(self.url).path or "/"):
            return f"botocore's HTTP client writes the path of {self.url} in a way of its own."
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
        kind: Any = failures.SSLError
    elif isinstance(error, TimeoutError):
        kind = failures.ReadTimeoutError if is_connected else failures.ConnectTimeoutError
    elif isinstance(error, OSError):
        kind = failures.ConnectionClosedError if is_connected else failures.EndpointConnectionError
    else:
        return error
    failed: Exception = kind(endpoint_url=url, error=error)
    return failed
