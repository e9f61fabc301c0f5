"""Sketches of durations: quantiles within their bound, merged as if counted together."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.sketch import Sketch

HALF_A_PERCENT = 0.005 + 1e-4  # e^0.005 - 1 is a hair more
DURATIONS_NS = st.lists(st.integers(1, 10**13), min_size=1)
SOME_NS = st.lists(st.integers(-5, 10**13), max_size=30)


def sketch(values: list[int]) -> Sketch:
    made = Sketch()
    for value in values:
        made.add(value)
    return made


@given(DURATIONS_NS, st.sampled_from([0.0, 0.01, 0.5, 0.9, 0.99, 1.0]))
def test_a_quantile_is_within_its_bound_of_numpys(values: list[int], quantile: float) -> None:
    exact_ms = np.quantile(values, quantile, method="inverted_cdf") / 1e6
    assert sketch(values).quantile_ms(quantile) == pytest.approx(exact_ms, rel=HALF_A_PERCENT)


@given(SOME_NS, SOME_NS, SOME_NS)
def test_merging_is_counting_together_in_any_order_and_grouping(
    a: list[int], b: list[int], c: list[int]
) -> None:
    def merged(parts: list[Sketch]) -> Sketch:
        whole = Sketch()
        for part in parts:
            whole.merge(part)
        return whole

    whole = sketch([*a, *b, *c])
    assert merged([sketch(a), sketch(b), sketch(c)]) == whole
    assert merged([sketch(c), sketch(b), sketch(a)]) == whole
    assert merged([sketch(a), merged([sketch(b), sketch(c)])]) == whole
    assert merged([whole, Sketch()]) == merged([Sketch(), whole]) == whole


def test_without_a_duration_there_is_no_quantile() -> None:
    assert Sketch().quantile_ms(0.5) is None
    assert Sketch().longest_ms is None


def test_what_is_below_a_nanosecond_counts_as_one_and_the_longest_is_exact() -> None:
    made = sketch([-5, 0, 1, 123_456_789])
    assert made.counts[0] == 3
    assert made.longest_ms == 123.456789
    assert made.quantile_ms(1.0) == pytest.approx(123.456789, rel=HALF_A_PERCENT)
