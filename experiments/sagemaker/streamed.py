"""A streamed answer as it comes: its parts, when the first came, and the longest wait for one more.

Both transports hand boto3's answer over, whose Body is read here, so that what streams is timed and
what breaks ends in the same way.
"""

import time
from collections.abc import Iterator, Mapping
from typing import Any

from botocore.exceptions import IncompleteReadError

from experiments.sagemaker.reply import Reply, of_answer

_SHORTEST_MESSAGE = 16
"""In bytes: lengths, their checksum, and that of the whole."""


class Streamed:
    """One answer of InvokeEndpointWithResponseStream, as far as it has come.

    Times are `time.perf_counter_ns()`. A gap lies between two parts; one part alone has none.
    """

    def __init__(self) -> None:
        self._answer: Mapping[str, Any] | None = None
        self._parts: list[bytes] = []
        self._first_ns: int | None = None
        self._longest_gap_ns: int | None = None

    def read(self, answer: Mapping[str, Any]) -> None:
        """Read the Body of boto3's answer, to its end or its error, and time each part."""
        self._answer = answer
        answer["Body"]._raw_stream = _WholeMessages(answer["Body"]._raw_stream)
        last_ns = None
        try:
            for event in answer["Body"]:
                now_ns = time.perf_counter_ns()
                part = event.get("PayloadPart")
                if part is None:
                    continue
                self._parts.append(part.get("Bytes", b""))
                if last_ns is None:
                    self._first_ns = now_ns
                else:
                    self._longest_gap_ns = max(self._longest_gap_ns or 0, now_ns - last_ns)
                last_ns = now_ns
        except BaseException:
            answer["Body"].close()  # or its connection would hold the rest of it
            raise

    def told(self, reply: Reply) -> Reply:
        """Add to a call's reply what had come when it ended; one that failed at once stays."""
        answer = self._answer
        if answer is None:
            return reply
        return reply._replace(
            first_byte_ns=self._first_ns,
            body=b"".join(self._parts) if reply.outcome == "ok" else None,
            parts=tuple(self._parts),
            longest_gap_ns=self._longest_gap_ns,
            **of_answer(answer),
        )


class _WholeMessages:
    """What an EventStream reads from, which may not end within a message.

    A message begins with its length. One cut short under a proper end of HTTP is a broken
    connection behind whatever passed it on, and botocore alone takes it for the stream's end.
    """

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self.close = raw.close

    def stream(self) -> Iterator[bytes]:
        left, size = bytearray(), 0
        for piece in self._raw.stream():
            yield piece  # first, so that botocore has refused what is no message
            left += piece
            while (size := max(int.from_bytes(left[:4]), _SHORTEST_MESSAGE)) <= len(left):
                del left[:size]
        if left:
            raise IncompleteReadError(actual_bytes=len(left), expected_bytes=size)
