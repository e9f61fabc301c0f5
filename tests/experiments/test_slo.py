"""What the plan's [slo] asks: every limit once, an arm's own before the general ones."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from experiments.slo import Slo, Threshold, thresholds

ASKED = {"p99": "300ms", "error_rate": "0.1%"}


def asked(**table: Any) -> tuple[Threshold, ...]:
    return thresholds(Slo.model_validate(table), ["current", "candidate"])


def test_a_percentile_leaves_the_rest_to_miss_its_limit_and_the_error_rate_has_none() -> None:
    known = {"arm": "current", "phase": None, "allowed": 0.001}
    assert asked(**{"p99.9": "1s"})[0] == Threshold(**known, metric="p99.9", limit_ms=1000.0)
    assert asked(error_rate="0.1%")[0] == Threshold(**known, metric="error_rate", limit_ms=None)


def test_every_arm_has_every_limit_and_its_own_replaces_the_general_one() -> None:
    found = asked(**ASKED, arms={"candidate": {"p99": "1s", "p50": "50ms"}})
    assert [(t.arm, t.metric, t.limit_ms) for t in found] == [
        ("current", "p99", 300.0),
        ("current", "error_rate", None),
        ("candidate", "p99", 1000.0),
        ("candidate", "error_rate", None),
        ("candidate", "p50", 50.0),
    ]


def test_a_phase_has_its_own_limits_beside_those_of_the_whole() -> None:
    found = asked(p99="300ms", phases={"peak": {"p99": "1s"}})
    assert [(t.arm, t.phase, t.limit_ms) for t in found] == [
        ("current", None, 300.0),
        ("current", "peak", 1000.0),
        ("candidate", None, 300.0),
        ("candidate", "peak", 1000.0),
    ]


def test_a_window_asks_the_same_of_every_stretch() -> None:
    found = asked(p99="300ms", window="10s")
    assert [t.window_s for t in found if t.arm == "current"] == [None, 10.0]


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({}, "there is no limit"),
        ({"arms": {"current": {}}}, "there is no limit"),
        ({"p99": 300}, "must be a duration"),
        ({"p99": 300.0}, "must be a duration"),
        ({"error_rate": 0.5}, "must be a share"),
        ({"p99": "0ms"}, "greater than 0"),
        ({"p100": "1s"}, '"p100" is no key of this table'),
        ({"mean": "1s"}, '"mean" is no key of this table'),
        ({"p99": {"9": "1s"}}, 'in quotes: "p99.9"'),
        ({"error_rate": "0%"}, "greater than 0"),
        ({**ASKED, "windw": "10s"}, '"windw" is no key'),
        ({"arms": {"current": {"window": "10s"}}}, '"window" is no key'),
    ],
)
def test_what_cannot_be_asked_is_refused(table: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Slo.model_validate(table, context={"is_a_users": True})


@given(st.integers(1, 9999), st.integers(1, 99_999))
def test_a_plan_read_back_asks_the_same(ten_thousandths: int, limit_ms: int) -> None:
    metric = f"p{ten_thousandths / 100:g}"
    slo = Slo.model_validate({metric: f"{limit_ms}ms"})
    again = Slo.model_validate(slo.model_dump(mode="json", exclude_none=True))
    (found,) = thresholds(again, ["a"])
    assert found.limit_ms == pytest.approx(limit_ms)
    assert found.allowed == pytest.approx(1 - ten_thousandths / 10_000)
