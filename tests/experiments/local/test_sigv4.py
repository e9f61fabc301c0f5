"""botocore's signer is the oracle: what it signs is taken, and nothing that differs from it."""

import dataclasses
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.local import sigv4
from experiments.local.config import Key
from experiments.local.http import Request
from experiments.local.service_error import ServiceError

ID, REGION, ACCOUNT = "AKIDEXAMPLE", "eu-west-3", "123456789012"
KEY = Key(secret_access_key="wJalrXUtnFEMI/K7MDENG", account=ACCOUNT)
WORD = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=8)
VALUE = st.lists(st.one_of(WORD, st.sampled_from([" ", "   ", "\t", "caf\u00e9", "\u00e0"]))).map(
    "".join
)
HEADERS = st.dictionaries(
    st.sampled_from(
        ["Content-Type", "Accept", "X-Amzn-SageMaker-Custom-Attributes", "X-Amzn-Thing", "Te-St"]
    ),
    VALUE,
)
QUERY = st.lists(st.tuples(st.text(max_size=5), st.text(max_size=5)), max_size=4)


def signed(
    name: str = "digits",
    headers: dict[str, str] | None = None,
    query: list[tuple[str, str]] | None = None,
    body: bytes = b"{}",
    token: str | None = None,
) -> Request:
    """A request as it would arrive from botocore."""
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials
    from botocore.utils import percent_encode, percent_encode_sequence

    url = f"http://127.0.0.1:8080/endpoints/{percent_encode(name)}/invocations"
    if query:
        url = f"{url}?{percent_encode_sequence(query)}"
    request = AWSRequest("POST", url, headers=headers or {}, data=body)
    keys = Credentials(ID, KEY.secret_access_key, token)
    SigV4Auth(keys, "sagemaker", REGION).add_auth(request)
    arrived = {"host": "127.0.0.1:8080", "content-length": str(len(body)), "user-agent": "any"}
    for key, value in request.headers.items():
        # As the server reads it: bytes as Latin-1, without the space around it.
        arrived[key.lower()] = value.encode().decode("latin-1").strip(" \t")
    parts = urlsplit(url)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    return Request(method="POST", target=target, headers=arrived, body=body)


def verify(request: Request, now: datetime | None = None, key: Key = KEY) -> None:
    now = now or datetime.now(UTC)
    assert sigv4.verify(request, {ID: key}, region=REGION, service="sagemaker", now=now) == ACCOUNT


def refusal(request: Request, now: datetime | None = None, key: Key = KEY) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        verify(request, now, key)
    assert caught.value.status == 403
    return caught.value


@given(
    name=st.one_of(st.text(max_size=20), st.sampled_from([".", "..", "a/../b", "a//b", "%2F"])),
    headers=HEADERS,
    query=QUERY,
    body=st.binary(max_size=200),
    token=st.one_of(st.none(), WORD),
)
def test_what_botocore_signs_is_taken(
    name: str,
    headers: dict[str, str],
    query: list[tuple[str, str]],
    body: bytes,
    token: str | None,
) -> None:
    verify(signed(name, headers, query, body, token))


@given(name=st.text(min_size=1, max_size=10), headers=HEADERS, body=st.binary(max_size=50))
def test_the_canonical_request_is_botocores(
    name: str, headers: dict[str, str], body: bytes
) -> None:
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    arrived = signed(name, headers, body=body)
    url = f"http://127.0.0.1:8080{arrived.target}"
    request = AWSRequest("POST", url, headers=headers, data=body)
    request.context["timestamp"] = "unused"
    signer = SigV4Auth(Credentials("a", "b"), "sagemaker", "eu-west-3")
    names = sorted({"host", *(key.lower() for key in headers)})
    assert sigv4.canonical_request(arrived, names) == signer.canonical_request(request).encode()


def changed_header(request: Request, name: str, value: str) -> Request:
    return dataclasses.replace(request, headers={**request.headers, name: value})


