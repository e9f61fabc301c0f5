"""Answers are read by their framing, however they arrive, and what is no answer is refused."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import gevent
import gevent.socket
import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from experiments.traffic.http1 import (
    Connection,
    CutShortError,
    MalformedError,
    NoAnswerError,
)
from experiments.traffic.sockets import Stream


@contextmanager
def connected(timeout_s: float = 30) -> Iterator[tuple[Connection, socket.socket]]:
    ours, theirs = socket.socketpair()
    # A socket pair has no TCP options to set.
    with pytest.MonkeyPatch.context() as patch, theirs:
        patch.setattr("experiments.traffic.sockets.socket.TCP_NODELAY", socket.SO_KEEPALIVE)
        patch.setattr("experiments.traffic.sockets.socket.IPPROTO_TCP", socket.SOL_SOCKET)
        connection = Connection(Stream(ours, timeout_s))
        try:
            yield connection, theirs
        finally:
            connection.stream.close()


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


def exchange(connection: Connection, body: bytes = b"", *, in_pieces: bool = False) -> Answer:
    status, headers = connection.begin(b"POST / HTTP/1.1\r\n\r\n", body)
    if in_pieces:
        return Answer(status, headers, b"".join(connection.pieces(status, headers)))
    return Answer(status, headers, connection.read(status, headers))


def read(
    raw: bytes, *, ends: bool = True, cuts: tuple[int, ...] = (), in_pieces: bool = False
) -> tuple[Answer, bool]:
    """Read one answer that arrives in pieces; say also whether the connection can be kept."""
    with connected() as (connection, theirs):

        def write() -> None:
            for start, end in zip((0, *cuts), (*cuts, len(raw)), strict=True):
                theirs.sendall(raw[start:end])
                gevent.sleep(0.001)
            if ends:
                theirs.shutdown(socket.SHUT_WR)

        writing = gevent.spawn(write)
        answer = exchange(connection, in_pieces=in_pieces)
        writing.get(timeout=30)
        return answer, connection.is_reusable


HEAD = b"HTTP/1.1 200 OK\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: Chunked\r\n"


@pytest.mark.parametrize(
    ("raw", "status", "body", "kept"),
    [
        (HEAD + b"Content-Length: 3\r\n\r\nabc", 200, b"abc", True),
        (HEAD + b"content-length:\t3 \r\n\r\nabc", 200, b"abc", True),
        (HEAD + b"Content-Length: 0\r\n\r\n", 200, b"", True),
        (HEAD + b"Content-Length: 3\r\nConnection: Close\r\n\r\nabc", 200, b"abc", False),
        (HEAD + b"Content-Length: 3\r\n\r\nabcd", 200, b"abc", False),
        (HEAD + b"\r\nto the end", 200, b"to the end", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na", 200, b"a", False),
        (b"HTTP/1.1 503\r\nContent-Length: 1\r\n\r\na", 503, b"a", True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"", True),
        (CONTINUE + HEAD + b"Content-Length: 1\r\n\r\na", 200, b"a", True),
        (CHUNKED + b"\r\n3\r\nabc\r\n0\r\n\r\n", 200, b"abc", True),
        (CHUNKED + b"\r\nA;x=y\r\n0123456789\r\n0\r\nT: t\r\n\r\n", 200, b"0123456789", True),
        (CHUNKED + b"Content-Length: 1\r\n\r\n0\r\n\r\n", 200, b"", True),
        # What came of a failure is its message.
        (b"HTTP/1.1 500 X\r\nContent-Length: 9\r\n\r\nabc", 500, b"abc", False),
    ],
)  # fmt: skip
def test_an_answer_ends_where_its_framing_says(
    raw: bytes, status: int, body: bytes, kept: bool
) -> None:
    answer, is_reusable = read(raw)
    assert (answer.status, answer.body, is_reusable) == (status, body, kept)


def test_announcements_without_end_are_refused() -> None:
    assert read(CONTINUE * 16 + HEAD + b"Content-Length: 1\r\n\r\na")[0].body == b"a"
    with pytest.raises(MalformedError, match="17 announcements came, and no answer"):
        read(CONTINUE * 17, ends=False)


def test_headers_are_found_by_lower_case_names_and_joined_where_they_repeat() -> None:
    answer, _ = read(HEAD + b"X-A:  1 \r\nx-a: \xe9\r\nEmpty:\r\nContent-Length: 0\r\n\r\n")
    assert answer.headers == {"x-a": "1, \xe9", "empty": "", "content-length": "0"}


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (b"", NoAnswerError),
        (b"HTTP/1.1 200 OK\r\nContent", NoAnswerError),
        (CONTINUE, NoAnswerError),
        (HEAD + b"Content-Length: 3\r\n\r\nab", CutShortError),
        (CHUNKED + b"\r\n3\r\nab", CutShortError),
        (CHUNKED + b"\r\n3\r\nabc\r\n", CutShortError),
        (CHUNKED + b"\r\n3\r\nabc\r\n0\r\n", CutShortError),
        (b"HTTP/2 200\r\n\r\n", MalformedError),
        (b"HTTP/1.1 2000 OK\r\n\r\n", MalformedError),
        (b"SSH-2.0-OpenSSH\r\n\r\n", MalformedError),
        (HEAD + b"no colon\r\n\r\n", MalformedError),
        (HEAD + b"Name : value\r\n\r\n", MalformedError),
        (HEAD + b"A: 1\r\n folded\r\n\r\n", MalformedError),
        (HEAD + b"A: 1\nB: 2\r\n\r\n", MalformedError),
        (HEAD + b"Content-Length: -1\r\n\r\n", MalformedError),
        (HEAD + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n", MalformedError),
        (HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", MalformedError),
        (HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", MalformedError),
        (CHUNKED + b"\r\n-1\r\n", MalformedError),
        (CHUNKED + b"\r\n3\r\nabcd\r\n0\r\n\r\n", MalformedError),
        (HEAD + b"A: " + b"a" * 200_000, MalformedError),
    ],
)
def test_what_is_no_whole_answer_is_refused(raw: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        read(raw)


@st.composite
def answers(draw: st.DrawFn) -> tuple[bytes, bytes, tuple[int, ...]]:
    """An answer on the wire, its body, and where the wire cuts it."""
    body = draw(st.binary(max_size=300))
    if draw(st.booleans()):
        raw = HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body
    else:
        ends = sorted(draw(st.sets(st.integers(1, max(len(body) - 1, 1)), max_size=5)))
        pieces = [body[a:b] for a, b in zip([0, *ends], [*ends, len(body)], strict=True)]
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in pieces if p)
        raw = CHUNKED + b"\r\n" + chunks + b"0\r\n\r\n"
    if draw(st.booleans()):
        raw = CONTINUE + raw
    cuts = draw(st.sets(st.integers(1, len(raw) - 1), max_size=8))
    return raw, body, tuple(sorted(cuts))


@settings(deadline=None)
@given(answers(), st.booleans())
def test_how_an_answer_is_cut_on_its_way_does_not_matter(
    case: tuple[bytes, bytes, tuple[int, ...]], in_pieces: bool
) -> None:
    raw, body, cuts = case
    answer, is_reusable = read(raw, ends=False, cuts=cuts, in_pieces=in_pieces)
    assert (answer.body, is_reusable) == (body, True)


def test_an_answer_begins_with_what_announces_it() -> None:
    with connected() as (connection, theirs):
        theirs.sendall(CONTINUE)
        gevent.spawn_later(0.2, theirs.sendall, HEAD + b"Content-Length: 1\r\n\r\na")
        answer = exchange(connection)
        assert (answer.status, answer.body) == (200, b"a")
        assert time.perf_counter_ns() - (connection.first_byte_ns or 0) > 100_000_000


@settings(deadline=None)
@given(st.binary(max_size=200).filter(lambda raw: not raw.startswith(b"HTTP/1.")))
def test_no_bytes_do_more_than_be_refused(raw: bytes) -> None:
    with pytest.raises((NoAnswerError, MalformedError)):
        read(raw)


def test_a_peer_that_neither_reads_nor_writes_is_given_up() -> None:
    with connected(timeout_s=0.2) as (connection, _):
        began = time.perf_counter()
        with pytest.raises(TimeoutError):
            exchange(connection, b"x" * 50_000_000)
        assert 0.1 < time.perf_counter() - began < 30


def test_the_time_limit_counts_from_the_last_byte() -> None:
    with connected(timeout_s=1.5) as (connection, theirs):

        def trickle() -> None:
            raw = HEAD + b"Content-Length: 0\r\n\r\n"
            for start in range(0, len(raw), 6):
                theirs.send(raw[start : start + 6])
                gevent.sleep(0.3)

        gevent.spawn(trickle)
        began = time.perf_counter()
        assert exchange(connection).status == 200
        assert time.perf_counter() - began > 1.5
        gevent.sleep(1.6)  # and not while nothing is asked
        theirs.send(HEAD + b"Content-Length: 0\r\n\r\n")
        assert exchange(connection).status == 200


@pytest.mark.parametrize("framing", ["", "Content-Length: 99999999999", "chunked"])
def test_an_answer_without_end_is_given_up(framing: str) -> None:
    is_chunked = framing == "chunked"
    piece = b"100000\r\n" + bytes(2**20) + b"\r\n" if is_chunked else bytes(2**20)
    head = CHUNKED if is_chunked else HEAD + (f"{framing}\r\n" if framing else "").encode()
    with connected() as (connection, theirs):
        theirs.setblocking(False)
        stream = iter([head + b"\r\n", *[piece] * 80])

        def write() -> None:
            for part in stream:
                left = memoryview(part)
                while left:
                    gevent.socket.wait_write(theirs.fileno())
                    left = left[theirs.send(left) :]

        writing = gevent.spawn(write)
        with pytest.raises(MalformedError, match="longer than 67,108,864 bytes"):
            exchange(connection)
        writing.kill()
