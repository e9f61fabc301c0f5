from itertools import repeat

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, expon, gamma, kstest, lognorm

from experiments.local.instance import Instance, simulated
from tests.experiments.local.worlds import endpoint


@given(gaps=st.lists(st.floats(0, 0.1), min_size=1, max_size=40), workers=st.integers(1, 4))
def test_a_queue_of_constant_service_times_is_first_in_first_out(
    gaps: list[float], workers: int
) -> None:
    queue = Instance(repeat(0.02), workers=workers)
    ends: list[float] = []
    for arrived_at in np.cumsum(gaps):
        # With one service time for all, the worker that request i waits for is request i-c's.
        begins_at = max(arrived_at, ends[-workers]) if len(ends) >= workers else arrived_at
        ends.append(begins_at + 0.02)
        assert queue.arrives(arrived_at) == pytest.approx((begins_at, ends[-1]))


@given(st.lists(st.floats(0, 0.1), min_size=1, max_size=40))
def test_what_is_outstanding_has_arrived_and_is_not_done(gaps: list[float]) -> None:
    queue = Instance(iter(np.random.default_rng(1).exponential(0.05, 40)), workers=2)
    ends: list[float] = []
    for at_s in np.cumsum(gaps).tolist():
        assert queue.outstanding(at_s) == sum(end > at_s for end in ends)
        ends.append(queue.arrives(at_s).ends_at_s)


def test_bytes_factor_and_extra_work_add_up() -> None:
    queue = Instance(repeat(0.01), workers=9, s_per_byte=1e-6, factor=2.0)
    assert queue.arrives(0.0, 5000, 0.1).ends_at_s == pytest.approx(2 * (0.01 + 0.005) + 0.1)


def test_the_waits_of_mmc_are_those_of_erlang_c() -> None:
    workers, mean_s, rate_rps = 3, 0.02, 120.0
    draws = np.random.default_rng(5)
    queue = Instance(iter(draws.exponential(mean_s, 120_000).tolist()), workers=workers)
    arrivals = np.cumsum(draws.exponential(1 / rate_rps, 120_000)).tolist()
    waits = [queue.arrives(at_s).begins_at_s - at_s for at_s in arrivals]
    # One in 200 is about 1.7 s from the next: hardly anything of one wait is left in the other.
    apart = np.array(waits[1000::200])
    offered = rate_rps * mean_s
    # By hand: 2.4^3/6 / (1 - 0.8) = 11.52, over it and 1 + 2.4 + 2.88.
    chance = 11.52 / (11.52 + 6.28)
    assert binomtest(int((apart > 0).sum()), apart.size, chance).pvalue > 0.001
    spare_rps = (workers - offered) / mean_s
    assert kstest(apart[apart > 0], expon(scale=1 / spare_rps).cdf).pvalue > 0.001


def test_a_quiet_instance_serves_by_its_distribution() -> None:
    (queue,) = simulated(
        endpoint(
            """
            [variants.a]
            simulated = { distribution = "lognormal", median = "20ms", sigma = 0.3 }
            """
        )
    )["a"]
    served = [queue.arrives(at).ends_at_s - at for at in np.arange(5000.0)]
    assert kstest(served, lognorm(s=0.3, scale=0.02).cdf).pvalue > 0.001


TWO = """
    seed = {seed}
    pauses = [{{ every = "10s", for = "1s", random = true }}]
    [variants.a]
    instances = 2
    instance_factors = [1.0, 1.5]
    simulated = {{ distribution = "gamma", mean = "20ms", shape = 2, per_kb = "1ms" }}
    [variants.b]
    simulated = {{ constant = "1ms" }}
    """


def times(seed: int = 1, extra: str = "") -> dict[str, list[list[float]]]:
    made = simulated(endpoint(TWO.format(seed=seed) + extra))
    return {
        name: [[one.arrives(at, 1024).ends_at_s for at in np.arange(100.0)] for one in instances]
        for name, instances in made.items()
    }


def test_the_seed_decides_and_another_variant_changes_nothing() -> None:
    first = times()
    assert times() == first
    assert times(seed=2)["a"] != first["a"]
    more = times(extra='[variants.c]\nsimulated = { distribution = "exponential", mean = "1s" }')
    assert {name: more[name] for name in first} == first


def test_a_pause_of_the_endpoint_strikes_all_at_the_same_time() -> None:
    ends = times()
    # What arrives in a pause at an instance that takes 1 ms tells when the pause ends.
    ends_of_pauses = {at: end - 0.001 for at, end in enumerate(ends["b"][0]) if end - at > 0.002}
    assert len(ends_of_pauses) > 3
    for one in ends["a"]:
        assert all(one[at] > pause_ends for at, pause_ends in ends_of_pauses.items())


def test_an_instance_is_slower_by_its_factor() -> None:
    quiet = simulated(
        endpoint(
            """
            [variants.a]
            instances = 2
            instance_factors = [1.0, 1.5]
            simulated = { distribution = "gamma", mean = "20ms", shape = 4 }
            """
        )
    )["a"]
    served = [[one.arrives(at).ends_at_s - at for at in np.arange(5000.0)] for one in quiet]
    for times_s, factor in zip(served, (1.0, 1.5), strict=True):
        assert kstest(times_s, gamma(a=4, scale=0.005 * factor).cdf).pvalue > 0.001
