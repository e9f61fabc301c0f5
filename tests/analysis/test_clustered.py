"""The interval of a share: exact where requests are independent, wider where they are not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from analysis.clustered import ClusteredShare, clustered_share
from analysis.simulate import STREAMS


def of(requests: int, counted: int, *spreads: tuple[float, int]) -> ClusteredShare:
    return ClusteredShare(requests=requests, counted=counted, spreads=spreads or ((1.0, 1),))


@given(st.integers(1, 3000), st.data())
def test_independent_requests_have_the_exact_interval(requests: int, data: st.DataObject) -> None:
    counted = data.draw(st.integers(0, requests))
    expected = binomtest(counted, requests).proportion_ci(0.90, method="exact")
    low, high = of(requests, counted).bounds(0.95)
    assert low == pytest.approx(expected.low, abs=1e-9)
    assert high == pytest.approx(expected.high, abs=1e-9)


def test_a_design_effect_counts_for_fewer_requests() -> None:
    # t(4) at 95 % is 2.131847, the normal 1.644854; 8 times as wide a variance.
    effective = 10_000 / (8 * (2.131847 / 1.644854) ** 2)
    narrow, wide = of(10_000, 1000), of(10_000, 1000, (1.0, 1), (8.0, 4))
    same_share = of(round(effective), round(effective / 10))
    assert wide.bounds(0.95)[1] == pytest.approx(same_share.bounds(0.95)[1], rel=0.01)
    assert wide.bounds(0.95)[0] < narrow.bounds(0.95)[0]


def test_a_longer_run_that_goes_the_same_is_surer() -> None:
    share = of(1000, 20, (1.0, 1), (3.0, 9))
    assert share.bounds(0.95, times_longer=4.0)[1] < share.bounds(0.95)[1]
    assert share.bounds(0.95, times_longer=4.0)[0] > share.bounds(0.95)[0]


def test_misses_in_one_burst_tell_less_than_misses_spread_out() -> None:
    at_s = np.arange(0, 120, 0.02)
    spread = np.arange(at_s.size) % 100 == 0
    burst = (at_s >= 60) & (at_s < 61.2)
    assert spread.sum() == burst.sum() == 60
    even = clustered_share(at_s, spread.astype(float), start_s=0, end_s=120).bounds(0.95)
    uneven = clustered_share(at_s, burst.astype(float), start_s=0, end_s=120).bounds(0.95)
    assert even == of(6000, 60).bounds(0.95)
    assert uneven[0] < even[0]
    assert uneven[1] > 2 * even[1]


def test_a_share_of_nothing_has_no_interval() -> None:
    with pytest.raises(ValueError, match="share of nothing"):
        clustered_share(np.array([]), np.array([]), start_s=0, end_s=60)


@pytest.mark.parametrize(("stream", "most"), [("iid", 23), ("burst", 28), ("queue2", 28)])
def test_bounds_fail_about_as_often_as_they_say(stream: str, most: int) -> None:
    """At the median of 600 s runs: 5 % of 200 is 10; 23 is passed in 1 of 10,000 binomials.

    The other streams have memory, for which a few points more are known and written down.
    """
    rng = np.random.default_rng(11)
    draw = STREAMS[stream]
    long = [draw(rng, duration_s=600, rate_rps=33.3).baseline_ms for _ in range(40)]
    limit_ms = float(np.median(np.concatenate(long)))
    below = above = 0
    for _ in range(100):
        arms = draw(rng, duration_s=600, rate_rps=33.3)
        for at_s, ms in ((arms.baseline_at_s, arms.baseline_ms), (arms.arm_at_s, arms.arm_ms)):
            found = clustered_share(at_s, (ms > limit_ms).astype(float), start_s=0, end_s=600)
            low, high = found.bounds(0.95)
            below += high < 0.5
            above += low > 0.5
    assert max(below, above) <= most
