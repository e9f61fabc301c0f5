"""Streamed answers: both transports time the same parts, and end in the same outcome."""

import socket
import struct
import textwrap
import time
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import EventStreamError

from experiments.invocation import STREAM
from experiments.local import eventstream, process
from experiments.sagemaker import invoke
from experiments.sagemaker.reply import Reply
from tests.experiments.traffic.conftest import Scripted
from tests.experiments.traffic.peer import saying, serving
from tests.experiments.traffic.transports import CALL, Both, both_at, fast_at

pytestmark = [
    pytest.mark.usefixtures("aws_environment"),
    pytest.mark.filterwarnings(
        "ignore:unclosed <s:ResourceWarning",
        "ignore:Exception ignored in. <s:pytest.PytestUnraisableExceptionWarning",
    ),
]
FILE = """
    name = "digits"
    model_timeout = "200ms"
    stream_timeout = "100ms"
    [variants.good]
    simulated = { constant = "60ms", chunks = 3 }
    [variants.late]
    weight = 0
    simulated = { constant = "400ms" }
    [variants.slow]
    weight = 0
    simulated = { constant = "190ms", chunks = 19 }
    """
FAULTS = {
    "model-stream-error": 'kind = "model_stream_error"',
    "internal-stream-failure": 'kind = "internal_stream_failure"',
    "cut": 'kind = "cut_body"',
    "gone": 'kind = "reset"',
    "odd": 'kind = "wrong_bytes"',
    "unnamed": 'kind = "no_variant"',
    "throttled": 'kind = "throttle"\nabove = 0.001',
    "failing": 'kind = "model_error"\nstatus = 503',
    "not-ready": 'kind = "service_error"\nstatus = 429',
    "internal": 'kind = "service_error"\nstatus = 500',
    "unavailable": 'kind = "service_error"\nstatus = 503',
    "dependency": 'kind = "service_error"\nstatus = 530',
    "dead": 'kind = "dead_instance"\ninstance = 1',
}
CONTRACT: dict[str, tuple[str, int | None, int | None]] = {
    "good": ("ok", 200, 3),
    "unnamed": ("ok", 200, 3),
    "late": ("model_timeout", 424, None),
    "slow": ("stream_error", 200, None),
    "model-stream-error": ("stream_error", 200, 1),
    "internal-stream-failure": ("stream_error", 200, 1),
    "cut": ("connection", 200, None),
    "gone": ("connection", None, None),
    "odd": ("connection", None, None),
    "throttled": ("throttled", 400, None),
    "failing": ("model_error", 424, None),
    "not-ready": ("model_not_ready", 429, None),
    "internal": ("internal", 500, None),
    "unavailable": ("unavailable", 503, None),
    "dependency": ("dependency", 530, None),
    "dead": ("model_error", 424, None),
    "no-such-variant": ("validation", 400, None),
}
"""Of each variant the outcome, the status and, where it does not hang on timing, the parts."""
HIDDEN = {
    "sent_ns", "ended_ns", "connect_ns", "new_connection", "answer", "exception",
    "request_id",
}  # fmt: skip


@pytest.fixture(scope="module")
def transports(
    aws_environment: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Both]:
    """Through boto3 and fast, to an endpoint with a variant for each way a stream can end."""
    text = textwrap.dedent(FILE)
    for variant, fault in FAULTS.items():
        simulated = 'weight = 0\nsimulated = { constant = "3ms", chunks = 3 }'
        text += f'[variants.{variant}]\n{simulated}\n[[faults]]\nvariant = "{variant}"\n{fault}\n'
    file = tmp_path_factory.mktemp("streams") / "digits.endpoint.toml"
    file.write_text(text)
    running = process.start(file)
    aws_environment.setenv("AWS_ACCESS_KEY_ID", running.access_key_id)
    aws_environment.setenv("AWS_SECRET_ACCESS_KEY", running.secret_access_key)
    yield both_at(running.url)
    running.stop()


