"""Requests, minutes, instance-hours and dollars, reckoned by hand."""

import pytest

from experiments.errors import PlanError
from experiments.estimate import Estimate, cost, estimate, refuse_beyond_limits, takes
from experiments.invocation import first_requests
from experiments.payloads import Payload
from experiments.plan_file import find, load
from experiments.questions import Capacity
from tests.experiments.test_doctor import plan

PRICED = {
    "blue": {"instance_price_usd_per_hour": 0.6},
    "green": {"request": {"target_variant": "green-v2"}, "instance_price_usd_per_hour": 1.2},
}


def test_a_run_takes_its_warmup_and_what_it_measures() -> None:
    # 10 s and 600 s at 1 req/s.
    assert estimate(plan()) == Estimate(runs=1, requests=610.0, minutes=610 / 60)


def test_a_gate_takes_all_its_runs() -> None:
    asked = {"question": "regression", "regression": {"runs_per_side": 3, "baseline": "blue"}}
    traffic = {"routing": "paired", "rate": 1.0, "duration": "110s"}
    limits = {"max_requests": 1000, "max_minutes": 20.0}
    both = plan(**asked, traffic=traffic, limits=limits, compare=None)
    assert estimate(both) == Estimate(runs=3, requests=360.0, minutes=6.0)
    assert estimate(both, firsts=2).requests == 366.0
    asked["regression"]["order"] = "abba"
    assert estimate(plan(**asked, traffic=traffic, limits=limits, compare=None)).runs == 6


def test_a_search_takes_what_its_limits_allow() -> None:
    search = plan(
        question="capacity", compare=None, slo={"p99": "1s"}, capacity={"arm": "blue"},
        traffic={"routing": "pinned"},
    )  # fmt: skip
    assert estimate(search) == Estimate(runs=1, requests=1000, minutes=20.0, is_a_bound=True)
    # A p99 takes 300 s at 1 req/s, and a probe that breaks it stops at 150: 10 + 150 + 5 s.
    ladder = search.model_copy(update={"capacity": Capacity(arm="blue", ladder=[1.0])})
    assert takes(ladder, {}).startswith("at least 2.8 minutes; at most 1,000 requests in 20.0 min")
    open_ended = search.model_copy(update={"limits": None})
    assert "commonly four times that; how long depends" in takes(open_ended, {})


def test_what_goes_before_the_clock_starts_counts_against_the_limits() -> None:
    models = {"payloads": "rows.jsonl", "target_model": "{payload.model}"}
    asked = plan(request=models, limits={"max_requests": 650, "max_minutes": 20.0})
    payloads = [Payload(f"line {n}", b"{}", None, {"model": f"m{n % 30}"}) for n in range(90)]
    firsts = list(first_requests(asked, payloads))
    assert len(firsts) == 60  # 30 models of each of two arms
    refuse_beyond_limits(asked, "plan.toml", firsts=40)
    with pytest.raises(PlanError, match="about 670 requests, with 60 before each run's clock"):
        refuse_beyond_limits(asked, "plan.toml", len(firsts))


def test_each_arm_is_asked_first_also_where_the_endpoint_routes() -> None:
    traffic = {"routing": "weighted", "rate": 1.0, "duration": "10m"}
    asked = plan(arms={"blue": {}, "green": {}}, traffic=traffic)
    firsts = first_requests(asked, [Payload("line 1", b"{}", None)])
    targets = [(arm, parameters["TargetVariant"]) for arm, _, parameters in firsts]
    assert targets == [("blue", "blue"), ("green", "green")]


def test_the_limits_are_those_of_all_runs_together() -> None:
    def refuse(limits: str) -> None:
        refuse_beyond_limits(load(find("regression"), [f"limits={{ {limits} }}"]), "plan.toml", 0)

    refuse("max_requests = 7000, max_minutes = 3")
    for limits in ("max_requests = 6999, max_minutes = 3", "max_requests = 7000, max_minutes = 2"):
        with pytest.raises(PlanError, match="its 5 runs would send about 7,000 requests"):
            refuse(limits)


def test_dollars_are_said_where_prices_and_instances_are_known() -> None:
    minutes = {"routing": "paired", "rate": 0.5, "duration": "890s", "warmup": "10s"}  # a quarter
    known = {"blue": 2, "green": 1}
    assert cost(plan(traffic=minutes), known) == (
        "0.75 instance-hours (instances: blue 2, green 1)"
    )
    # 2 x 0.25 h x $0.6 and 0.25 h x $1.2.
    assert cost(plan(arms=PRICED, traffic=minutes), known).endswith("blue 2, green 1), $0.60")
    assert cost(plan(arms=PRICED, traffic=minutes), {}) == (
        "0.25 hours of each instance, $0.15 for one of blue, $0.30 for one of green"
    )
    assert cost(plan(traffic=minutes), {"blue": 2}) == "0.25 hours of each instance"
