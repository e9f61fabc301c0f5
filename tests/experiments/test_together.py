"""Seconds of several workers as one, by way of a message."""

from typing import Any

import msgpack

from experiments.live import Second, Tally
from experiments.sketch import Sketch
from experiments.together import as_one, encoded


def sketch(*durations_ns: int) -> Sketch:
    made = Sketch()
    for duration_ns in durations_ns:
        made.add(duration_ns)
    return made


def second(due: int, cpu: float, failed: dict[str, int], *durations_ns: int) -> Any:
    of = sketch(*durations_ns)
    arms = {"a": Tally(ended=len(durations_ns), dropped=1, failed=failed, response=of, service=of)}
    made = Second(elapsed_s=3, due=due, arms=arms, lateness=of, lag=sketch(7), cpu=cpu)
    return msgpack.loads(msgpack.dumps(encoded(made)), strict_map_key=False)


def test_what_workers_count_is_added_up() -> None:
    parts = [second(5, 0.2, {"timeout": 1}, 10**6, 2 * 10**6), second(4, 0.5, {}, 3 * 10**6)]
    one = as_one(3.0, parts)
    every = sketch(10**6, 2 * 10**6, 3 * 10**6)
    assert one == Second(
        elapsed_s=3.0,
        due=9,
        arms={"a": Tally(3, 2, {"timeout": 1}, every, every)},
        lateness=every,
        lag=sketch(7, 7),
        cpu=0.5,
    )


def test_a_second_of_nobody_is_empty() -> None:
    none = Second(elapsed_s=1.0, due=0, arms={}, lateness=Sketch(), lag=Sketch(), cpu=0.0)
    assert as_one(1.0, []) == none
