import math
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from experiments.local.faults import Fault, Faults


def faults(*tables: dict[str, Any], seed: int = 1) -> Faults:
    return Faults([Fault.model_validate(table) for table in tables], seed)


def kinds(found: Faults, times: Any, variant: str = "a", instance: int = 0) -> list[str | None]:
    struck = (found.strike(float(at_s), variant, instance) for at_s in times)
    return [fault and fault.kind for fault in struck]


def test_without_faults_nothing_strikes() -> None:
    assert kinds(faults(), [0.0, 1.0]) == [None, None]


def test_a_fault_strikes_while_it_is_on() -> None:
    burst = faults({"kind": "reset", "at": "2s", "for": "1s", "every": "10s"})
    assert kinds(burst, [0.0, 2.0, 2.9, 3.0, 12.5, 13.5]) == [
        None, "reset", "reset", None, "reset", None,
    ]  # fmt: skip


def test_a_share_is_drawn_by_chance_and_by_the_seed() -> None:
    table = {"kind": "model_error", "status": 500, "share": "10%"}
    times = np.arange(20_000) / 100
    struck = [kind is not None for kind in kinds(faults(table), times)]
    # Five standard deviations of 20,000 draws.
    assert abs(np.mean(struck) - 0.1) < 5 * math.sqrt(0.09 / 20_000)
    assert [kind is not None for kind in kinds(faults(table), times)] == struck
    assert [kind is not None for kind in kinds(faults(table, seed=2), times)] != struck


def test_a_fault_may_be_of_one_variant_or_one_instance() -> None:
    of_b = {"kind": "reset", "variant": "b"}
    of_one = {"kind": "dead_instance", "variant": "a", "instance": 2}
    both = faults(of_b, of_one)
    assert kinds(both, [0.0], "a", 0) == [None]
    assert kinds(both, [0.0], "a", 1) == ["dead_instance"]
    assert kinds(both, [0.0], "b", 1) == ["reset"]


def test_the_first_in_the_file_is_the_one() -> None:
    two = faults({"kind": "reset", "for": "1s"}, {"kind": "no_variant"})
    assert kinds(two, [0.5, 1.5]) == ["reset", "no_variant"]


def test_a_throttle_lets_its_rate_through_and_a_second_of_it_at_once() -> None:
    throttle = faults({"kind": "throttle", "above": 50})
    at_once = kinds(throttle, [0.0] * 60)
    assert at_once == [None] * 50 + ["throttle"] * 10
    steady = kinds(throttle, 10 + np.arange(3000) / 100)  # 100 a second, for 30 s
    # 50 that were saved up, and 50 a second.
    assert abs(steady.count(None) - (50 + 30 * 50)) <= 1
    below = kinds(throttle, 1000 + np.arange(1000) / 49)
    assert below.count(None) == 1000


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"kind": "throttle"}, "needs above of status, above and delay; it has none"),
        ({"kind": "reset", "status": 500}, 'kind = "reset" needs none'),
        ({"kind": "spike", "status": 500}, "needs delay of status, above and delay; it has status"),
        ({"kind": "service_error", "status": 418}, "is one of 429, 500, 503, 530"),
        ({"kind": "reset", "instance": 1}, "instance needs variant"),
        ({"kind": "meteor"}, "model_error"),
    ],
)
def test_a_fault_that_cannot_be_is_refused(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        faults(table)
