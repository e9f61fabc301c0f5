"""Each finding from facts made by hand: when it is ok, and when it warns or fails."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from experiments import caller, doctor
from experiments.caller import Identity
from experiments.doctor import Finding, Invocations, Scalable
from experiments.estimate import Estimate
from experiments.payloads import Payload
from experiments.plan import Plan
from experiments.sagemaker.endpoint import EndpointFacts, Variant

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
TAKES = Estimate(runs=1, requests=600.0, minutes=10.0)
PLAN = {
    "question": "compare",
    "seed": 1,
    "endpoint": {"name": "shop"},
    "arms": {"blue": {}, "green": {"request": {"target_variant": "green-v2"}}},
    "request": {"payloads": "rows.jsonl"},
    "traffic": {"routing": "paired", "rate": 1.0, "duration": "10m"},
    "limits": {"max_requests": 1000, "max_minutes": 20.0},
    "compare": {"baseline": "blue", "margins": {"p50": "5%"}},
}


def plan(**changes: Any) -> Plan:
    return Plan.model_validate(PLAN | changes)


LOGIN = {"is_temporary": True, "renews": True, "is_of_a_login": True}


def identity(**facts: Any) -> Identity:
    return Identity(**{"method": "env", "region": "eu-west-1", **facts})


@pytest.mark.parametrize(
    ("facts", "minutes", "state", "said"),
    [
        ({"method": None}, 10.0, "fail", "boto3 finds none"),
        ({}, 10.0, "ok", "env: a key that does not expire"),
        ({"is_temporary": True}, 10.0, "warn", "nothing says when"),
        ({"method": "iam-role", "is_temporary": True, "renews": True}, 10.0, "ok", "renews them"),
        ({"method": "sso", **LOGIN, "left": 11}, 10.0, "ok", "in 11 minutes, and the plan takes"),
        ({"method": "sso", **LOGIN, "left": 9}, 10.0, "warn", "in 9 minutes, and the plan takes"),
        ({"method": "assume-role", **LOGIN, "renews": False, "left": 9}, 10.0, "fail", "9 minutes"),
        ({"is_temporary": True, "left": 11}, 10.0, "ok", "in 11 minutes, and the plan takes 10"),
        ({"is_temporary": True, "left": 9}, 10.0, "fail", "in 9 minutes, and the plan takes 10"),
        ({"is_temporary": True, "left": 9}, None, "warn", "expire in 9 minutes"),
        ({"is_temporary": True, "left": -3}, None, "fail", "expired 3 minutes ago"),
        ({"profile": "load", "method": "assume-role"}, 1.0, "ok", "assume-role, profile load"),
    ],
)
def test_credentials_must_outlive_the_run(
    facts: dict[str, Any], minutes: float | None, state: str, said: str
) -> None:
    left = facts.pop("left", None)
    expires = None if left is None else NOW + timedelta(minutes=left)
    takes = Estimate(runs=1, requests=None, minutes=minutes)
    found = caller.credentials(identity(**facts, expires_at=expires), takes, NOW)
    assert (found.state, said in found.finding) == (state, True), found


def test_an_account_that_sts_refuses_to_name_fails_and_one_it_cannot_be_asked_for_warns() -> None:
    arn = "arn:aws:iam::123456789012:user/a"
    assert caller.account(identity(arn=arn)) == Finding("Account", "ok", arn)
    refused = caller.account(identity(refusal="ExpiredToken", is_reached=True))
    unreached = caller.account(identity(refusal="ConnectTimeoutError"))
    assert (refused.state, unreached.state) == ("fail", "warn")


@pytest.mark.parametrize(
    ("region", "of_plan", "variables", "state", "said"),
    [
        ("eu-west-1", "eu-west-1", {}, "ok", "eu-west-1, from the plan's endpoint.region"),
        ("eu-west-1", None, {"AWS_DEFAULT_REGION": "eu-west-1"}, "ok", "from AWS_DEFAULT_REGION"),
        ("eu-west-1", None, {}, "ok", "from the profile default"),
        ("eu-west-1", None, {"AWS_REGION": "us-east-1"}, "warn", "from the profile default"),
        ("eu-west-1", "eu-west-1", {"AWS_REGION": "us-east-1"}, "ok", "the plan's"),
        (None, None, {"AWS_REGION": "us-east-1"}, "fail", "none is set"),
    ],
)
def test_a_region_that_boto3_does_not_read_is_named(
    region: str | None, of_plan: str | None, variables: dict[str, str], state: str, said: str
) -> None:
    asked = plan(endpoint={"name": "shop", "region": of_plan} if of_plan else {"name": "shop"})
    found = caller.region(identity(region=region), asked, variables)
    assert (found.state, said in found.finding) == (state, True), found
    assert ("AWS_REGION" in (found.cause or "")) == (state != "ok")


@pytest.mark.parametrize(
    ("ahead_s", "state"),
    [
        (None, "skip"),
        (-0.6, "ok"),
        (60.0, "ok"),
        (-61.0, "warn"),
        (299.0, "warn"),
        (-301.0, "fail"),
    ],
)
def test_a_clock_is_wrong_where_signatures_are_refused(ahead_s: float | None, state: str) -> None:
    found = caller.clock(ahead_s)
    assert found.state == state
    assert ("behind" in found.finding) == ((ahead_s or 0) < 0)


def variant(**facts: Any) -> Variant:
    known = {"weight": 1.0, "instances": 2, "instance_type": "ml.m5.large"}
    return Variant(model=None, image=None, **{**known, **facts})


def facts(green: Variant | None = None, **changes: Any) -> EndpointFacts:
    variants = {"blue": variant(), "green-v2": green or variant()}
    known = {"status": "InService", "config": "shop-7", "variants": variants}
    return EndpointFacts(**{**known, **changes})


@pytest.mark.parametrize(
    ("changes", "state", "said"),
    [
        ({}, "ok", "InService, config shop-7"),
        ({"status": "Updating"}, "fail", "Updating, config shop-7"),
        ({"status": "Failed", "failure": "CannotStartContainer"}, "fail", "CannotStartContainer"),
        ({"pending": "shop-8"}, "fail", "shop-8"),
        ({"note": "The endpoint could not be described: AccessDenied"}, "warn", "AccessDenied"),
    ],
)
def test_an_endpoint_on_its_way_to_another_state_fails(
    changes: dict[str, Any], state: str, said: str
) -> None:
    found = doctor.endpoint(facts(**changes))
    assert (found.state, said in f"{found.finding} {found.cause}") == (state, True), found
    is_under_way = {"status", "pending"} & changes.keys() and "failure" not in changes
    assert ("Wait until" in (found.next_step or "")) == bool(is_under_way)


@pytest.mark.parametrize(
    ("green", "state", "why"),
    [
        (variant(), "ok", None),
        (variant(instances=4), "warn", "blue 67%, green 33%"),
        (variant(instance_type="ml.c6i.large"), "warn", "instance types"),
        (variant(instances=None, instance_type=None), "warn", "instance types"),
        (variant(instances=0), "fail", "nothing answers for green"),
    ],
)
def test_arms_must_carry_the_same_load_on_like_instances(
    green: Variant, state: str, why: str | None
) -> None:
    found = doctor.arms(plan(), facts(green))
    assert found.state == state
    assert (found.cause or "").find(why or "") >= 0
    assert doctor.arms(plan(), EndpointFacts()).state == "skip"


def test_arms_at_endpoints_of_their_own_are_all_of_its_variants() -> None:
    asked = plan(arms={"blue": {}, "green": {"request": {"endpoint_name": "other"}}})
    variants = {name: variant() for name in ("blue", "other/a", "other/b", "third/blue")}
    found = EndpointFacts(variants=variants)
    assert doctor.variants_of(asked, found) == {"blue": ["blue"], "green": ["other/a", "other/b"]}
    assert doctor.instances(asked, found) == {"blue": 2, "green": 4}
    assert "green: 4 ml.m5.large, weight 2" in doctor.arms(asked, found).finding


@pytest.mark.parametrize("told_by", ["inference_component_name", "target_model"])
def test_arms_that_share_their_variants_are_not_judged_by_them(told_by: str) -> None:
    asked = plan(arms={arm: {"request": {told_by: arm}} for arm in ("blue", "green")})
    found = doctor.arms(asked, facts(variant(instances=4)))
    assert (found.state, found.finding.count("not known")) == ("skip", 2)
    assert doctor.instances(asked, facts()) == {}


def target(**changes: Any) -> Scalable:
    known = {"resource": "endpoint/shop/variant/blue", "least": 1, "most": 4, "is_suspended": False}
    return Scalable(**{**known, "dimension": "sagemaker:variant:DesiredInstanceCount", **changes})


@pytest.mark.parametrize(
    ("found", "state"),
    [
        ([], "ok"),
        ([target(is_suspended=True)], "ok"),
        ([target(most=1)], "ok"),
        ([target()], "warn"),
        ([target(is_suspended=True, moving="Setting desired instance count to 3.")], "fail"),
        ("ClientError: AccessDeniedException", "warn"),
    ],
)
def test_scaling_that_may_move_instances_is_named_with_the_commands_that_hold_it(
    found: list[Scalable] | str, state: str
) -> None:
    said = doctor.scaling(found)
    assert said.state == state
    if state != "ok" and not isinstance(found, str):
        assert said.next_step is not None
        assert said.next_step.count("register-scalable-target") == 2
        assert "--resource-id endpoint/shop/variant/blue " in said.next_step
        assert "DynamicScalingInSuspended=false" in said.next_step


def test_managed_scaling_with_two_bounds_is_named_with_its_variant() -> None:
    found = doctor.scaling([], {"blue": (1, 4), "green-v2": (2, 2)})
    assert found.state == "warn"
    assert found.finding == "ManagedInstanceScaling may give blue 1 to 4"
    assert "Deploy blue" in (found.next_step or "")


def test_others_traffic_warns_unless_the_plan_allows_it() -> None:
    quiet = Invocations(total=0, minutes=15, latest=None)
    busy = Invocations(total=1234, minutes=15, latest=NOW)
    assert doctor.traffic(quiet, is_allowed=False).state == "ok"
    assert doctor.traffic(busy, is_allowed=True).state == "ok"
    found = doctor.traffic(busy, is_allowed=False)
    assert (found.state, ": 1,234, latest at 12:00 UTC" in found.finding) == ("warn", True)
    assert doctor.traffic("ClientError: AccessDenied", is_allowed=False).state == "warn"


def test_a_body_beyond_the_api_references_limit_warns() -> None:
    bodies = [Payload(f"line {n}", b"x" * size, None) for n, size in ((1, 10), (2, 6_291_456))]
    assert doctor.payloads(bodies).state == "ok"
    found = doctor.payloads([*bodies, Payload("line 3", b"x" * 6_291_457, None)])
    assert (found.state, "6,291,457 bytes (line 3)" in found.finding) == ("warn", True)


def test_permissions_name_what_was_denied() -> None:
    denied = Finding("Scaling", "warn", "not known: ClientError: AccessDeniedException")
    untried = ["sagemaker:UpdateEndpointWeightsAndCapacities"]
    found = doctor.permissions([Finding("Clock", "ok", "")], untried)
    assert (found.state, f"not tried: {untried[0]};" in found.finding) == ("ok", True)
    assert doctor.permissions([Finding("Answers", "fail", "")], []).state == "skip"
    found = doctor.permissions([denied], [])
    assert (found.state, "Scaling" in found.finding) == ("warn", True)


@pytest.mark.parametrize(
    ("found", "state"),
    [
        (doctor.attempts(1, "1.44.5"), "ok"),
        (doctor.attempts(3, "1.44.5"), "fail"),
        (doctor.attempts(0, "1.44.5"), "fail"),
        (doctor.transport("fast", 64, None), "ok"),
        (doctor.transport("boto3", 64, "A proxy is in force for https://x."), "warn"),
        (doctor.files(64, 264, 264), "ok"),
        (doctor.files(64, 263, 263), "fail"),
        # Locust raises a soft limit to 10,000 where the hard limit lets it, and else not at all.
        (doctor.files(5000, 1024, 10_000), "ok"),
        (doctor.files(5000, 1024, 9_999), "fail"),
        (doctor.machine(2, 0.9), "ok"),
        (doctor.machine(1.5, 0.0), "warn"),
        (doctor.machine(4, 2.5), "warn"),
        (doctor.did_not_start("Traceback\nRecursionError: too deep"), "fail"),
        (doctor.did_not_start(""), "fail"),
    ],
)
def test_this_machine_is_judged_by_its_figures(found: Finding, state: str) -> None:
    assert found.state == state
    assert (found.next_step is None) == (state == "ok")
