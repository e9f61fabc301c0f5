"""Instances, targets and costs by hand; the policy by AWS's own model of its API."""

import json
import re

import boto3
import pytest
from botocore.stub import Stubber
from hypothesis import given
from hypothesis import strategies as st

from analysis.results.capacity import LimitAtRate, RateFound
from analysis.results.values import Interval
from analysis.sizing import needed, size, with_zone_lost
from experiments.plan import Plan


def plan(price=0.25, **capacity):
    return Plan.model_validate(
        {
            "question": "capacity",
            "seed": 1,
            "endpoint": {"name": "shop", "target": "http://127.0.0.1:8080"},
            "arms": {"blue": {} if price is None else {"instance_price_usd_per_hour": price}},
            "request": {"payloads": "rows.jsonl"},
            "traffic": {"routing": "pinned"},
            "slo": {"p99": 0.3},
            "capacity": {"peak_rate": 500.0, "target_utilisation": 0.5, **capacity},
        }
    )


def test_a_peak_takes_what_the_lower_bound_and_the_utilisation_give():
    sizing = size(plan(), "blue", lowest_rps=80.0, instances=2)
    assert (sizing.instance_rps, sizing.planned_rps) == (40.0, 20.0)
    assert sizing.invocations_per_instance == 1200.0  # 40 x 0.5 x 60
    (peak,) = [each for each in sizing.peaks if each.peak_rps == 500]
    assert peak.instances == 25
    assert peak.with_zone_lost == 38  # a zone takes 13, and 25 are left
    assert peak.usd_per_hour == pytest.approx(9.5)
    assert peak.usd_per_million == pytest.approx(9.5 / 1.8)  # 1.8 million an hour
    assert peak.beyond_measured


def at_rate(rate_rps: float, upper_ms: float, errors: str = "met", saturated: int = 0):
    """A rate at which the p99 lies at or below `upper_ms`, as far as its interval tells."""

    def limit(metric, limit_ms, allowed, high, call):
        ends = Interval(low=0.0, high=0.01, level=0.9)
        value = None if high is None else Interval(low=high / 2, high=high, level=0.9)
        return LimitAtRate(
            metric=metric, limit_ms=limit_ms, allowed=allowed, requests=3000, missed=3,
            interval=ends, value_ms=high, value_interval=value, call=call,
        )  # fmt: skip

    return RateFound(
        rate_rps=rate_rps, call="pass", probes=1, measured_s=30.0, requests=3000,
        saturated=saturated,
        limits=(
            limit("p99", 300.0, 0.01, upper_ms, "met"),
            limit("error_rate", None, 0.001, None, errors),
        ),
    )  # fmt: skip


def test_other_limits_are_sized_by_the_rates_that_were_shown_to_keep_them():
    rates = (at_rate(20, 140), at_rate(40, 220), at_rate(80, 290), at_rate(90, 500))
    found = size(plan(peak_rate=100.0), "blue", 80.0, 2, rates).limits
    seen = [(need.limit_ms, need.rate_rps, need.instances, need.with_zone_lost) for need in found]
    assert seen == [
        (150.0, 20, 20, 30),  # 10 each, half of it used
        (225.0, 40, 10, 15),
        (300.0, 80.0, 5, 8),  # the plan's own: its lower bound
        (450.0, 80, 5, 8),
        (600.0, 90, 5, 8),
    ]
    assert [need.is_asked for need in found] == [False, False, True, False, False]
    assert found[0].usd_per_hour == pytest.approx(30 * 0.25)


def test_a_wider_limit_is_never_said_to_carry_less_nor_a_narrower_one_more():
    # At 40 req/s the limit is met, though failures leave its latency without an upper end.
    rates = (at_rate(20, 140), at_rate(40, None), at_rate(80, 200))
    found = size(plan(), "blue", 60.0, 1, rates).limits
    assert [need.rate_rps for need in found] == [20, 20, 60.0, 80, 80]
    unshown = size(plan(), "blue", 60.0, 1, (at_rate(20, 140, "undecided"),)).limits
    assert [need.rate_rps for need in unshown] == [None, None, 60.0, 60.0, 60.0]
    beyond = size(plan(), "blue", 60.0, 1, (at_rate(20, 140), at_rate(80, 140))).limits
    assert [need.rate_rps for need in beyond] == [60.0, 60.0, 60.0, 80, 80]


