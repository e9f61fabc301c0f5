import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.windows import WINDOWS, differences, merged, windowed

latencies = st.lists(
    st.tuples(
        st.integers(1, 12),  # few values, so that many are tied
        st.floats(0, 60, allow_nan=False),
    ),
    min_size=1,
    max_size=80,
)


def sample_of(baseline, arm):
    (a, at_a), (b, at_b) = (zip(*rows, strict=True) for rows in (baseline, arm))
    return windowed(a, at_a, b, at_b, start_s=0, end_s=60)


@given(rows=latencies, threshold=st.floats(0.5, 12.5))
def test_values_beyond_a_threshold_are_counted_in_each_window(rows, threshold):
    values, at_s = (np.array(column) for column in zip(*rows, strict=True))
    window = np.minimum(np.floor(at_s), WINDOWS - 1)
    expected = [np.sum(values[window == w] > threshold) for w in range(WINDOWS)]
    if threshold in values:
        return  # ties are split: the next test
    arm = sample_of(rows, rows).arm
    assert arm.beyond(threshold, 0.5).tolist() == expected


@given(rows=latencies, quantile=st.floats(0.01, 0.99))
def test_ties_at_a_quantile_are_split_so_that_the_due_share_lies_above(rows, quantile):
    arm = sample_of(rows, rows).arm
    above = arm.beyond(arm.quantile(quantile), 1 - quantile)
    assert above.sum() == pytest.approx((1 - quantile) * len(rows), abs=1e-6)


@given(
    baseline=latencies,
    arm=latencies,
    quantile=st.floats(0.01, 0.99),
    scale=st.sampled_from([0.25, 0.5, 1.0, 2.0, 8.0]),
)
def test_the_pooled_quantile_is_that_of_all_values_together(baseline, arm, quantile, scale):
    pooled = [value for value, _ in baseline] + [value * scale for value, _ in arm]
    expected = np.quantile(pooled, quantile, method="inverted_cdf")
    assert sample_of(baseline, arm).pooled_quantile(quantile, scale) == expected


def test_requests_outside_the_span_are_left_out():
    sample = windowed([1, 2, 3, 4], [9.9, 10, 70, 70.1], [5], [30], start_s=10, end_s=70)
    assert sample.baseline.ordered.tolist() == [2, 3]
    assert sample.baseline.counts[[0, -1]].tolist() == [1, 1]
    assert sample.baseline.sums[[0, -1]].tolist() == [2, 3]


def test_an_empty_arm_is_an_arm_of_size_0():
    assert windowed([], [], [5], [30], start_s=0, end_s=60).smaller == 0


@pytest.mark.parametrize(
    ("value", "at_s", "end_s"),
    [(np.nan, 1, 60), (np.inf, 1, 60), (-1, 1, 60), (1, np.nan, 60), (1, 0, 0)],
    ids=["value not a number", "value infinite", "value negative", "time unknown", "no span"],
)
def test_what_cannot_be_put_in_a_window_is_an_error(value, at_s, end_s):
    with pytest.raises(ValueError, match="must"):
        windowed([value], [at_s], [1], [0], start_s=0, end_s=end_s)


def test_windows_merge_with_their_neighbours():
    assert merged(np.arange(6.0), 2).tolist() == [3, 12]


def test_differences_add_up_to_the_difference_of_the_means():
    # Baseline: 4 requests, 1 beyond; arm: 2 requests, 1 beyond. Pooled share 1/3.
    found = differences(
        np.array([3.0, 1.0]), np.array([1.0, 0.0]), np.array([1.0, 1.0]), np.array([0.0, 1.0])
    )
    # First window: (0 - 1/3)/2 - (1 - 1)/4 = -1/6; second: (1 - 1/3)/2 - (0 - 1/3)/4 = 5/12.
    assert found == pytest.approx([-1 / 6, 5 / 12])
    assert found.sum() == pytest.approx(1 / 2 - 1 / 4)
