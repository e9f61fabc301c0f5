"""Is a request signed by whom it says it is, as AWS Signature Version 4 has the server check?

Method: "Create a signed AWS API request" in the IAM User Guide, for services other than S3.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from urllib.parse import quote

from experiments.local.config import Key
from experiments.local.http import Request
from experiments.local.service_error import ServiceError

MAX_SKEW = timedelta(minutes=5)

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256\s+Credential=(?P<key>[^/,\s]+)/(?P<date>[^/,\s]+)/(?P<region>[^/,\s]+)"
    r"/(?P<service>[^/,\s]+)/aws4_request\s*,\s*SignedHeaders=(?P<headers>[^,\s]+)"
    r"\s*,\s*Signature=(?P<signature>[0-9a-f]{64})"
)
_SPACES = re.compile(r"[ \t]+")
_TIMESTAMP = re.compile(r"\d{8}T\d{6}Z")


def verify(
    request: Request, keys: Mapping[str, Key], *, region: str, service: str, now: datetime
) -> str:
    """Return the account of the key with which `request` was signed within 5 minutes of `now`.

    `keys` are those that may call, by their id; a request is for a `region` and a `service`.

    Raises:
        ServiceError: 403, with the code that AWS gives for what is wrong.
    """
    authorization = request.headers.get("authorization")
    if authorization is None:
        raise _refused("Missing Authentication Token", "MissingAuthenticationTokenException")
    claim = _AUTHORIZATION.fullmatch(authorization)
    if claim is None:
        raise _refused(
            "The Authorization header must have the algorithm AWS4-HMAC-SHA256 and the parameters "
            "Credential, SignedHeaders and Signature.",
            "IncompleteSignatureException",
        )
    key_id, date, claimed_region, claimed_service, names, signature = claim.groups()
    signed = names.split(";")
    timestamp = request.headers.get("x-amz-date", "")
    own, token = keys.get(key_id), request.headers.get("x-amz-security-token")
    if own is None or own.session_token not in (None, token):
        message = "The security token included in the request is invalid."
        raise _refused(message, "UnrecognizedClientException")
    if own.expires is not None and own.expires < now:
        message = "The security token included in the request is expired"
        raise _refused(message, "ExpiredTokenException")
    if claimed_region != region:
        raise _refused(f"Credential should be scoped to a valid region, not '{claimed_region}'.")
    if claimed_service != service:
        raise _refused(f"Credential should be scoped to correct service: '{service}'.")
    for name in ("host", *request.headers):
        if name not in signed and (name == "host" or name.startswith("x-amz-")):
            raise _refused(f"'{name}' must be a 'SignedHeader' in the AWS Authorization.")
    signed_at, at = _signed_at(timestamp, date), f"{now:%Y%m%dT%H%M%SZ}"
    if signed_at < now - MAX_SKEW:
        raise _refused(f"Signature expired: {timestamp} is now earlier than {at} - 5 min.")
    if signed_at > now + MAX_SKEW:
        raise _refused(f"Signature not yet current: {timestamp} is still later than {at} + 5 min.")

    hashed = hashlib.sha256(canonical_request(request, signed)).hexdigest()
    to_sign = f"AWS4-HMAC-SHA256\n{timestamp}\n{date}/{region}/{service}/aws4_request\n{hashed}"
    key = _signing_key(own.secret_access_key, date, region, service)
    if not hmac.compare_digest(hmac.digest(key, to_sign.encode(), "sha256").hex(), signature):
        raise _refused(
            "The request signature we calculated does not match the signature you provided. Check "
            "your AWS Secret Access Key and signing method. Consult the service documentation for "
            "details."
        )
    return own.account


def canonical_request(request: Request, signed: list[str]) -> bytes:
    """Return the text that is hashed and signed: all that a signature binds of `request`."""
    path, _, query = request.target.partition("?")
    pairs = sorted(pair.partition("=") for pair in query.split("&")) if query else []
    headers = request.headers
    parts = [
        request.method,
        _canonical_path(path),
        "&".join(f"{name}={value}" for name, _, value in pairs),
        *[f"{name}:{_single_spaced(headers.get(name, ''))}" for name in signed],
        "",
        ";".join(signed),
        hashlib.sha256(request.body).hexdigest(),
    ]
    return "\n".join(parts).encode("latin-1")  # the bytes as they came


def _single_spaced(value: str) -> str:
    return _SPACES.sub(" ", value) if "  " in value or "\t" in value else value


@lru_cache(maxsize=256)
def _canonical_path(path: str) -> str:
    """Remove dot segments (RFC 3986, 5.2.4) and, as SigV4 asks besides, empty segments; escape."""
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del kept[-1:]
        elif segment not in ("", "."):
            kept.append(segment)
    end = "/" if kept and path.endswith("/") else ""
    return quote(f"/{'/'.join(kept)}{end}", safe="/~")


@lru_cache(maxsize=256)
def _signed_at(timestamp: str, date: str) -> datetime:
    if not _TIMESTAMP.fullmatch(timestamp):
        raise _refused("Date must be in ISO-8601 'basic format', in the header X-Amz-Date.")
    if not timestamp.startswith(date):
        raise _refused(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from "
            f"HTTP: '{date}' != '{timestamp[:8]}', from '{timestamp}'."
        )
    try:
        return datetime.fromisoformat(timestamp)
    except ValueError:
        raise _refused(f"'{timestamp}' is no date.") from None


@lru_cache(maxsize=8)
def _signing_key(secret: str, date: str, region: str, service: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (date, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def _refused(message: str, code: str = "InvalidSignatureException") -> ServiceError:
    return ServiceError(403, code, message)
