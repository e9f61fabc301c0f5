"""Theory against theory: closed forms for one worker, means, and tables of Erlang's C."""

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.optimize import brentq

from experiments.local.queueing import MDC_HIGHEST_LOAD, Survival, erlang_c, mdc, mmc, quantile


def mean(survival: Survival, scale_s: float, breaks: int = 0) -> float:
    """The integral of the survival; theory gives means of its own."""
    edges = [scale_s * step for step in range(breaks + 1)]
    parts = [quad(survival, low, high)[0] for low, high in pairwise(edges)]
    return sum(parts) + quad(survival, edges[-1], 200 * scale_s + edges[-1], limit=500)[0]


def test_erlang_c_is_the_textbooks() -> None:
    # Sum over the states by hand: 1 worker waits with the chance of its load; 2 workers at load
    # 1 of 2 with (1/2 * 2) / (1 + 1 + 1) = 1/3.
    assert erlang_c(1, 0.7) == pytest.approx(0.7)
    assert erlang_c(2, 1.0) == pytest.approx(1 / 3)


@given(st.integers(1, 40), st.floats(0.01, 0.99))
def test_erlang_c_is_the_sum_over_the_states(workers: int, load: float) -> None:
    offered = load * workers
    terms = [math.exp(n * math.log(offered) - math.lgamma(n + 1)) for n in range(workers)]
    queued = math.exp(workers * math.log(offered) - math.lgamma(workers + 1)) / (1 - load)
    assert erlang_c(workers, offered) == pytest.approx(queued / (sum(terms) + queued))


@given(st.floats(0.05, 0.95), st.floats(0.5, 0.999))
def test_mm1_is_exponential_at_the_spare_rate(load: float, level: float) -> None:
    found = quantile(mmc(100 * load, 0.01, 1), level, 0.01)
    assert found == pytest.approx(-math.log(1 - level) / (100 - 100 * load), rel=1e-5)


@given(st.integers(1, 8), st.floats(0.1, 0.9))
def test_the_mean_of_mmc_is_that_of_the_wait_and_the_service(workers: int, load: float) -> None:
    offered = load * workers
    expected = 0.01 * (1 + erlang_c(workers, offered) / (workers - offered))
    assert mean(mmc(100 * offered, 0.01, workers), 0.01) == pytest.approx(expected, rel=1e-4)


def test_a_spare_rate_equal_to_the_service_rate_is_no_gap() -> None:
    at, beside = (mmc(rate, 0.01, 2)(0.03) for rate in (100.0, 100.01))
    assert at == pytest.approx(beside, rel=1e-3)


@pytest.mark.parametrize("load", [0.1, 0.5, 0.9])
def test_the_mean_of_md1_is_pollaczek_and_khinchines(load: float) -> None:
    survival = mdc(100 * load, 0.01, 1)
    expected = 0.01 * (1 + load / (2 * (1 - load)))
    assert mean(survival, 0.01, breaks=30) == pytest.approx(expected, rel=1e-3)


@settings(max_examples=40)
@given(st.floats(0.1, 0.9), st.floats(0.0, 3.0))
def test_md1_waits_are_erlangs(load: float, turns: float) -> None:
    # Erlang's alternating series; it cancels for long waits, so that only short ones are compared.
    wait, rate = turns * 0.01, 100 * load
    terms = (
        (rate * (k * 0.01 - wait)) ** k / math.factorial(k) * math.exp(-rate * (k * 0.01 - wait))
        for k in range(int(wait / 0.01 + 1e-9) + 1)
    )
    expected = (1 - load) * sum(terms)
    assert 1 - mdc(rate, 0.01, 1)(0.01 + wait) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("load", [0.8, MDC_HIGHEST_LOAD])
def test_long_waits_of_md1_are_exponential(load: float) -> None:
    # H. C. Tijms, A First Course in Stochastic Models (2003), on the tail of M/D/1: with
    # exp(load (root - 1)) = root, a wait exceeds t with (1 - load) / (load root - 1) times
    # exp(-rate (root - 1) t).
    root = brentq(lambda r: load * (r - 1) - math.log(r), 1 + 1e-9 + (1 - load), 20)
    rate = 100 * load
    for level in (0.99, 0.999):
        wait = math.log((1 - load) / (load * root - 1) / (1 - level)) / (rate * (root - 1))
        assert quantile(mdc(rate, 0.01, 1), level, 0.01) == pytest.approx(0.01 + wait, rel=1e-4)


def test_many_workers_at_a_low_load_make_nobody_wait() -> None:
    assert quantile(mdc(50_000, 0.01, 1000), 0.999, 0.01) == pytest.approx(0.01)


def test_nobody_is_served_in_less_than_a_constant_time() -> None:
    survival = mdc(150, 0.01, 2)
    assert survival(0.009) == 1.0
    assert quantile(mdc(1.0, 0.01, 2), 0.5, 0.01) == pytest.approx(0.01)


def test_mdc_waits_less_than_mmc() -> None:
    for workers in (1, 2, 8):
        rate = 80 * workers
        assert quantile(mdc(rate, 0.01, workers), 0.99, 0.01) < quantile(
            mmc(rate, 0.01, workers), 0.99, 0.01
        )
