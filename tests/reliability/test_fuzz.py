"""A slice of benchmarks/fuzz.py: parsers refuse what they do not understand, and do no more."""

import time
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, seed, settings

from benchmarks import fuzz
from benchmarks.fuzz import TARGETS, Hangs, memory_bounded, mutated, read


@pytest.mark.parametrize("name", TARGETS)
def test_no_input_does_more_than_be_refused(name: str) -> None:
    @seed(20_260_101)
    @settings(
        max_examples=400, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(mutated(TARGETS[name]))
    def slice_of(data: bytes) -> None:
        read(TARGETS[name], data)

    with memory_bounded():
        slice_of()


@pytest.mark.parametrize("caught", [Exception, OSError])
def test_a_parser_that_catches_everything_is_found_to_hang(
    caught: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def parse(_: bytes) -> None:
        until_s = time.process_time() + 30
        try:
            while time.process_time() < until_s:
                pass
        except caught:
            return

    monkeypatch.setattr(fuzz, "LONGEST_S", 0.05)
    with pytest.raises(Hangs):
        read(replace(TARGETS["answers"], parse=parse, refusals=(caught,)), b"")


def test_a_parser_that_takes_too_much_memory_is_found() -> None:
    with memory_bounded(), pytest.raises(MemoryError):
        read(replace(TARGETS["answers"], parse=lambda _: bytearray(3 * 2**30)), b"")
