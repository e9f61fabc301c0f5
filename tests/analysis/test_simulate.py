import numpy as np
import pytest

from analysis.simulate import STREAMS, _first_come_first_served


def drawn(name, *, seed=1, effect=1.0, duration_s=120.0, rate_rps=50.0):
    rng = np.random.default_rng(seed)
    return STREAMS[name](rng, duration_s=duration_s, rate_rps=rate_rps, effect=effect)


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_has_the_rate_and_the_length_it_was_asked_for(name):
    arms = drawn(name)
    for at_s, latency_ms in (
        (arms.baseline_at_s, arms.baseline_ms),
        (arms.arm_at_s, arms.arm_ms),
    ):
        assert at_s.size == latency_ms.size == pytest.approx(6000, abs=4 * np.sqrt(6000))
        assert 0 <= at_s[0] <= at_s[-1] <= 120
        assert np.all(np.diff(at_s) >= 0)
        assert latency_ms.min() > 0


@pytest.mark.parametrize("name", STREAMS)
def test_the_effect_is_the_exact_ratio_of_the_arms_latencies(name):
    one, other = drawn(name), drawn(name, effect=1.25)
    assert np.array_equal(one.baseline_ms, other.baseline_ms)
    assert other.arm_ms == pytest.approx(1.25 * one.arm_ms)


@pytest.mark.parametrize("name", STREAMS)
def test_the_same_generator_draws_the_same_stream_and_another_another(name):
    assert np.array_equal(drawn(name).arm_ms, drawn(name).arm_ms)
    assert not np.array_equal(drawn(name).arm_ms[:100], drawn(name, seed=2).arm_ms[:100])


def test_independent_latencies_have_the_median_and_spread_they_state():
    logs = np.log(drawn("iid", duration_s=600.0).baseline_ms / 100)
    assert np.median(logs) == pytest.approx(0, abs=0.02)
    assert logs.std() == pytest.approx(0.5, abs=0.02)


def test_a_request_waits_for_the_first_free_server_and_for_a_pause_to_end():
    at_s = np.array([0.0, 1.0, 2.0, 10.0])
    service_s = np.array([5.0, 5.0, 1.0, 1.0])
    # Two servers: the third waits from 2 to 5. The fourth arrives in a pause that ends at 10.5.
    found = _first_come_first_served(at_s, service_s, 2, [(9.8, 10.5), (99.0, 99.5)])
    assert found.tolist() == [5.0, 5.0, 4.0, 1.5]