@pytest.mark.parametrize(
    "change",
    [
        lambda r: dataclasses.replace(r, body=r.body + b" "),
        lambda r: dataclasses.replace(r, target=r.target.replace("digits", "digitz")),
        lambda r: dataclasses.replace(r, target=r.target + "?a=b"),
        lambda r: dataclasses.replace(r, method="PUT"),
        lambda r: changed_header(r, "accept", "text/csv"),
        lambda r: changed_header(r, "host", "127.0.0.1:8081"),
        lambda r: changed_header(r, "x-amz-security-token", "another"),
    ],
    ids=["body", "path", "query", "method", "header", "host", "token"],
)
def test_what_was_changed_after_signing_is_refused(change) -> None:  # type: ignore[no-untyped-def]
    request = signed(headers={"Accept": "application/json"}, token="token")
    verify(request)
    assert refusal(change(request)).code == "InvalidSignatureException"


@pytest.mark.parametrize("name", ["x-amz-target", "x-amz-content-sha256", "x-amz-security-token"])
def test_a_header_of_awss_that_was_added_after_signing_is_refused(name: str) -> None:
    assert (
        f"'{name}' must be a 'SignedHeader'" in refusal(changed_header(signed(), name, "a")).message
    )
    verify(changed_header(signed(), "x-amzn-trace-id", "a"))  # which SDKs do not sign


def test_a_changed_date_is_refused() -> None:
    request = signed()
    moved = datetime.now(UTC) + timedelta(seconds=2)
    changed = changed_header(request, "x-amz-date", moved.strftime("%Y%m%dT%H%M%SZ"))
    # At midnight the scope's date differs too; either way it is the signature that is invalid.
    assert refusal(changed).code == "InvalidSignatureException"


def test_another_secret_is_refused() -> None:
    found = refusal(signed(), key=Key(secret_access_key="another", account=ACCOUNT))
    assert found.code == "InvalidSignatureException"
    assert "does not match" in found.message


@pytest.mark.parametrize(
    ("seconds", "message"), [(301, "Signature expired"), (-301, "Signature not yet current")]
)
def test_more_than_five_minutes_of_skew_is_refused(seconds: int, message: str) -> None:
    request = signed()
    signed_at = datetime.strptime(request.headers["x-amz-date"] + "+0000", "%Y%m%dT%H%M%SZ%z")
    now = signed_at + timedelta(seconds=seconds)
    assert message in refusal(request, now).message
    verify(request, now - timedelta(seconds=1 if seconds > 0 else -1))


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("AKIDEXAMPLE", "AKIDOTHER", "UnrecognizedClientException"),
        ("eu-west-3", "eu-west-1", "InvalidSignatureException"),
        ("/sagemaker/", "/s3/", "InvalidSignatureException"),
        ("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256", "IncompleteSignatureException"),
        ("Signature=", "Signature=xyz", "IncompleteSignatureException"),
        ("host;x-amz-date", "host", "InvalidSignatureException"),
        ("host;x-amz-date", "x-amz-date", "InvalidSignatureException"),
        ("host;x-amz-date", "host;x-amz-date;x-none", "InvalidSignatureException"),
    ],
)
def test_a_wrong_authorization_is_refused(old: str, new: str, code: str) -> None:
    request = signed()
    authorization = request.headers["authorization"].replace(old, new)
    assert refusal(changed_header(request, "authorization", authorization)).code == code


@pytest.mark.parametrize("date", ["", "yesterday", "20269999T999999Z", "2026-11-23T07:00:00Z"])
def test_a_date_that_is_none_is_refused(date: str) -> None:
    assert refusal(changed_header(signed(), "x-amz-date", date)).code == "InvalidSignatureException"


def test_a_request_without_authorization_is_refused() -> None:
    request = Request(method="GET", target="/", headers={"host": "h"}, body=b"")
    assert refusal(request).code == "MissingAuthenticationTokenException"


@given(st.text(st.characters(max_codepoint=255)))
def test_any_other_authorization_is_refused_and_never_a_fault(text: str) -> None:
    refusal(changed_header(signed(), "authorization", f"AWS4-HMAC-SHA256 {text}"))
