"""At which load this machine is measured: the plan's highest, or one that shows something."""

from pathlib import Path
from typing import Any

import pytest

from experiments import floor
from experiments.plan import Plan
from tests.experiments.test_doctor import PLAN

SEARCH = {"question": "capacity", "compare": None, "slo": {"p99": "1s"}, "traffic": {}}
OPEN = {"routing": "pinned", "duration": "600s"}
LIMITS = {"max_requests": 10**7, "max_minutes": 60.0}


@pytest.mark.parametrize(
    ("changes", "rate_rps", "said"),
    [
        ({"traffic": {"rate": 250.0}}, 250.0, "at 250 req/s"),
        ({"traffic": {"rate": 0.01}}, 40.0, "at 40 req/s (the plan's 0.01 would show little)"),
        (
            {"traffic": {"stages": [{"rate": 50, "to": 300, "for": "1m"}], "duration": None}},
            300.0,
            "at 300 req/s",
        ),
        (
            {**SEARCH, "capacity": {"arm": "blue", "ladder": [50.0, 90.0], "peak_rate": 9.0}},
            90.0,
            "at 90 req/s",
        ),
        (
            {**SEARCH, "capacity": {"arm": "blue", "start_rate": 20.0, "peak_rate": 9.0}},
            160.0,
            "at 160 req/s (8 times capacity.start_rate)",
        ),
    ],
)
def test_the_load_is_the_plans_highest_and_enough_for_a_percentile(
    changes: dict[str, Any], rate_rps: float, said: str
) -> None:
    known = {key: value for key, value in (OPEN | changes["traffic"]).items() if value is not None}
    asked = Plan.model_validate(PLAN | {"limits": LIMITS} | changes | {"traffic": known})
    traffic, words = floor._traffic(asked, Path())
    assert (traffic["rate"], words) == (rate_rps, said)
    assert rate_rps * float(traffic["duration"].removesuffix("s")) >= 300
