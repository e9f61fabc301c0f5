"""Arrival times: their rate, their law, and that they depend on the seed and the index only."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from experiments.arrivals import Stage, Traffic
from experiments.schedule import due_times_ns


def traffic(rate: float, length_s: float, arrivals: str = "poisson") -> Traffic:
    return Traffic(
        routing="pinned",
        arrivals=arrivals,  # type: ignore[arg-type]
        rate=rate,
        warmup=0.0,
        duration=length_s,
    )


def test_constant_arrivals_come_at_equal_steps() -> None:
    times = due_times_ns(traffic(4.0, 1.5, "constant"), seed=0)
    assert times.tolist() == [0, 250_000_000, 500_000_000, 750_000_000, 10**9, 1_250_000_000]


def test_a_fractional_constant_rate_is_kept() -> None:
    times = due_times_ns(traffic(0.3, 100.0, "constant"), seed=0)
    assert len(times) == 30
    assert times[1] == 3_333_333_333


@given(st.integers(0, 2**63 - 1), st.floats(0.5, 2000), st.floats(0.1, 20))
def test_poisson_arrivals_ascend_within_the_run(seed: int, rate: float, length_s: float) -> None:
    times = due_times_ns(traffic(rate, length_s), seed)
    assert (np.diff(times) >= 0).all()
    assert ((times >= 0) & (times <= length_s * 1e9)).all()


@given(st.integers(0, 2**32), st.floats(1, 100), st.floats(1, 100))
def test_a_longer_run_begins_with_the_arrivals_of_a_shorter(
    seed: int, first_s: float, more_s: float
) -> None:
    short = due_times_ns(traffic(200.0, first_s), seed)
    long = due_times_ns(traffic(200.0, first_s + more_s), seed)
    assert (long[: len(short)] == short).all()


def test_poisson_gaps_are_exponential_with_the_planned_rate() -> None:
    times = due_times_ns(traffic(80.0, 1000.0), seed=3) / 1e9
    # The count's standard deviation is sqrt(80,000) = 283; four of them.
    assert abs(len(times) - 80_000) < 1132
    assert stats.kstest(np.diff(times), "expon", args=(0, 1 / 80)).pvalue > 1e-4


def test_another_seed_gives_other_arrivals() -> None:
    one, other = (due_times_ns(traffic(50.0, 10.0), seed) for seed in (1, 2))
    assert one[:10].tolist() != other[:10].tolist()


def by_stages(stages: list[Stage], arrivals: str = "poisson", warmup: float = 0.0) -> Traffic:
    return Traffic(
        routing="pinned",
        arrivals=arrivals,  # type: ignore[arg-type]
        stages=stages,
        warmup=warmup,
    )


STAGES = st.lists(
    st.builds(
        Stage,
        rate=st.sampled_from([0.0, 0.4, 7.0, 50.0]),
        to=st.sampled_from([None, 0.0, 3.3, 80.0]),
        length=st.sampled_from([0.7, 2.0, 5.5]),
    ),
    min_size=1,
    max_size=4,
).filter(lambda stages: any(stage.expected_requests for stage in stages))


def rate_at(stages: list[Stage], at_s: float) -> float:
    for stage in stages:
        if at_s < stage.length:
            return stage.rate + (stage.end_rate - stage.rate) * at_s / stage.length
        at_s -= stage.length
    return 0.0


@given(STAGES)
def test_arrival_i_comes_when_the_rate_has_summed_to_i(stages: list[Stage]) -> None:
    times = due_times_ns(by_stages(stages, "constant"), seed=0) / 1e9
    length_s = sum(stage.length for stage in stages)
    edges = np.cumsum([stage.length for stage in stages])[:-1]
    for index in {0, len(times) // 2, len(times) - 1}:
        reached, _ = integrate.quad(
            lambda at_s: rate_at(stages, at_s), 0, times[index], points=edges, limit=200
        )
        assert abs(reached - index) < 1e-5
    whole, _ = integrate.quad(lambda at_s: rate_at(stages, at_s), 0, length_s, points=edges)
    assert len(times) == np.ceil(whole - 1e-6)


def test_a_ramp_from_nothing_by_hand() -> None:
    # 0 to 8 a second in 4 s: t^2 requests by time t, so that request i comes at sqrt(i).
    times = due_times_ns(by_stages([Stage(rate=0, to=8, length=4.0)], "constant"), seed=0)
    assert np.allclose(times / 1e9, np.sqrt(np.arange(16)), atol=1e-9)


@given(st.integers(0, 2**32), STAGES)
def test_stages_of_poisson_arrivals_ascend_and_skip_silence(seed: int, stages: list[Stage]) -> None:
    times = due_times_ns(by_stages(stages), seed) / 1e9
    assert (np.diff(times) >= 0).all()
    assert all(rate_at(stages, float(at_s)) > 0 or at_s == 0 for at_s in times[:50])


def test_a_poisson_ramp_has_the_planned_rate_everywhere() -> None:
    stages = [Stage(rate=20, to=200, length=300.0), Stage(rate=200, to=None, length=100.0)]
    times = due_times_ns(by_stages(stages), seed=11) / 1e9
    # 33,000 over the ramp and 20,000 after it; four standard deviations of each.
    assert abs((times < 300).sum() - 33_000) < 4 * 33_000**0.5
    assert abs((times >= 300).sum() - 20_000) < 4 * 20_000**0.5
    reached = (20 * times + 0.3 * times**2)[times < 300]  # the integral of 20 + 0.6 t
    assert stats.kstest(np.diff(reached), "expon").pvalue > 1e-4


def test_the_warm_up_runs_at_the_first_rate() -> None:
    traffic = by_stages([Stage(rate=2, to=None, length=1.0)], "constant", warmup=1.5)
    assert due_times_ns(traffic, 0).tolist() == [0, 500_000_000, 10**9, 1_500_000_000, 2 * 10**9]
    assert [tuple(phase) for phase in traffic.phases] == [
        ("warmup", 0.0, 1.5),
        ("stage-1", 1.5, 2.5),
    ]


def test_a_trace_is_sent_as_it_came_and_cut_where_the_run_ends() -> None:
    traffic = Traffic(routing="pinned", trace="t.csv", arrivals="trace", warmup=0.0, duration=2.0)
    times = due_times_ns(traffic, 0, np.array([0.0, 0.25, 1.999999999, 2.0, 3.0]))
    assert times.tolist() == [0, 250_000_000, 1_999_999_999]
