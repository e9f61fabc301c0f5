import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.stats import kstest

from experiments.local.windows import Schedule, Windows


def windows(seed: int = 1, **table: object) -> Windows:
    return Windows(Schedule.model_validate(table), np.random.default_rng(seed))


def test_without_anything_it_is_always_on() -> None:
    assert windows().around(0.0) == (True, math.inf)


def test_a_window_that_comes_once() -> None:
    once = windows(at="2s", **{"for": "3s"})
    assert once.around(0.0) == (False, 2.0)
    assert once.around(2.0) == (True, 5.0)
    assert once.around(5.0) == (False, math.inf)


def test_a_window_that_comes_again_at_equal_steps() -> None:
    regular = windows(at="1s", every="10s", **{"for": "3s"})
    assert regular.around(0.5) == (False, 1.0)
    assert regular.around(3.9) == (True, 4.0)
    assert regular.around(4.0) == (False, 11.0)
    assert regular.around(13.0) == (True, 14.0)


@given(st.integers(0, 99), st.booleans(), st.lists(st.floats(0, 500), min_size=1, max_size=20))
def test_who_asks_when_changes_nothing(seed: int, random: bool, times: list[float]) -> None:
    table = {"every": "10s", "for": "3s", "random": random}
    asked_in_order = windows(seed, **table)
    expected = {at_s: asked_in_order.around(at_s) for at_s in sorted(times)}
    asked = windows(seed, **table)
    for at_s in times:
        is_open, until_s = asked.around(at_s)
        assert (is_open, until_s) == expected[at_s]
        assert until_s > at_s
        assert asked.around(until_s)[0] is not is_open


def test_random_windows_have_their_length_and_exponential_gaps_of_the_mean_asked_for() -> None:
    random = windows(every="10s", random=True, **{"for": "3s"})
    at_s, gaps, lengths = 0.0, [], []
    for _ in range(2000):
        start_s = random.around(at_s)[1]
        gaps.append(start_s - at_s)
        at_s = random.around(start_s)[1]
        lengths.append(at_s - start_s)
    assert np.allclose(lengths, 3.0)
    assert kstest(gaps, "expon", args=(0, 7.0)).pvalue > 0.001


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"every": "3s"}, "every needs a for that is shorter"),
        ({"every": "3s", "for": "3s"}, "every needs a for that is shorter"),
        ({"random": True}, "random = true needs every"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(table: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Schedule.model_validate(table)
