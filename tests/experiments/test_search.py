"""The search ends, ends near the boundary, and is decided by its history alone."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.plan import Plan
from experiments.search import (
    MOST_AT_A_RATE,
    MOST_OF_CLIENT,
    MOST_OPEN,
    MOST_PROBES,
    Asked,
    Probe,
    bracket,
    least_s,
    next_probe,
)


def asked(**changed):
    plain = {
        "start_rps": 10.0, "resolution": 0.05, "probe_s": 30.0, "fewest_requests": 300.0,
        "replicates": 3, "seed": 7, "ladder": (),
    }  # fmt: skip
    return Asked(**{**plain, **changed})


def searched(judge, wanted):
    """Search with a judge of (rate, tries so far); give the probes, the calls and the end."""
    history, calls = [], {}
    while isinstance(found := next_probe(history, calls, wanted), Probe):
        tries = sum(made.rate_rps == found.rate_rps for made in history)
        calls[found.rate_rps] = judge(found.rate_rps, tries)
        history.append(found)
        assert len(history) <= MOST_PROBES
    return history, calls, found


rates = st.floats(min_value=5.0, max_value=20_000.0)
resolutions = st.sampled_from([0.02, 0.05, 0.1, 0.3])


@given(rates, resolutions, st.floats(min_value=1.0, max_value=500.0))
def test_with_a_sharp_boundary_the_search_ends_within_its_resolution(true, resolution, start):
    wanted = asked(resolution=resolution, start_rps=start)
    history, calls, done = searched(lambda rate, _: "pass" if rate <= true else "fail", wanted)
    low, high = bracket(calls)
    if done == "no_pass":
        assert true < start / 16
        return
    assert done == "bracketed"
    assert low <= true < high
    assert high / low <= (1 + resolution) * 1.001
    passed = sorted(rate for rate, call in calls.items() if call == "pass")
    assert passed[-2] >= low / (1 + resolution) ** 2 / 1.001
    for end in (low, high):
        assert sum(made.rate_rps == end for made in history) >= wanted.replicates


@given(rates, resolutions, st.integers(0, 2**32), st.floats(0.0, 0.3))
def test_with_a_judge_that_errs_the_search_still_ends(true, resolution, seed, blur):
    rng = np.random.default_rng(seed)

    def judge(rate, _):
        distance = math.log(rate / true) + rng.normal(0, blur)
        return "unresolved" if abs(distance) < blur else "pass" if distance < 0 else "fail"

    history, _, done = searched(judge, asked(resolution=resolution))
    assert isinstance(done, str)
    assert len(history) <= MOST_PROBES


@given(st.lists(st.sampled_from(["pass", "fail", "unresolved", "client"]), max_size=80))
def test_any_history_gives_a_probe_or_an_end_and_always_the_same(drawn):
    history, calls, wanted = [], {}, asked()
    for call in drawn:
        found = next_probe(history, calls, wanted)
        assert found == next_probe(list(history), calls, wanted)
        if isinstance(found, str):
            break
        assert 0 < found.rate_rps < math.inf
        assert found.length_s >= wanted.probe_s
        assert found.length_s * found.rate_rps >= wanted.fewest_requests * 0.999
        history.append(found)
        calls[found.rate_rps] = call


def test_rates_are_doubled_until_one_fails_and_then_halved_on_the_log():
    history, _, _ = searched(lambda rate, _: "pass" if rate < 30 else "fail", asked())
    assert [made.rate_rps for made in history[:4]] == [10, 20, 40, pytest.approx(28.28)]


def test_nothing_passes_nothing_fails_and_what_cannot_be_told():
    assert searched(lambda *_: "fail", asked())[-1] == "no_pass"
    assert searched(lambda *_: "pass", asked())[-1] == "no_fail"
    history, _, done = searched(lambda *_: "unresolved", asked())
    assert done == "unresolved"
    assert len(history) == MOST_OPEN * MOST_AT_A_RATE


def test_a_rate_that_cannot_be_told_is_tried_for_as_long_as_it_was_so_far():
    own = lambda rate, _: "pass" if rate < 15 else "unresolved" if rate < 25 else "fail"  # noqa: E731
    history, _, _ = searched(own, asked())
    lengths = [made.length_s for made in history if made.rate_rps == 20][:MOST_AT_A_RATE]
    assert lengths == [30, 30, 60, 120]


def test_a_probe_is_long_enough_to_show_the_limit_kept():
    found = next_probe([], {}, asked(start_rps=2.0))
    assert found.length_s == 150.0


def test_a_hiccup_of_the_generator_is_tried_again_and_a_standing_limit_is_an_end():
    history, _, _ = searched(
        lambda rate, tries: (
            "client" if rate == 20 and tries == 0 else "pass" if rate < 90 else "fail"
        ),
        asked(),
    )
    assert [made.rate_rps for made in history[:4]] == [10, 20, 20, 40]
    history, calls, done = searched(lambda rate, _: "pass" if rate < 30 else "client", asked())
    assert done == "bracketed"
    assert calls[bracket(calls)[1]] == "client"
    assert sum(made.rate_rps == 40 for made in history) == MOST_OF_CLIENT


def test_a_generator_that_is_the_limit_twice_at_the_lowest_rate_ends_the_search():
    history, _, done = searched(lambda *_: "client", asked(start_rps=2.0))
    assert ([made.rate_rps for made in history], done) == ([2, 2], "client")
    history, _, done = searched(lambda rate, _: "fail" if rate > 5 else "client", asked())
    assert ([made.rate_rps for made in history], done) == ([10, 5, 5, 5, 2.5, 2.5], "client")


def plan(**capacity):
    return Plan.model_validate({
        "question": "capacity", "seed": 1, "endpoint": {"name": "shop", "target": "http://[::1]"},
        "arms": {"current": {}}, "request": {"payloads": "rows.jsonl"},
        "traffic": {"routing": "pinned", "warmup": 2.0}, "slo": {"p99": 0.1},
        "capacity": {"probe": 15.0, "cooldown": 3.0, **capacity},
    })  # fmt: skip


@pytest.mark.parametrize(
    ("capacity", "least"),
    [
        # Two rungs that both break at once: stopped after half of 150 s and of 15 s.
        ({"ladder": [2.0, 40.0]}, 2 * 5 + 75 + 7.5),
        # 100 keeps it, 200 breaks it, 141 keeps it; and then 141 and 200 once more.
        ({"start_rate": 100.0, "resolution": 0.5, "replicates": 2}, 5 * 5 + 3 * 15 + 2 * 7.5),
        ({"resolution": 0.5, "replicates": 2}, 5 * 5 + 3 * 15 + 2 * 7.5),
    ],
)  # fmt: skip
def test_the_least_time_of_a_search_is_that_of_one_without_a_doubt(capacity, least):
    assert least_s(plan(**capacity)) == pytest.approx(least)


def test_an_invalid_probe_ends_the_search_at_once():
    assert len(searched(lambda *_: "invalid", asked())[0]) == 1


def test_a_call_that_was_luck_is_taken_back_by_the_replicates():
    def judge(rate, tries):
        if rate == pytest.approx(28.28):
            return "fail" if tries == 0 else "pass"
        return "pass" if rate < 35 else "fail"

    _, calls, done = searched(judge, asked())
    low, high = bracket(calls)
    assert done == "bracketed"
    assert low <= 35 <= high


def test_a_ladder_is_climbed_once():
    history, _, done = searched(lambda *_: "fail", asked(ladder=(50.0, 100.0, 150.0)))
    assert [made.rate_rps for made in history] == [50, 100, 150]
    assert done == "ladder"


def test_the_order_of_the_replicates_is_by_the_seed():
    def order(seed):
        judge = lambda rate, _: "pass" if rate < 30 else "fail"  # noqa: E731
        return [made.rate_rps for made in searched(judge, asked(seed=seed, replicates=9))[0]]

    assert order(1) == order(1)
    assert len({tuple(order(seed)) for seed in range(5)}) > 1
