"""What a plan cannot decide is said before its run."""

from pathlib import Path

import pytest

from analysis.power import foreseen
from experiments.plan import find, load

STAGES = (
    'traffic={ routing = "pinned", warmup = "10s", stages = ['
    '{ name = "base", rate = 50.0, for = "120s" }, { name = "peak", rate = 50.0, for = "30s" }] }'
)


@pytest.mark.parametrize(
    ("slo", "said"),
    [
        # 6,000 requests in 120 s, of which an arm gets half; a p99.9 needs 3 / 0.001.
        ('{ p99 = "1s" }', []),
        ('{ "p99.9" = "1s" }', ["the p99.9 limit of current needs 3,000 requests"]),
        ('{ p99 = "1s", window = "10s" }', ["p99 limit of current needs 300 requests in 10 s"]),
        ('{ error_rate = "0.01%" }', ["the error_rate limit of current needs 30,000 requests"]),
    ],
)
def test_a_limit_needs_so_many_requests(slo: str, said: list[str]) -> None:
    plan = load(find("ab"), ["traffic.rate=49", f"slo={slo}"])
    found = [line for line in foreseen(plan) if "limit of current" in line]
    assert len(found) == len(said)
    assert all(part in line for part, line in zip(said, found, strict=True))


def test_a_stage_can_be_too_short_for_a_verdict() -> None:
    plan = load(find("ab"), [STAGES, 'slo={ phases = { peak = { p99 = "1s" } } }'])
    (first, _) = [line for line in foreseen(plan) if "in peak" in line]
    assert "will end in cannot tell: 30 s are fewer than 60 s" in first


def test_the_built_in_plans_can_decide() -> None:
    for path in Path("experiments/plans").glob("*.toml"):
        if not path.name.endswith(".endpoint.toml"):
            assert foreseen(load(path)) == ()
