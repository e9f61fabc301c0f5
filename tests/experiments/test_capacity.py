"""A plan of a capacity: what it needs, what it refuses, and what each of its probes sends."""

from dataclasses import replace
from pathlib import Path
from typing import Any, cast, get_args

import pytest

from experiments.capacity import _TOLD, _longer, _search, overrides_of
from experiments.errors import PlanError
from experiments.plan import Plan
from experiments.plan_file import load
from experiments.search import Call, Probe, asked_of, next_probe

PLAN = """
question = "capacity"
seed = 3
[endpoint]
name = "shop"
target = "http://127.0.0.1:8080"
[arms.blue]
request = { target_variant = "blue-v2" }
[arms.green]
[request]
payloads = "rows.jsonl"
[traffic]
routing = "paired"
warmup = "2s"
[slo]
"p99.9" = "300ms"
error_rate = "0.1%"
arms.blue = { "p99.9" = "250ms" }
[compare]
baseline = "green"
margins = { p50 = "5%" }
[capacity]
arm = "blue"
probe = "20s"
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    written = tmp_path / "plan.toml"
    written.write_text(PLAN)
    return written


def test_the_traffic_of_a_plan_without_a_rate_is_that_of_its_first_probe(path: Path):
    traffic = load(path, ["capacity.start_rate=40"]).traffic
    assert (traffic.rate, traffic.duration, traffic.warmup) == (40, 20, 2)
    plan = load(path)
    assert Plan.model_validate(plan.model_dump(mode="json", exclude_none=True)) == plan


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("capacity.arm=red", 'capacity.arm is "red", and the arms are blue, green'),
        ("capacity={}", "capacity.arm is not given"),
        ('slo.window="5s"', "leave out slo.window"),
        ('slo={ arms = { green = { p99 = "1s" } } }', "sets no limit for blue"),
        ('traffic={ routing = "pinned", stages = [{ rate = 5, for = "9s" }] }', "leave out stages"),
        ('traffic={ routing = "pinned", arrivals = "closed", users = 2, duration = "9s" }',
         "leave out stages, trace, users"),
        ("capacity.resolution=0.1%", "capacity.resolution"),
        ("capacity.target_utilisation=1.5", "capacity.target_utilisation"),
        ("capacity.ladder=[]", "capacity.ladder"),
    ],
)  # fmt: skip
def test_what_no_search_can_be_made_of_is_refused(path: Path, override: str, said: str):
    with pytest.raises(PlanError) as caught:
        load(path, [override])
    assert said in str(caught.value)


def test_without_an_slo_there_is_nothing_to_search_for(path: Path):
    path.write_text(PLAN[: PLAN.index("[slo]")] + PLAN[PLAN.index("[compare]") :])
    with pytest.raises(PlanError, match="needs \\[slo\\]"):
        load(path)


def test_a_probe_is_a_load_test_of_one_arm_with_its_own_limits(path: Path):
    plan = load(path)
    probe = Probe(rate_rps=123.4, length_s=45.0, why="bisect")
    sent = load(path, overrides_of(plan, probe, number=4))
    assert (sent.question, list(sent.arms), sent.seed) == ("load", ["blue"], 7)
    assert sent.variant_of("blue") == "blue-v2"
    assert (sent.traffic.routing, sent.traffic.rate) == ("pinned", 123.4)
    assert (sent.traffic.duration, sent.traffic.warmup) == (45, 2)
    limits = {each.metric: (each.limit_ms, each.allowed) for each in sent.thresholds}
    assert limits == {"p99.9": (250.0, 0.001), "error_rate": (None, pytest.approx(0.001))}
    assert (sent.slo.abort_on_fail, sent.slo.abort_after) == (True, 22.5)


@pytest.mark.parametrize(("rate", "slots"), [(10.0, 64), (1000.0, 500), (50_000.0, 20_000)])
def test_there_are_slots_for_all_that_a_kept_slo_has_in_flight_twice(
    path: Path, rate: float, slots: int
):
    plan = load(path)
    overrides = overrides_of(plan, Probe(rate_rps=rate, length_s=1.0, why="double"), 0)
    assert load(path, overrides).traffic.slots == slots


def test_the_plans_own_slots_stay(path: Path):
    plan = load(path, ["traffic.slots=7"])
    overrides = overrides_of(plan, Probe(rate_rps=900.0, length_s=1.0, why="double"), 0)
    assert "traffic.slots=7" in overrides


def test_where_only_the_first_byte_has_a_limit_slots_go_by_what_one_user_waits(path: Path):
    plan = load(path, ["slo={ ttfb_p99 = '300ms' }", "request.operation=stream"])
    overrides = overrides_of(plan, Probe(rate_rps=10.0, length_s=1.0, why="double"), 0, 5.0)
    assert load(path, ["request.operation=stream", *overrides]).traffic.slots == 400
    # 10 a second, for twice four times 5 s


def test_a_probe_that_lasts_longer_than_asked_says_why(path: Path):
    plan = load(path, ["capacity.start_rate=40"])
    asked = asked_of(plan)
    first = next_probe([], {}, asked)
    assert isinstance(first, Probe)
    said = ", not 20 s: it takes 3,000 requests to show p99.9 kept"
    assert _longer(asked, first, plan.thresholds) == said
    assert _longer(asked, replace(first, why="extend"), plan.thresholds) == ""
    assert _longer(asked, replace(first, length_s=20.0), plan.thresholds) == ""
    assert set(_TOLD) == set(get_args(Call))


def test_a_first_probe_beyond_the_limits_is_refused(path: Path):
    # At 1 a second it takes 3,000 s to show that fewer than 0.1 % fail.
    plan = load(path, ["capacity.start_rate=1", "limits={ max_requests=100, max_minutes=9 }"])
    nothing = cast(Any, None)
    with pytest.raises(PlanError, match="first probe, 1 req/s for 3000 s, would go beyond"):
        _search(plan, nothing, nothing, nothing, nothing, firsts=1)
