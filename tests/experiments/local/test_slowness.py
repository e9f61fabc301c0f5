import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest, norm

from experiments.local.slowness import Drift, Slowness, Wander, pace


def paced(seed: int = 1, **tables: object):  # type: ignore[no-untyped-def]
    return pace(Slowness.model_validate(tables), seed, "endpoint")


def test_without_slowness_work_takes_its_time() -> None:
    assert paced().ends_at(5.0, 0.25) == 5.25


def test_a_pause_stops_all_work_and_what_has_begun_goes_on_after_it() -> None:
    stopped = paced(pauses=[{"at": "10s", "for": "2s", "every": "10s"}])
    assert stopped.ends_at(9.0, 1.0) == 10.0
    assert stopped.ends_at(9.0, 1.5) == 12.5
    assert stopped.ends_at(11.0, 0.5) == 12.5
    assert stopped.ends_at(11.0, 0.0) == 12.0
    assert stopped.ends_at(9.0, 1.0 + 8.0 + 0.5) == pytest.approx(22.5)


def test_an_episode_makes_work_within_it_take_longer() -> None:
    slowed = paced(episodes=[{"at": "10s", "for": "6s", "factor": 3}])
    assert slowed.ends_at(10.0, 1.0) == pytest.approx(13.0)
    assert slowed.ends_at(9.0, 2.0) == pytest.approx(13.0)
    assert slowed.ends_at(13.0, 2.0) == pytest.approx(17.0)


@given(
    begins_ms=st.integers(0, 400),
    work_ms=st.integers(1, 60),
    pause_ms=st.integers(1, 40),
    episode_ms=st.integers(1, 50),
    factor=st.integers(1, 4),
)
def test_pauses_and_episodes_together_are_what_a_walk_through_time_gives(
    begins_ms: int, work_ms: int, pause_ms: int, episode_ms: int, factor: int
) -> None:
    both = paced(
        pauses=[{"every": "100ms", "for": f"{pause_ms}ms"}],
        episodes=[{"at": "30ms", "every": "70ms", "for": f"{episode_ms}ms", "factor": factor}],
    )
    now, left = begins_ms * 12, work_ms * 12  # in twelfths of a millisecond
    while left > 0:
        paused = now / 12 % 100 < pause_ms
        slow = now >= 360 and (now / 12 - 30) % 70 < episode_ms
        left -= 0 if paused else (1 / factor if slow else 1)
        now += 1
    # A walk by steps ends up to a step late, and a pause may begin just then.
    earliest, latest = (
        both.ends_at(begins_ms / 1000, work_ms / 1000 + step) for step in (-1e-4, 1e-4)
    )
    assert earliest - 2e-4 <= now / 12000 <= latest + 2e-4


def test_a_drift_has_the_spread_and_the_memory_that_are_stated() -> None:
    wander = Wander(Drift(spread=0.2, memory="10s"), np.random.default_rng(2))  # type: ignore[arg-type]
    logs = np.log([wander.factor(10.0 * step) for step in range(4000)])
    assert kstest(logs[::5], norm(0, 0.2).cdf).pvalue > 0.001
    # One memory apart the correlation is 1/e, with a standard error of about 1/sqrt(4000).
    assert np.corrcoef(logs[1:], logs[:-1])[0, 1] == pytest.approx(math.exp(-1), abs=0.06)


def test_a_drift_is_a_function_of_time() -> None:
    table = {"spread": 0.3, "memory": "5s"}
    one, other = paced(drifts=[table]), paced(drifts=[table])
    times = (3.0, 50.0, 100.0)
    forwards = [one.ends_at(at_s, 1.0) for at_s in times]
    backwards = [other.ends_at(at_s, 1.0) for at_s in times[::-1]]
    assert forwards == backwards[::-1]
    assert forwards != [4.0, 51.0, 101.0]
