"""Messages of the application/vnd.amazon.eventstream encoding, in which answers are streamed.

Encoding: "Amazon Event Stream Specification", smithy.io: lengths, headers and payload, each part
under a CRC-32, all big-endian.
"""

import json
import struct
from collections.abc import Mapping
from zlib import crc32

CONTENT_TYPE = "application/vnd.amazon.eventstream"
_STRING = 7


def message(headers: Mapping[str, str], payload: bytes) -> bytes:
    """Return one message; its headers are strings."""
    encoded = b"".join(_header(name, value) for name, value in headers.items())
    prelude = struct.pack(">II", 16 + len(encoded) + len(payload), len(encoded))
    start = prelude + struct.pack(">I", crc32(prelude)) + encoded + payload
    return start + struct.pack(">I", crc32(start))


def part(payload: bytes) -> bytes:
    """Return a part of an answer's body."""
    headers = {":event-type": "PayloadPart", ":content-type": "application/octet-stream"}
    return message({**headers, ":message-type": "event"}, payload)


def exception(kind: str, text: str, **members: str) -> bytes:
    """Return the error that ends a stream, with the members of its own."""
    headers = {":exception-type": kind, ":content-type": "application/json"}
    body = json.dumps({"Message": text, **members}).encode()
    return message({**headers, ":message-type": "exception"}, body)


def _header(name: str, value: str) -> bytes:
    key, content = name.encode(), value.encode()
    return struct.pack(">B", len(key)) + key + struct.pack(">BH", _STRING, len(content)) + content
