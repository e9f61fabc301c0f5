"""AWS's own Signature Version 4 test vectors: requests and the signatures that they must have.

From the "AWS Signature Version 4 test suite" (aws4_testsuite, also in botocore's and the AWS
Common Runtime's tests), whose date, key, region and service these are; and the example of "Create a
signed AWS API request" in the IAM User Guide.
"""

import dataclasses
from datetime import UTC, datetime

import pytest

from experiments.local import sigv4
from experiments.local.config import Key
from experiments.local.http import Request
from experiments.local.service_error import ServiceError

NOW = datetime(2015, 8, 30, 12, 36, tzinfo=UTC)
ACCOUNT = "123456789012"
KEY = Key(secret_access_key="wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", account=ACCOUNT)
OTHER = Key(secret_access_key="other", account="999999999999")
FORM = "application/x-www-form-urlencoded"
UNRESERVED = "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
VANILLA = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
# Name: method, target as it is on the wire, headers beside host and date, body, signature.
SUITE: dict[str, tuple[str, str, dict[str, str], bytes, str]] = {
    "get-vanilla": ("GET", "/", {}, b"", VANILLA),
    "get-relative": ("GET", "/example/..", {}, b"", VANILLA),
    "get-slash-dot-slash": ("GET", "/./", {}, b"", VANILLA),
    "get-slash": ("GET", "//", {}, b"", VANILLA),
    "get-slashes": (
        "GET", "//example//", {}, b"",
        "9a624bd73a37c9a373b5312afbebe7a714a789de108f0bdfe846570885f57e84",
    ),
    "get-slash-pointless-dot": (
        "GET", "/./example", {}, b"",
        "ef75d96142cf21edca26f06005da7988e4f8dc83a165a80865db7089db637ec5",
    ),
    "get-unreserved": (
        "GET", f"/{UNRESERVED}", {}, b"",
        "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f",
    ),
    "get-vanilla-query-order-key-case": (
        "GET", "/?Param2=value2&Param1=value1", {}, b"",
        "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
    ),
    "get-vanilla-empty-query-key": (
        "GET", "/?Param1=value1", {}, b"",
        "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb",
    ),
    "get-vanilla-utf8-query": (
        "GET", "/?%E1%88%B4=bar", {}, b"",
        "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04",
    ),
    "get-header-key-duplicate": (
        "GET", "/", {"my-header1": "value2,value2,value1"}, b"",
        "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea",
    ),
    "get-header-value-trim": (
        "GET", "/", {"my-header1": "value1", "my-header2": '"a   b   c"'}, b"",
        "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
    ),
    "post-vanilla": (
        "POST", "/", {}, b"",
        "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
    ),
    "post-header-key-sort": (
        "POST", "/", {"my-header1": "value1"}, b"",
        "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c",
    ),
    "post-header-value-case": (
        "POST", "/", {"my-header1": "VALUE1"}, b"",
        "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d",
    ),
    "post-x-www-form-urlencoded": (
        "POST", "/", {"content-type": FORM}, b"Param1=value1",
        "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
    ),
}  # fmt: skip


def request(name: str, **changes: str) -> Request:
    method, target, headers, body, signature = SUITE[name]
    headers = {"host": "example.amazonaws.com", "x-amz-date": "20150830T123600Z", **headers}
    scope = changes.get("scope", "20150830/us-east-1/service/aws4_request")
    authorization = (
        f"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/{scope}, "
        f"SignedHeaders={';'.join(sorted(headers))}, Signature={signature}"
    )
    headers["authorization"] = authorization
    return Request(method=method, target=target, headers=headers, body=body)


def verify(given: Request, service: str = "service", key: Key = KEY) -> str:
    keys = {"OTHER": OTHER, "AKIDEXAMPLE": key}
    return sigv4.verify(given, keys, region="us-east-1", service=service, now=NOW)


@pytest.mark.parametrize("name", SUITE)
def test_a_published_signature_is_taken(name: str) -> None:
    assert verify(request(name)) == ACCOUNT


@pytest.mark.parametrize("name", SUITE)
def test_a_published_request_that_was_tampered_with_is_refused(name: str) -> None:
    whole = request(name)
    moved = {**whole.headers, "x-amz-date": "20150830T123601Z"}
    hosted = {**whole.headers, "host": "example.amazonaws.org"}
    for tampered in (
        dataclasses.replace(whole, body=whole.body + b" "),
        dataclasses.replace(whole, headers=moved),
        dataclasses.replace(whole, headers=hosted),
        dataclasses.replace(whole, target=f"{whole.target}x"),
        dataclasses.replace(whole, method="PUT"),
        request(name, scope="20150831/us-east-1/service/aws4_request"),
        request(name, scope="20150830/us-east-2/service/aws4_request"),
        request(name, scope="20150830/us-east-1/other/aws4_request"),
        request(name, scope="20150830/us-east-1/service/aws5_request"),
    ):
        with pytest.raises(ServiceError) as caught:
            verify(tampered)
        assert caught.value.status == 403


def test_the_example_of_the_user_guide_is_taken() -> None:
    signature = "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
    headers = {
        "host": "iam.amazonaws.com",
        "content-type": f"{FORM}; charset=utf-8",
        "x-amz-date": "20150830T123600Z",
        "authorization": "AWS4-HMAC-SHA256 "
        "Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, "
        f"SignedHeaders=content-type;host;x-amz-date, Signature={signature}",
    }
    target = "/?Action=ListUsers&Version=2010-05-08"
    given = Request(method="GET", target=target, headers=headers, body=b"")
    assert verify(given, "iam") == ACCOUNT


def test_a_token_that_is_another_or_has_expired_is_refused() -> None:
    given = request("get-vanilla")
    named = KEY.model_copy(update={"session_token": "token"})
    expired = KEY.model_copy(update={"expires": datetime(2015, 8, 30, 12, 35, tzinfo=UTC)})
    for key, code in (
        (named, "UnrecognizedClientException"),
        (expired, "ExpiredTokenException"),
    ):
        with pytest.raises(ServiceError) as caught:
            verify(given, key=key)
        assert (caught.value.status, caught.value.code) == (403, code)
