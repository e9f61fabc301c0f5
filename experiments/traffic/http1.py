"""One HTTP/1.1 connection of a client: a request out, an answer in, nothing sent twice.

Framing is that of RFC 9112: chunks, a stated length, or the end of the connection. What could be
read in two ways is refused.
"""

import re
import time
from functools import lru_cache
from typing import NamedTuple

from experiments.traffic.sockets import Stream

_JOINED_UP_TO = 65_536
_LONGEST_HEAD = 65_536
_STATUS_LINE = re.compile(r"HTTP/1\.([01]) ([1-9]\d\d)(?: [^\r\n]*)?", re.ASCII)
_FIELD = re.compile(r"([!#-'*+.0-9A-Z^-z|~-]+):[ \t]*([^\r\n\0]*?)[ \t]*")
_LENGTH = re.compile(r"[0-9]{1,15}")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?")


class Answer(NamedTuple):
    """One answer, its headers by their names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class NoAnswerError(ConnectionError):
    """The connection ended before there was an answer."""


class MalformedError(ConnectionError):
    """What came is no HTTP/1.1 answer."""


class CutShortError(EOFError):
    """The connection ended within an answer's body."""


class Connection:
    """A connection that carries one request at a time."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.is_reusable = True
        self.first_byte_ns: int | None = None
        """When the last answer began, on `time.perf_counter_ns()`; `None`: not yet."""
        self._left = b""

    def exchange(self, head: bytes, body: bytes) -> Answer:
        """Send one request and read its answer.

        Raises:
            NoAnswerError: nothing came; the request may have been served all the same.
            CutShortError: the answer's body ended early.
            MalformedError: what came is not an answer.
            OSError: the connection broke or nothing happened for too long.
        """
        self.first_byte_ns = None
        try:
            if len(body) <= _JOINED_UP_TO:
                self.stream.send(head + body)
            else:
                self.stream.send(head)
                self.stream.send(body)
        except (BrokenPipeError, ConnectionResetError):
            self.is_reusable = False  # a server may answer, and close, before it has read all
        status, headers = self._read_head()
        answer = Answer(status, headers, self._read_body(status, headers))
        self.stream.rest()
        if self._left:
            self.is_reusable = False
        return answer

    def _read_head(self) -> tuple[int, dict[str, str]]:
        data, status = b"", 100
        while status < 200:  # 100 Continue and its like announce the answer
            while (end := data.find(b"\r\n\r\n")) < 0:
                if len(data) > _LONGEST_HEAD:
                    raise MalformedError("the answer's head is too long")
                more = self.stream.receive()
                if not more:
                    raise NoAnswerError("the connection was closed without an answer")
                self.first_byte_ns = self.first_byte_ns or time.perf_counter_ns()
                data += more
            first, *lines = data[:end].decode("latin-1").split("\r\n")
            data = self._left = data[end + 4 :]
            status, is_1_1 = _status(first)
        headers: dict[str, str] = {}
        for line in lines:
            name, value = _field(line)
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        if not is_1_1 or "close" in headers.get("connection", "").lower():
            self.is_reusable = False
        return status, headers

    def _read_body(self, status: int, headers: dict[str, str]) -> bytes:
        coding, length = headers.get("transfer-encoding"), headers.get("content-length")
        if status in (204, 304):
            return b""
        if coding is not None:
            if coding.lower() != "chunked":
                raise MalformedError(f"the answer's transfer encoding is {coding}")
            return self._read_chunks()
        if length is None:
            self.is_reusable = False
            return self._take(None)
        if not _LENGTH.fullmatch(length):
            raise MalformedError(f"the answer's length is {length}")
        try:
            return self._take(int(length))
        except CutShortError:
            if status < 300:
                raise
            # Of a failure, what came is its message, as it is to botocore.
            self.is_reusable = False
            left, self._left = self._left, b""
            return left

    def _read_chunks(self) -> bytes:
        chunks = []
        while True:
            match = _CHUNK_SIZE.fullmatch(self._line())
            if match is None:
                raise MalformedError("a chunk of the answer has no size")
            size = int(match[1], 16)
            if not size:
                break
            chunks.append(self._take(size))
            if self._line():
                raise MalformedError("a chunk of the answer is not of its size")
        while self._line():
            pass
        return b"".join(chunks)

    def _line(self) -> bytes:
        while (end := self._left.find(b"\r\n")) < 0:
            if len(self._left) > _LONGEST_HEAD:
                raise MalformedError("a line of the answer is too long")
            more = self.stream.receive()
            if not more:
                raise CutShortError("the connection was closed within the body")
            self._left += more
        line, self._left = self._left[:end], self._left[end + 2 :]
        return line

    def _take(self, size: int | None) -> bytes:
        """Take so many bytes, or with `None` all until the connection ends."""
        parts, got = [self._left], len(self._left)
        while size is None or got < size:
            part = self.stream.receive()
            if not part and size is None:
                break
            if not part:
                self._left = b"".join(parts)
                raise CutShortError(f"{got} of {size} bytes of the body came")
            parts.append(part)
            got += len(part)
        whole = parts[0] if len(parts) == 1 else b"".join(parts)
        if size is None or got == size:
            self._left = b""
            return whole
        self._left = whole[size:]
        return whole[:size]


# Most lines of an answer are those of the one before.


@lru_cache(maxsize=64)
def _status(line: str) -> tuple[int, bool]:
    match = _STATUS_LINE.fullmatch(line)
    if match is None:
        raise MalformedError(f"the answer begins with {line[:80]!r}")
    return int(match[2]), match[1] == "1"


@lru_cache(maxsize=1024)
def _field(line: str) -> tuple[str, str]:
    match = _FIELD.fullmatch(line)
    if match is None:
        raise MalformedError(f"a header of the answer is {line[:80]!r}")
    return match[1].lower(), match[2]