def told(reply: Reply) -> dict[str, Any]:
    hidden = set(HIDDEN)
    reply = reply._replace(first_byte_ns=reply.first_byte_ns and 1)  # whether there was one
    if reply.outcome == "connection":  # its words are of whoever reads from it
        hidden |= {"error"}
    if reply.longest_gap_ns is not None:
        hidden |= {"longest_gap_ns"}
    return {key: value for key, value in reply._asdict().items() if key not in hidden}


@pytest.mark.parametrize("variant", CONTRACT)
def test_a_stream_comes_to_the_same_on_both_transports(transports: Both, variant: str) -> None:
    outcome, status, parts = CONTRACT[variant]
    for transport in transports if variant == "throttled" else []:
        transport(CALL | {"TargetVariant": variant}, STREAM)  # what a quiet time lets through
    theirs, ours = (call(CALL | {"TargetVariant": variant}, STREAM) for call in transports)
    assert (ours.outcome, ours.http_status) == (outcome, status), ours
    if variant in ("slow", "cut"):  # how far it came is its own
        assert min(len(each.parts or ()) for each in (ours, theirs)) >= 1
        theirs = theirs._replace(parts=ours.parts)
    assert told(ours) == told(theirs)
    assert parts is None or len(ours.parts or ()) == parts
    assert (ours.body is None) == (outcome != "ok")
    if outcome == "ok":
        assert ours.body == b"".join(ours.parts or ())
        assert ours.variant == (None if variant == "unnamed" else variant)
    for each in (theirs, ours):
        assert type(each.exception).__name__ == type(ours.exception).__name__ or (
            outcome == "connection"
        )


def test_parts_are_stamped_as_they_come(transports: Both) -> None:
    for transport in transports:
        transport(CALL, STREAM)
        reply = transport(CALL, STREAM)
        assert not reply.new_connection
        assert reply.sent_ns is not None
        assert reply.first_byte_ns is not None
        first_ms = (reply.first_byte_ns - reply.sent_ns) / 1e6
        whole_ms = (reply.ended_ns - reply.sent_ns) / 1e6
        assert 19 < first_ms < whole_ms - 25
        assert whole_ms > 55
        assert 15 < (reply.longest_gap_ns or 0) / 1e6 < whole_ms - first_ms


def test_a_locustfile_has_the_events_that_came_and_the_error_after_them(transports: Both) -> None:
    for transport in transports:
        good = transport(CALL, STREAM)
        broken = transport(CALL | {"TargetVariant": "model-stream-error"}, STREAM)
        refused = transport(CALL | {"TargetVariant": "internal"}, STREAM)
        answer = good.as_boto3()
        assert answer["ContentType"] == "application/json"
        assert answer["InvokedProductionVariant"] == "good"
        assert list(answer["Body"]) == [{"PayloadPart": {"Bytes": p}} for p in good.parts or ()]
        events = broken.as_boto3()["Body"]
        assert next(events)["PayloadPart"]["Bytes"]
        with pytest.raises(EventStreamError, match="ModelStreamError"):
            next(events)
        with pytest.raises(Exception, match="InternalFailure"):
            refused.as_boto3()


