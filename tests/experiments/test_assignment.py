"""Arms and payloads: balanced, reproducible, and independent of how many requests follow."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.assignment import assign
from experiments.plan import Plan
from experiments.plan_file import find, load

AB = load(find("ab"))


def plan(routing: str, shares: list[float], seed: int = 0) -> Plan:
    table: dict[str, Any] = AB.model_dump(mode="json", exclude_none=True)
    table["seed"] = seed
    table["arms"] = {f"arm{i}": {"share": float(share)} for i, share in enumerate(shares)}
    table["compare"]["baseline"] = "arm0"
    table["traffic"]["routing"] = routing
    return Plan.model_validate(table)


@given(st.integers(0, 2**32), st.integers(2, 5), st.integers(1, 400), st.integers(1, 50))
def test_paired_requests_share_a_payload_and_meet_every_arm_once(
    seed: int, arms: int, groups: int, payloads: int
) -> None:
    given_ = assign(plan("paired", [1.0] * arms, seed), range(groups * arms), payloads)
    for group in range(groups):
        own = given_.group == group
        assert sorted(given_.arm[own]) == list(range(arms))
        assert len(set(given_.payload[own])) == 1


@given(st.integers(0, 2**32), st.integers(1, 7), st.integers(1, 3000))
def test_workers_that_share_a_schedule_send_each_request_once(
    seed: int, workers: int, requests: int
) -> None:
    whole = assign(plan("pinned", [2.0, 1.0], seed), range(requests), 13)
    stripes = [range(worker, requests, workers) for worker in range(workers)]
    assert sorted(index for stripe in stripes for index in stripe) == list(range(requests))
    for index in {0, requests // 2, requests - 1}:
        alone = assign(plan("pinned", [2.0, 1.0], seed), range(index, index + 1), 13)
        assert alone.arm.tolist() == [whole.arm[index]]
        assert alone.payload.tolist() == [whole.payload[index]]


def test_the_order_within_pairs_is_random() -> None:
    first = assign(plan("paired", [1.0, 1.0]), range(20_000), 10).arm[::2]
    # Binomial(10,000, 1/2): four standard deviations are 200.
    assert abs(int((first == 0).sum()) - 5000) < 200


@pytest.mark.parametrize(
    ("shares", "block"),
    [
        ([1.0, 1.0], [1, 1]),
        ([9.0, 1.0], [9, 1]),
        ([0.95, 0.05], [19, 1]),
        ([2.0, 1.0, 1.0], [2, 1, 1]),
        ([0.0001, 0.0001], [1, 1]),
        ([1e300, 1e300], [1, 1]),
    ],
)
def test_pinned_arms_come_by_their_share_in_every_block(
    shares: list[float], block: list[int]
) -> None:
    size = sum(block)
    arm = assign(plan("pinned", shares), range(50 * size), 7).arm.reshape(50, size)
    for index, wanted in enumerate(block):
        assert ((arm == index).sum(axis=1) == wanted).all()


@settings(max_examples=30)
@given(st.integers(0, 2**32), st.integers(1, 2000), st.integers(1, 2000))
def test_what_a_request_carries_does_not_depend_on_what_follows(
    seed: int, few: int, more: int
) -> None:
    for routing in ("pinned", "paired", "weighted"):
        shares = [1.0, 1.0] if routing == "paired" else [3.0, 1.0]
        short = assign(plan(routing, shares, seed), range(few), 13)
        long = assign(plan(routing, shares, seed), range(few + more), 13)
        assert (long.arm[:few] == short.arm).all()
        assert (long.payload[:few] == short.payload).all()
        assert (long.group[:few] == short.group).all()
        rest = assign(plan(routing, shares, seed), range(few, few + more), 13)
        assert (long.arm[few:] == rest.arm).all()
        assert (long.payload[few:] == rest.payload).all()
        assert (long.group[few:] == rest.group).all()


def test_each_payload_comes_once_a_round() -> None:
    payload = assign(plan("pinned", [1.0, 1.0]), range(5 * 31), 31).payload.reshape(5, 31)
    assert (np.sort(payload, axis=1) == np.arange(31)).all()
    assert (payload[0] != payload[1]).any()


def test_weighted_requests_carry_no_arm() -> None:
    given_ = assign(plan("weighted", [1.0, 3.0]), range(10), 3)
    assert (given_.arm == -1).all()
    assert (given_.group == -1).all()
