from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from experiments.local.instance import simulated
from experiments.local.routing import Router, choose, choose_instance
from experiments.local.service_error import ServiceError
from tests.experiments.local.worlds import endpoint

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


class Outstanding:
    def __init__(self, count: int) -> None:
        self._count = count

    def outstanding(self, at_s: float) -> int:
        return self._count


def instances_of(counts: list[int], strategy: str, draws: int = 6000) -> list[int]:
    queues = [Outstanding(count) for count in counts]
    generator = np.random.default_rng(1)
    seen = Counter(choose_instance(queues, strategy, 0.0, generator) for _ in range(draws))  # type: ignore[arg-type]
    return [seen[place] for place in range(len(counts))]


def test_random_takes_each_instance_as_often_whatever_is_outstanding() -> None:
    assert chisquare(instances_of([0, 9, 5], "RANDOM")).pvalue > 0.001


def test_least_outstanding_requests_takes_the_least_and_among_equals_one_at_random() -> None:
    assert instances_of([3, 1, 2], "LEAST_OUTSTANDING_REQUESTS", 50) == [0, 50, 0]
    first, second, third = instances_of([1, 2, 1], "LEAST_OUTSTANDING_REQUESTS")
    assert second == 0
    assert chisquare([first, third]).pvalue > 0.001


THREE = """
    [variants.a]
    weight = 1
    simulated = { constant = "0s" }
    [variants.b]
    weight = 3
    instances = 2
    simulated = { constant = "0s" }
    [variants.c]
    weight = 0.5
    simulated = { constant = "0s" }
    [[faults]]
    kind = "reset"
    variant = "b"
    instance = 2
    """


def test_a_hundred_thousand_requests_follow_the_weights_and_faults_their_instance() -> None:
    table = endpoint(THREE)
    router = Router(table, simulated(table))
    routes = Counter(router.route(number / 1000, None) for number in range(100_000))
    seen = Counter[str]()
    for (variant, instance, fault), count in routes.items():
        seen[variant] += count
        assert (fault is not None) == ((variant, instance) == ("b", 1))
    expected = [100_000 * weight / 4.5 for weight in (1, 3, 0.5)]
    assert chisquare([seen[name] for name in "abc"], expected).pvalue > 0.001


def test_requests_to_one_variant_do_not_move_the_draws_of_another() -> None:
    table = endpoint(THREE)
    alone, together = Router(table, simulated(table)), Router(table, simulated(table))
    expected = [alone.route(0.0, "b") for _ in range(50)]
    found = []
    for _ in range(50):
        together.route(0.0, "a")
        found.append(together.route(0.0, "b"))
    assert found == expected