def chunked(*pieces: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.amazon.eventstream\r\n"
    framed = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return head + b"Transfer-Encoding: chunked\r\n\r\n" + framed + end


def test_parts_need_not_fit_chunks_and_their_checksums_are_checked(scripted: Scripted) -> None:
    whole = eventstream.part(b"one ") + eventstream.part(b"two")
    spoilt = whole[:-3] + b"\0\0\0"
    cases = {
        "ok": chunked(whole[:5], whole[5:30], whole[30:-1], whole[-1:]),
        "connection": chunked(spoilt),
    }
    for outcome, raw in cases.items():
        for transport in scripted.says(raw):
            reply = transport(CALL, STREAM)
            assert (reply.outcome, reply.http_status) == (outcome, 200), reply.error
            assert reply.body == (b"one two" if outcome == "ok" else None)
    for transport in scripted.says(chunked(whole)):  # several in one piece came at once
        assert transport(CALL, STREAM).longest_gap_ns is not None


def message(headers: bytes, payload: bytes = b"") -> bytes:
    lengths = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    begun = lengths + struct.pack(">I", zlib.crc32(lengths)) + headers + payload
    return begun + struct.pack(">I", zlib.crc32(begun))


def header(name: bytes, value: bytes) -> bytes:
    return bytes([len(name)]) + name + b"\x07" + struct.pack(">H", len(value)) + value


_KIND = header(b":exception-type", b"ModelStreamError")


@pytest.mark.parametrize(
    ("outcome", "second"),
    [
        ("other", message(header(b"\xff\xfe", b"x"))),
        ("other", message(b"\x01a\x63")),
        ("other", message(header(b":message-type", b"exception") + _KIND, b"\xff{")),
        ("connection", eventstream.part(b"two")[:10]),
        ("connection", eventstream.part(b"two")[:-1]),
    ],
    ids=["header name", "header type", "no UTF-8", "cut in its lengths", "cut at its end"],
)
def test_a_malformed_event_is_a_failure_after_the_parts_before_it(
    outcome: str, second: bytes, scripted: Scripted
) -> None:
    transports = scripted.says(chunked(eventstream.part(b"one"), second))
    theirs, ours = (transport(CALL, STREAM) for transport in transports)
    assert (ours.outcome, ours.http_status, ours.parts) == (outcome, 200, (b"one",))
    assert told(ours) == told(theirs)


@pytest.mark.parametrize("framed", ["chunked", "length", "closed"])
def test_a_part_is_stamped_when_it_came_however_the_answer_is_framed(framed: str) -> None:
    one, two = eventstream.part(b"one"), eventstream.part(b"two")
    raw = chunked(one + two)
    if framed != "chunked":
        said = f"Content-Length: {len(one + two)}" if framed == "length" else "Connection: close"
        raw = f"HTTP/1.1 200 OK\r\n{said}\r\n\r\n".encode() + one + two
    at = raw.index(one) + len(one)

    def script(connection: socket.socket, request: bytes) -> bool:
        connection.sendall(raw[:at])
        time.sleep(0.1)
        connection.sendall(raw[at:])
        return framed != "closed"

    with serving(script) as peer:
        reply = fast_at(peer.url)(CALL, STREAM)
    assert reply.outcome == "ok"
    assert (reply.longest_gap_ns or 0) > 90e6
    assert reply.ended_ns - (reply.first_byte_ns or 0) > 90e6


def test_a_stream_that_stops_is_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invoke, "READ_TIMEOUT_S", 0.2)
    raw = chunked(eventstream.part(b"one"), end=b"")
    with serving(saying(raw)) as peer:
        theirs, ours = (transport(CALL, STREAM) for transport in both_at(peer.url))
    assert (ours.outcome, ours.parts) == (theirs.outcome, theirs.parts) == ("timeout", (b"one",))
    assert ours.first_byte_ns is not None
    with serving(saying(raw[:20])) as peer:
        theirs, ours = (transport(CALL, STREAM) for transport in both_at(peer.url))
    assert (ours.outcome, ours.first_byte_ns) == ("timeout", None)
    assert told(ours) == told(theirs)


def test_a_stream_that_is_shorter_than_it_says_is_a_failure_of_the_connection(
    scripted: Scripted,
) -> None:
    one = eventstream.part(b"one")
    raw = f"HTTP/1.1 200 OK\r\nContent-Length: {2 * len(one)}\r\n\r\n".encode() + one
    theirs, ours = (transport(CALL, STREAM) for transport in scripted.says(raw, close=True))
    assert (ours.outcome, ours.http_status, ours.parts) == ("connection", 200, (b"one",))
    assert told(ours) == told(theirs)


def test_an_empty_stream_has_no_first_byte(scripted: Scripted) -> None:
    for transport in scripted.says(chunked()):
        reply = transport(CALL, STREAM)
        assert (reply.outcome, reply.body, reply.parts) == ("ok", b"", ())
        assert reply.first_byte_ns is None
