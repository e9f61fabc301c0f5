"""The heads that are written here are those that a real boto3 client sends, byte for byte."""

import calendar
import hashlib
import re
import string
import time
import uuid
from collections.abc import Iterator
from typing import Any

import boto3
import botocore.exceptions as failures
import botocore.session
import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from experiments.sagemaker import signing
from experiments.sagemaker.invoke import ONE_ATTEMPT
from experiments.sagemaker.signing import Keys, Signer, UnlikeBotocoreError, kind_of
from experiments.sagemaker.wire import Wire
from experiments.tables import Endpoint
from tests.experiments.traffic.peer import OK, Peer, saying, serving

OPERATIONS = ("InvokeEndpoint", "InvokeEndpointWithResponseStream")
_MODEL = botocore.session.get_session().get_service_model("sagemaker-runtime")
HEADERS = {
    name: [
        member
        for member in _MODEL.operation_model(name).input_shape.members
        if member not in ("EndpointName", "Body")
    ]
    for name in OPERATIONS
}
NAMES = st.from_regex(r"[a-zA-Z0-9](-*[a-zA-Z0-9])*", fullmatch=True) | st.text(
    st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=20
).filter(lambda name: name not in (".", ".."))
VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1) | st.text(
    st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1
)
UPPER = string.ascii_uppercase + string.digits
BASE64 = string.ascii_letters + string.digits + "+/="
CREDENTIALS = st.builds(
    Keys,
    st.text(UPPER, min_size=16, max_size=31),
    st.text(BASE64, min_size=40, max_size=40),
    st.none() | st.text(BASE64, min_size=1, max_size=900),
)


