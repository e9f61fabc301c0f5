import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.generator.observed import (
    late_by_user_ms,
    late_on_grid_ms,
    open_loop_ms,
    quantile,
)

MS = 1_000_000


def test_lateness_counts_from_the_earliest_grid_that_the_arrivals_allow() -> None:
    # Due every 10 ms; request 2 is the least late, so it sets the grid.
    arrived = np.array([101, 112, 120, 135]) * MS
    late = late_on_grid_ms(arrived, np.arange(4), rate=100)
    assert late == pytest.approx([1, 2, 0, 5])


def test_a_request_that_never_came_does_not_shift_those_after_it() -> None:
    late = late_on_grid_ms(np.array([0, 10, 40]) * MS, np.array([7, 8, 11]), rate=100)
    assert late == pytest.approx([0, 0, 0])


def test_requests_may_come_out_of_order() -> None:
    late = late_on_grid_ms(np.array([0, 20, 21]) * MS, np.array([0, 2, 1]), rate=100)
    assert late == pytest.approx([0, 0, 11])


def test_each_user_keeps_a_schedule_of_its_own() -> None:
    # User 5 is due at 0, 100 and 200 ms, user 9 at 30 and 130 ms.
    arrived = np.array([0, 30, 104, 130, 207]) * MS
    late = late_by_user_ms(arrived, np.array([5, 9, 5, 9, 5]), period_s=0.1)
    assert late == pytest.approx([0, 0, 4, 0, 7])


@given(
    late_ms=st.lists(st.integers(0, 500), min_size=1, max_size=50),
    offset_ns=st.integers(0, 10**15),
    rate=st.sampled_from([100, 500, 3000]),
)
def test_a_delay_that_all_share_is_hidden(late_ms: list[int], offset_ns: int, rate: int) -> None:
    index = np.arange(len(late_ms))
    due_ns = np.rint(index * 1e9 / rate).astype(np.int64)
    arrived = np.int64(offset_ns) + due_ns + np.array(late_ms) * MS
    wanted = np.array(late_ms) - min(late_ms)
    assert late_on_grid_ms(arrived, index, rate) == pytest.approx(wanted, abs=1e-3)
    period_s = 1 / rate
    by_user = late_by_user_ms(arrived, np.zeros(len(late_ms)), period_s)
    assert by_user == pytest.approx(wanted, abs=1e-3)


def test_an_open_loop_user_waits_for_the_rest_of_a_stall() -> None:
    due_s = np.array([0.0, 0.4, 1.0, 5.0, 9.998, 10.25])
    felt = open_loop_ms(due_s, delay_s=0.005, period_s=10, stall_s=1)
    assert felt == pytest.approx([1005, 605, 5, 5, 1005, 755])


def test_one_user_in_a_hundred_feels_most_of_a_stall() -> None:
    # Of each 10 s, those of the 5 ms before a stall and of its first 95 ms wait longest.
    felt = open_loop_ms(np.arange(0, 40, 0.001), delay_s=0.005, period_s=10, stall_s=1)
    assert quantile(felt, 0.5) == pytest.approx(5)
    assert quantile(felt, 0.99) == pytest.approx(910, abs=2)


def test_a_quantile_is_one_of_the_values() -> None:
    assert quantile(range(1, 101), 0.99) == 99
    assert quantile([3.0, 1.0], 0.5) == 1
    assert math.isnan(quantile([], 0.5))
