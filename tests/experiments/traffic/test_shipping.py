"""Streams that travel: whatever a link does to their parts, the copy becomes the stream."""

import os
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from experiments.traffic import shipping
from experiments.traffic.clocks import Offset, best, offset
from experiments.traffic.messages import Part, Pong
from experiments.traffic.shipping import Copies, Shipper


def part(name: str, at: int, content: bytes) -> Part:
    return Part(run_id="a", begun=0, name=name, at=at, content=content)


class Stream:
    """A file that grows, as a recorder's does."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        path.write_bytes(b"")

    def grow(self, content: bytes) -> None:
        with self.path.open("ab") as file:
            file.write(content)
        self.size += len(content)


@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(fates=st.lists(st.sampled_from(["part", "ack", "lose", "twice"]), max_size=60))
def test_parts_that_are_lost_or_doubled_leave_the_copy_whole(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, fates: list[str]
) -> None:
    monkeypatch.setattr(shipping, "PART", 16)
    monkeypatch.setattr(shipping, "UNCONFIRMED", 64)
    monkeypatch.setattr(shipping, "RESEND_S", -1.0)  # whatever is under way seems lost
    spool, run = tmp_path_factory.mktemp("spool"), tmp_path_factory.mktemp("run")
    stream: Any = Stream(spool / "requests-3.arrows")
    parts: deque[Part] = deque()
    acks: deque[dict[str, int]] = deque()
    copies = Copies(run)
    shipper = Shipper([stream], lambda *of: parts.append(part(*of)))
    for number, fate in enumerate([*fates, *["part", "ack"] * 300]):
        if number < 30:
            stream.grow(os.urandom(number))
        if not parts:
            shipper.ship()
        if parts and fate != "ack":
            arriving = parts.popleft()
            if fate != "lose":
                acks.append(copies.add(3, arriving))
            if fate == "twice":
                acks.append(copies.add(3, arriving))
        elif acks:
            shipper.confirm(acks.popleft())
        if number > 30 and not shipper.unconfirmed:
            break
    assert shipper.unconfirmed == 0
    assert (run / "requests-3.arrows").read_bytes() == stream.path.read_bytes()
    copies.close()
    shipper.close()


@pytest.mark.parametrize("name", ["requests-1.arrows", "../requests-3.arrows", "begun-3", "x"])
def test_a_worker_writes_its_own_streams_only(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="no stream of its"):
        Copies(tmp_path).add(3, part(name, 0, b"x"))
    assert not any(tmp_path.iterdir())


def test_the_quickest_answer_tells_how_far_clocks_are_apart() -> None:
    # Asked at 1000 and answered, by a clock 5000 ahead, 300 later; back 100 after that.
    slow = Pong(run_id="a", asked_ns=1000, asked_wall_ns=7000, at_ns=6300, at_wall_ns=7310)
    assert offset(slow, 1400) == Offset(ahead_ns=5100, wall_ns=110, round_trip_ns=400)
    quick = offset(replace(slow, at_ns=6050, at_wall_ns=7060), 1100)
    assert quick == Offset(ahead_ns=5000, wall_ns=10, round_trip_ns=100)
    assert best([offset(slow, 1400), quick]) == quick
