"""One HTTP/1.1 connection of a client: a request out, an answer in, nothing sent twice.

Framing is that of RFC 9112: chunks, a stated length, or the end of the connection. What could be
read in two ways is refused.
"""

import re
import time
from collections.abc import Generator
from functools import lru_cache

from experiments.traffic.sockets import Stream

_JOINED_UP_TO = 65_536
_LONGEST_HEAD = 65_536
_LONGEST_ANSWER = 67_108_864
"""More than any endpoint gives, which is 25 MiB; one without end must not take all memory."""
_MOST_ANNOUNCED = 16
_STATUS_LINE = re.compile(r"HTTP/1\.([01]) ([1-9]\d\d)(?: [^\r\n]*)?", re.ASCII)
_FIELD = re.compile(r"([!#-'*+.0-9A-Z^-z|~-]+):[ \t]*([^\r\n\0]*?)[ \t]*")
_LENGTH = re.compile(r"[0-9]{1,15}")
_WITHOUT_BODY = (204, 304)
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?")


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
        self._received = 0

    def begin(self, head: bytes, body: bytes) -> tuple[int, dict[str, str]]:
        """Send one request and read the head of its answer; `read` or `pieces` gives the body.

        The names of its headers are in lower case.

        Raises:
            NoAnswerError: nothing came; the request may have been served all the same.
            CutShortError: from `read` and `pieces`: the answer's body ended early.
            MalformedError: what came is not an answer.
            OSError: the connection broke or nothing happened for too long.
        """
        self.first_byte_ns, self._received = None, 0
        try:
            if len(body) <= _JOINED_UP_TO:
                self.stream.send(head + body)
            else:
                self.stream.send(head)
                self.stream.send(body)
        except (BrokenPipeError, ConnectionResetError):
            self.is_reusable = False  # a server may answer, and close, before it has read all
        return self._read_head()

    def read(self, status: int, headers: dict[str, str]) -> bytes:
        """Read the body of the answer that has begun, to its end."""
        if not _is_chunked(headers) and self._length(status, headers) == len(self._left):
            body, self._left = self._left, b""  # it came with its head, as most do
            self.stream.rest()
            return body
        parts: list[bytes] = []
        try:
            parts.extend(self.pieces(status, headers))
        except CutShortError:
            # Of a failure, what came is its message, as it is to botocore.
            if status < 300 or _is_chunked(headers):
                raise
            self.is_reusable = False
        return b"".join(parts)

    def pieces(self, status: int, headers: dict[str, str]) -> Generator[bytes]:
        """Give the body of the answer that has begun as it comes."""
        if _is_chunked(headers) and status not in _WITHOUT_BODY:
            while size := self._chunk_size():
                yield from self._coming(size)
                if self._line():
                    raise MalformedError("a chunk of the answer is not of its size")
            while self._line():  # which are the fields of its trailer
                pass
        else:
            yield from self._coming(self._length(status, headers))
        self.stream.rest()
        if self._left:
            self.is_reusable = False

    def _coming(self, size: int | None) -> Generator[bytes]:
        """Give so many bytes as they come, or with `None` all until the connection ends."""
        got = 0
        while size is None or got < size:
            self._left = self._left or self._receive()
            if not self._left and size is None:
                return
            if not self._left:
                raise CutShortError(f"{got} of {size} bytes of the body came")
            piece = self._left if size is None else self._left[: size - got]
            self._left = self._left[len(piece) :]
            got += len(piece)
            yield piece

    def _read_head(self) -> tuple[int, dict[str, str]]:
        data, status, announced = b"", 100, 0
        while status < 200:  # 100 Continue and its like announce the answer
            if announced > _MOST_ANNOUNCED:
                raise MalformedError(f"{announced} announcements came, and no answer")
            announced += 1
            while (end := data.find(b"\r\n\r\n")) < 0:
                if len(data) > _LONGEST_HEAD:
                    raise MalformedError("the answer's head is too long")
                more = self._receive()
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

    def _length(self, status: int, headers: dict[str, str]) -> int | None:
        """Give the length of a body without chunks; `None`: the connection's end is its own."""
        coding, length = headers.get("transfer-encoding"), headers.get("content-length")
        if status in _WITHOUT_BODY:
            return 0
        if coding is not None:
            raise MalformedError(f"the answer's transfer encoding is {coding}")
        if length is None:
            self.is_reusable = False
            return None
        if not _LENGTH.fullmatch(length):
            raise MalformedError(f"the answer's length is {length}")
        return int(length)

    def _chunk_size(self) -> int:
        match = _CHUNK_SIZE.fullmatch(self._line())
        if match is None:
            raise MalformedError("a chunk of the answer has no size")
        return int(match[1], 16)

    def _receive(self) -> bytes:
        data = self.stream.receive()
        self._received += len(data)
        if self._received > _LONGEST_ANSWER:
            raise MalformedError(f"the answer is longer than {_LONGEST_ANSWER:,} bytes")
        return data

    def _line(self) -> bytes:
        while (end := self._left.find(b"\r\n")) < 0:
            if len(self._left) > _LONGEST_HEAD:
                raise MalformedError("a line of the answer is too long")
            more = self._receive()
            if not more:
                raise CutShortError("the connection was closed within the body")
            self._left += more
        line, self._left = self._left[:end], self._left[end + 2 :]
        return line


def _is_chunked(headers: dict[str, str]) -> bool:
    return headers.get("transfer-encoding", "").lower() == "chunked"


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