@pytest.mark.parametrize(
    "broken", [{"errors": "broken"}, {"errors": "undecided"}, {"saturated": 1}]
)
def test_a_rate_at_which_something_else_breaks_keeps_no_limit(broken):
    rates = (at_rate(20, 140), at_rate(40, 200, **broken), at_rate(80, 290))
    found = size(plan(peak_rate=None), "blue", 20.0, 1, rates).limits
    assert {need.rate_rps for need in found if not need.is_asked} == {20}
    assert {need.instances for need in found} == {None}
    slow = size(plan(), "blue", 20.0, 1, (at_rate(20, 290),)).limits
    assert [need.rate_rps for need in slow] == [None, None, 20.0, 20, 20]


def test_what_was_measured_together_is_not_beyond_it():
    sizing = size(plan(peak_rate=100.0), "blue", lowest_rps=80.0, instances=2)
    marked = {need.peak_rps: need.beyond_measured for need in sizing.peaks}
    assert marked[50.0] is False
    assert marked[100.0] is True


def test_fewer_instances_than_were_measured_are_extrapolated_too():
    sizing = size(plan(peak_rate=100.0), "blue", lowest_rps=400.0, instances=4)
    marked = {need.instances: need.beyond_measured for need in sizing.peaks}
    assert marked == {1: True, 2: True, 3: True, 4: False, 8: False}


def test_without_a_price_there_are_no_costs_and_without_a_peak_no_table():
    sizing = size(plan(price=None), "blue", 80.0, 2)
    assert {need.usd_per_hour for need in sizing.peaks} == {None}
    assert {need.usd_per_million for need in sizing.peaks} == {None}
    assert (sizing.usd_per_hour, sizing.usd_per_million) == (None, None)
    assert size(plan(peak_rate=None), "blue", 80.0, 2).peaks == ()


def test_without_a_peak_there_is_still_a_cost_and_no_fleet_is_capped():
    sizing = size(plan(peak_rate=None), "blue", 80.0, 2)
    assert sizing.usd_per_hour == 0.5
    assert sizing.usd_per_million == pytest.approx(0.25 / 0.072)  # 20 a second, 72,000 an hour
    assert "max_capacity       = var.max_capacity" in sizing.terraform
    assert sizing.terraform.startswith('variable "max_capacity" {')
    assert sizing.terraform.count("{") == sizing.terraform.count("}")


def test_a_target_is_rounded_down_and_lower_to_lose_a_zone():
    sizing = size(plan(), "blue", lowest_rps=80.01, instances=2)
    assert sizing.invocations_per_instance == 1200  # 1200.15
    assert sizing.with_zone_lost == 800  # 2 of 3 zones are left
    assert size(plan(), "blue", 0.0279, 1).invocations_per_instance == 0.83  # 0.837


def test_an_exact_fit_takes_no_instance_more():
    assert needed(700.0, 0.7 * 100) == 10
    assert needed(700.1, 0.7 * 100) == 11
    assert needed(0.1, 70.0) == 1


@given(st.integers(1, 5000), st.integers(2, 6))
def test_when_the_fullest_zone_is_gone_as_many_are_left_as_are_needed(instances, zones):
    total = with_zone_lost(instances, zones)

    def left(n):
        return n - -(-n // zones)

    assert left(total) >= instances
    assert left(total - 1) < instances


def test_the_scaling_policy_is_what_the_api_takes():
    sizing = size(plan(), "blue", 80.0, 2)
    policy = json.loads(sizing.scaling_policy)
    client = boto3.client(
        "application-autoscaling", region_name="us-east-1",
        aws_access_key_id="a", aws_secret_access_key="b",
    )  # fmt: skip
    with Stubber(client) as stub:
        stub.add_response("put_scaling_policy", {"PolicyARN": "arn"}, policy)
        client.put_scaling_policy(**policy)  # raises where a key or a type is not the API's
    assert policy["ResourceId"] == "endpoint/shop/variant/blue"
    target = policy["TargetTrackingScalingPolicyConfiguration"]
    assert target["TargetValue"] == 1200.0
    kinds = client.meta.service_model.shape_for("MetricType").enum
    assert target["PredefinedMetricSpecification"]["PredefinedMetricType"] in kinds


def test_terraform_says_the_same_as_the_policy():
    sizing = size(plan(), "blue", 80.0, 2)
    values = dict(re.findall(r"(\w+)\s+= (\S+)$", sizing.terraform, re.MULTILINE))
    assert values["resource_id"].startswith("aws_appautoscaling_target")
    assert '"endpoint/shop/variant/blue"' in sizing.terraform
    assert float(values["target_value"]) == 1200.0
    assert values["max_capacity"] == "38"
    assert sizing.terraform.count("{") == sizing.terraform.count("}")
