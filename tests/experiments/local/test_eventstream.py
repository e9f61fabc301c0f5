"""botocore's decoder is the oracle of the event-stream encoding."""

from hypothesis import given
from hypothesis import strategies as st

from experiments.local import eventstream

NAME = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40)
HEADERS = st.dictionaries(NAME, st.text(max_size=60), max_size=5)


@given(st.lists(st.tuples(HEADERS, st.binary(max_size=200)), max_size=4), st.integers(1, 50))
def test_botocore_reads_what_is_written(
    messages: list[tuple[dict[str, str], bytes]], size: int
) -> None:
    from botocore.eventstream import EventStreamBuffer

    sent = b"".join(eventstream.message(headers, payload) for headers, payload in messages)
    buffer = EventStreamBuffer()
    read = []
    for start in range(0, len(sent), size):
        buffer.add_data(sent[start : start + size])
        read += [(message.headers, message.payload) for message in buffer]
    assert read == messages


def test_a_message_by_hand() -> None:
    # The empty message of the specification: no headers, no payload, and its two checksums.
    empty = bytes.fromhex("000000100000000005c248eb7d98c8ff")
    assert eventstream.message({}, b"") == empty