class Both:
    """A real client, and our own signer for the same endpoint."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        session = boto3.Session()
        self.client = session.client("sagemaker-runtime", endpoint_url=peer.url, config=ONE_ATTEMPT)
        self.wire = Wire(Endpoint(name="x", target=peer.url))
        self.credentials = session.get_credentials()

    def use(self, keys: Keys) -> None:
        self.credentials.access_key, self.credentials.secret_key, self.credentials.token = keys

    def sent(self, operation: str, parameters: dict[str, Any]) -> bytes:
        method = re.sub(r"(?<!^)(?=[A-Z])", "_", operation).lower()
        body = getattr(self.client, method)(**parameters)["Body"]
        if operation == "InvokeEndpoint":
            body.read()
        body.close()
        return self.peer.requests.pop()

    def signer(self, keys: Keys) -> Signer:
        return Signer(self.wire.written, lambda: keys)


@pytest.fixture(scope="module")
def both() -> Iterator[Both]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.delenv("AWS_PROFILE", raising=False)
        with serving(saying(OK)) as peer:
            made = Both(peer)
            yield made
            made.client.close()


def ours(signer: Signer, operation: str, parameters: dict[str, Any], sent: bytes) -> bytes:
    """Write the same request in the same second, and give it the same number."""
    moment, number = (
        re.search(rb"\r\n%b: ([^\r]+)\r\n" % name, sent)[1].decode()  # type: ignore[index]
        for name in (b"X-Amz-Date", b"amz-sdk-invocation-id")
    )
    body = parameters["Body"]
    with pytest.MonkeyPatch.context() as patch:
        second = calendar.timegm(time.strptime(moment, "%Y%m%dT%H%M%SZ"))
        patch.setattr(signing.time, "time", lambda: float(second))
        head = signer.head(operation, parameters, body, hashlib.sha256(body).hexdigest())
    own = re.search(rb"\r\namz-sdk-invocation-id: ([^\r]+)\r\n", head)
    assert own is not None
    assert uuid.UUID(own[1].decode()).version == 4
    return head.replace(own[1], number.encode()) + body


@st.composite
def calls(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    operation = draw(st.sampled_from(OPERATIONS))
    names = draw(st.lists(st.sampled_from(HEADERS[operation]), unique=True))
    order = draw(st.permutations([*names, "EndpointName", "Body"]))
    parameters: dict[str, Any] = {name: draw(VALUES) for name in names}
    parameters |= {"EndpointName": draw(NAMES), "Body": draw(st.binary(max_size=2000))}
    return operation, {name: parameters[name] for name in order}


@settings(deadline=None, max_examples=300)
@given(call=calls(), keys=CREDENTIALS)
def test_every_call_is_written_as_boto3_sends_it(
    both: Both, call: tuple[str, dict[str, Any]], keys: Keys
) -> None:
    both.use(keys)
    sent = both.sent(*call)
    assert ours(both.signer(keys), *call, sent) == sent


@settings(deadline=None, max_examples=100)
@given(ids=st.lists(VALUES, min_size=2, max_size=4), keys=CREDENTIALS)
def test_a_kind_that_is_known_is_filled_with_other_values(
    both: Both, ids: list[str], keys: Keys
) -> None:
    both.use(keys)
    signer = both.signer(keys)
    for number, value in enumerate(ids):
        parameters = {
            "EndpointName": "digits", "Body": value.encode(), "TargetVariant": "a%b",
            "CustomAttributes": value, "InferenceId": f"run-{number}",
        }  # fmt: skip
        sent = both.sent("InvokeEndpoint", parameters)
        assert ours(signer, "InvokeEndpoint", parameters, sent) == sent


def test_renewed_credentials_sign_from_the_next_second_on(both: Both) -> None:
    keys = [Keys("AKIDFIRST", "secret", "token%s"), Keys("AKIDSECOND", "other", None)]
    both.use(keys[0])
    signer = Signer(both.wire.written, lambda: keys[0])
    parameters = {"EndpointName": "digits", "Body": b"x"}
    first = both.sent("InvokeEndpoint", parameters)
    assert ours(signer, "InvokeEndpoint", parameters, first) == first
    keys.pop(0)
    both.use(keys[0])
    time.sleep(1.1)
    second = both.sent("InvokeEndpoint", parameters)
    assert b"AKIDSECOND" in second
    assert ours(signer, "InvokeEndpoint", parameters, second) == second


def test_a_request_is_dated_when_its_keys_have_come(
    both: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_767_225_600.0  # 2026-01-01T00:00:00Z

    def keys() -> Keys:
        nonlocal now
        now += 60
        return Keys("AKIDEXAMPLE", "secret", None)

    signer = Signer(both.wire.written, keys)
    monkeypatch.setattr(signing.time, "time", lambda: now)
    head = signer.head("InvokeEndpoint", {"EndpointName": "x", "Body": b""}, b"", "0" * 64)
    assert b"\r\nX-Amz-Date: 20260101T000200Z\r\n" in head


@pytest.mark.parametrize(
    ("variables", "host"),
    [
        ({}, "runtime.sagemaker.eu-west-1.amazonaws.com"),
        ({"AWS_USE_FIPS_ENDPOINT": "true", "AWS_DEFAULT_REGION": "us-east-1"},
         "runtime-fips.sagemaker.us-east-1.amazonaws.com"),
        ({"AWS_USE_DUALSTACK_ENDPOINT": "true"}, "runtime.sagemaker.eu-west-1.api.aws"),
        ({"AWS_DEFAULT_REGION": "cn-north-1"}, "runtime.sagemaker.cn-north-1.amazonaws.com.cn"),
    ],
)  # fmt: skip
def test_botocores_rules_say_where_a_request_goes(
    variables: dict[str, str], host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    wire = Wire(Endpoint(name="x"))
    assert wire.url == f"https://{host}"
    signer = Signer(wire.written, lambda: Keys("AKIDEXAMPLE", "secret", None))
    head = signer.head("InvokeEndpoint", {"EndpointName": "x", "Body": b""}, b"", "0" * 64)
    assert f"\r\nHost: {host}\r\n".encode() in head


@pytest.mark.parametrize(
    "parameters",
    [
        {"EndpointName": "x"},
        {"Body": b""},
        {"EndpointName": "x", "Body": b"", "InferenceId": ""},
        {"EndpointName": "x", "Body": b"", "InferenceId": None},
        {"EndpointName": "x", "Body": b"", "InferenceId": ["x"]},
        {"EndpointName": "x", "Body": b"", "Unknown": "x"},
    ],
)
def test_what_botocore_refuses_is_refused_as_botocore_does(
    both: Both, parameters: dict[str, Any]
) -> None:
    signer = both.signer(Keys("AKIDEXAMPLE", "secret", None))
    signer.head("InvokeEndpoint", {"EndpointName": "x", "Body": b""}, b"", "")  # is known then
    with pytest.raises(failures.ParamValidationError):
        signer.head("InvokeEndpoint", parameters, b"", "")


def test_a_header_that_http_does_not_allow_is_refused_as_botocore_does(both: Both) -> None:
    keys = Keys("AKIDEXAMPLE", "secret", None)
    both.use(keys)
    parameters = {"EndpointName": "x", "Body": b"", "CustomAttributes": "a\r\nHost: b"}
    with pytest.raises(failures.HTTPClientError) as theirs:
        both.client.invoke_endpoint(**parameters)
    with pytest.raises(failures.HTTPClientError) as own:
        both.signer(keys).head("InvokeEndpoint", parameters, b"", "")
    assert str(own.value) == str(theirs.value)


def test_a_request_that_is_put_together_otherwise_is_refused() -> None:
    unsigned = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n"
    with pytest.raises(UnlikeBotocoreError, match="not signed"):
        kind_of(unsigned, {})
    other = (
        b"POST / HTTP/1.1\r\nHost: x\r\nX-Amz-Date: 20260101T000000Z\r\nAuthorization: "
        b"AWS4-HMAC-SHA256 Credential=A/20260101/r/s/aws4_request, SignedHeaders=host;x-amz-date, "
        b"Signature=" + b"0" * 64 + b"\r\n\r\n"
    )
    signer = Signer(
        lambda _operation, _parameters, _keys: (other, b"{}"), lambda: Keys("A", "s", None)
    )
    with pytest.raises(UnlikeBotocoreError, match="put together otherwise"):
        signer.head("InvokeEndpoint", {"EndpointName": "x"}, b"", "")
