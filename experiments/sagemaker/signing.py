"""Signed request heads, byte for byte botocore's, at a small part of its cost.

Botocore writes the first request of each kind. What varies in it (date, credentials, ids, length,
the values of headers) becomes a blank, and later requests of that kind fill the blanks and are
signed anew. A kind that does not come out as botocore wrote it is refused.

Source of method: AWS Signature Version 4, https://docs.aws.amazon.com/IAM/latest/UserGuide/
reference_sigv-create-signed-request.html
"""

import hashlib
import hmac
import itertools
import re
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import quote

from botocore.utils import normalize_url_path

_MOST_KINDS = 1024
_MARK = "\udfff"
"""Stands around the name of a blank; no text that was decoded holds it."""

_LINE_END = re.compile(r"\r\n(?![ \t])")
_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=[^/]+/\d{8}/(?P<scope>[^,]+), SignedHeaders=(?P<signed>[^,]+), "
    r"Signature=[0-9a-f]{64}"
)
_BLANKS = {
    "x-amz-date": "moment",
    "x-amz-security-token": "token",
    "amz-sdk-invocation-id": "invocation_id",
    "content-length": "length",
}
_is_plain = re.compile(r"[!-~]+(?: [!-~]+)*").fullmatch
"""Whether a header's value is the same on the wire and in what is signed."""


class Keys(NamedTuple):
    """Credentials."""

    access_key: str
    secret_key: str
    token: str | None


class UnlikeBotocoreError(Exception):
    """A request of this kind would not be the one that botocore sends."""


class Form:
    """The requests of one kind within one second."""

    def __init__(self, head: str, canonical: str, to_sign: str, keyed: tuple[Any, Any]) -> None:
        self._head, self._canonical = head.split(_MARK), canonical.split(_MARK)
        self._to_sign = to_sign
        self._inner, self._outer = keyed

    def fill(self, values: dict[str, Any]) -> bytes:
        """Give the head of one request, signed.

        `values` are boto3's parameters by name, with `body_hash` (SHA-256 in hexadecimal),
        `length` (bytes of the body) and `invocation_id`, all of them texts. `signature` is added.
        """
        canonical = hashlib.sha256(_filled(self._canonical, values).encode())
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update((self._to_sign + canonical.hexdigest()).encode())
        outer.update(inner.digest())
        values["signature"] = outer.hexdigest()
        return _filled(self._head, values).encode()


def _filled(parts: list[str], values: Mapping[str, str]) -> str:
    """Join parts of which every second is the name of a blank."""
    filled = parts.copy()
    filled[1::2] = map(values.__getitem__, parts[1::2])
    return "".join(filled)


@dataclass(frozen=True, slots=True)
class Kind:
    """Requests that differ only in what is left blank."""

    head: str
    canonical: str
    scope: str
    """Region, service and "aws4_request"."""

    def at(self, moment: str, keys: Keys) -> Form:
        """Give the form for a second, `moment` as in `X-Amz-Date`, and credentials."""
        day, head, canonical = moment[:8], self.head, self.canonical
        known = {"moment": moment, "day": day, "access_key": keys.access_key, "token": keys.token}
        for name, value in known.items():
            head = head.replace(_blank(name), value or "")
            canonical = canonical.replace(_blank(name), value or "")
        to_sign = f"AWS4-HMAC-SHA256\n{moment}\n{day}/{self.scope}\n"
        return Form(head, canonical, to_sign, _keyed(keys.secret_key, day, self.scope))


@lru_cache(maxsize=8)
def _keyed(secret_key: str, day: str, scope: str) -> tuple[Any, Any]:
    """Begin HMAC-SHA256 with a day's key: RFC 2104's inner and outer hash, to be copied.

    A copy costs a third of an HMAC that begins with its key.
    """
    key = f"AWS4{secret_key}".encode()
    for part in (day, *scope.split("/")):
        key = hmac.digest(key, part.encode(), "sha256")
    padded = key.ljust(64, b"\0")
    inner, outer = (bytes(byte ^ pad for byte in padded) for pad in (0x36, 0x5C))
    return hashlib.sha256(inner), hashlib.sha256(outer)


