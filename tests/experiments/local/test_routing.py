from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from experiments.local.routing import choose
from experiments.local.service_error import ServiceError

WEIGHTS = st.dictionaries(
    st.text("abc", min_size=1), st.floats(0, 1e6), min_size=1, max_size=6
).filter(lambda weights: sum(weights.values()) > 0)


def test_draws_follow_the_weights() -> None:
    weights = {"a": 1.0, "none": 0.0, "b": 2.5, "c": 0.5}
    generator = np.random.default_rng(1)
    seen = Counter(choose(weights, None, generator) for _ in range(40_000))
    assert seen["none"] == 0
    expected = [10_000, 25_000, 5_000]
    assert chisquare([seen["a"], seen["b"], seen["c"]], expected).pvalue > 0.001


@given(WEIGHTS, st.integers(0, 1000))
def test_a_variant_without_weight_is_never_drawn(weights: dict[str, float], seed: int) -> None:
    assert weights[choose(weights, None, np.random.default_rng(seed))] > 0


def test_a_target_overrides_the_weights_and_draws_nothing() -> None:
    generator = np.random.default_rng(1)
    before = generator.bit_generator.state
    assert choose({"a": 1.0, "b": 0.0}, "b", generator) == "b"
    assert generator.bit_generator.state == before


def test_a_target_that_is_no_variant_is_refused() -> None:
    with pytest.raises(ServiceError, match="Variant c not found") as caught:
        choose({"a": 1.0, "b": 1.0}, "c", np.random.default_rng(1))
    assert (caught.value.status, caught.value.code) == (400, "ValidationError")