def kind_of(head: bytes, blanks: Mapping[str, str]) -> tuple[Kind, dict[str, str]]:
    """Make a kind of a request's head, and give what stood in its blanks, by their names.

    `blanks` are values that become blanks, with the names of the parameters that they stand for.

    Raises:
        UnlikeBotocoreError: it is not signed as this module signs.
    """
    request_line, *lines = _LINE_END.split(head.decode().removesuffix("\r\n\r\n"))
    method, path, _ = request_line.split(" ")
    written, in_canonical, found = [request_line], {}, {}
    scope = signed = ""
    for line in lines:
        name, _, value = line.partition(": ")
        lower = name.lower()
        if lower == "authorization" and (match := _AUTHORIZATION.fullmatch(value)):
            scope, signed = match["scope"], match["signed"]
            text = (
                f"AWS4-HMAC-SHA256 Credential={_blank('access_key')}/{_blank('day')}/{scope}, "
                f"SignedHeaders={signed}, Signature={_blank('signature')}"
            )
        elif blank := _BLANKS.get(lower) or blanks.get(value):
            found[blank] = value
            text = in_canonical[lower] = _blank(blank)
        else:
            text = value
            in_canonical[lower] = " ".join(value.split())
        written.append(f"{name}: {text}")
    if not signed:
        raise UnlikeBotocoreError("the request is not signed with AWS Signature Version 4")
    canonical = [
        method,
        quote(normalize_url_path(path), safe="/~"),
        "",
        *(f"{name}:{in_canonical.get(name, '')}" for name in signed.split(";")),
        "",
        signed,
        _blank("body_hash"),
    ]
    return Kind("\r\n".join([*written, "", ""]), "\n".join(canonical), scope), found


def _blank(name: str) -> str:
    return f"{_MARK}{name}{_MARK}"


Write = Callable[[str, Mapping[str, Any], Keys], tuple[bytes, bytes]]
"""From operation, boto3's parameters and keys to the head and body that botocore itself sends."""


class Signer:
    """Writes the heads of one client's requests, with keys that it asks for once a second."""

    def __init__(self, write: Write, current_keys: Callable[[], Keys]) -> None:
        self._write = write
        self._current_keys = current_keys
        self._keys = current_keys()
        self._kinds: dict[tuple[Any, ...], Kind] = {}
        self._forms: dict[tuple[Any, ...], Form] = {}
        self._second = 0
        self._moment = ""
        # A request's own number makes the rest of its UUID.
        self._invocations = str(uuid.uuid4())[:-12]
        self._numbers = itertools.count()

    def head(
        self, operation: str, parameters: Mapping[str, Any], body: bytes, body_hash: str
    ) -> bytes:
        """Give the signed head of one request, from boto3's parameters and its body.

        Raises:
            UnlikeBotocoreError: botocore writes it in a way that is not known here.
            botocore.exceptions.BotoCoreError: what botocore raises for these parameters.
        """
        if int(time.time()) != self._second:
            self._begin_second()
        # Headers are written in the order of the parameters, so that this order is of the kind.
        identity: list[Any] = [operation, "Body" in parameters]
        for name, value in parameters.items():
            if name != "Body":
                identity.append(name if _is_blank(name, value) else (name, value))
        kind = tuple(identity)
        try:
            form = self._forms.get(kind)
        except TypeError:  # an unhashable value, which botocore has an error for
            form = self._learn(operation, parameters).at(self._moment, self._keys)
        if form is None:
            form = self._form(kind, operation, parameters)
        return form.fill(
            {
                **parameters,
                "body_hash": body_hash,
                "length": str(len(body)),
                "invocation_id": f"{self._invocations}{next(self._numbers):012x}",
            }
        )

    def _begin_second(self) -> None:
        keys = self._current_keys()
        self._second = int(time.time())  # after the keys, which may have been waited for
        if (keys.token is None) != (self._keys.token is None):
            self._kinds.clear()
        self._forms.clear()
        self._keys = keys
        self._moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(self._second))

    def _form(self, kind: tuple[Any, ...], operation: str, parameters: Mapping[str, Any]) -> Form:
        if len(self._kinds) >= _MOST_KINDS:
            self._kinds.clear()
            self._forms.clear()
        if kind not in self._kinds:
            self._kinds[kind] = self._learn(operation, parameters)
        form = self._forms[kind] = self._kinds[kind].at(self._moment, self._keys)
        return form

    def _learn(self, operation: str, parameters: Mapping[str, Any]) -> Kind:
        marked = {
            name: f"abreast.{name}" if _is_blank(name, value) else value
            for name, value in parameters.items()
        }
        if "Body" in marked:
            marked["Body"] = b"{}"
        head, _ = self._write(operation, marked, self._keys)
        kind, values = kind_of(head, {f"abreast.{name}": name for name in marked})
        form = kind.at(values["moment"], self._keys)
        if head != form.fill(values | {"body_hash": hashlib.sha256(b"{}").hexdigest()}):
            raise UnlikeBotocoreError("the request that botocore writes is put together otherwise")
        return kind


def _is_blank(name: str, value: object) -> bool:
    return name != "EndpointName" and isinstance(value, str) and _is_plain(value) is not None
