"""The least policy, held against AWS's Service Authorization Reference as policy_sentry has it."""

from collections.abc import Mapping
from fnmatch import fnmatch
from typing import Any

import pytest
from policy_sentry.querying.actions import get_action_data

from experiments.plan import Plan
from experiments.policy import minimal_policy
from tests.experiments.test_doctor import plan

WITH_WEIGHTS = {
    "arms": {"blue": {}, "green": {}},
    "traffic": {"routing": "weighted", "rate": 1.0, "duration": "10m", "set_weights": True},
}
WITH_OTHERS = {
    "arms": {
        "blue": {"request": {"inference_component_name": "Ranker"}},
        "green": {"request": {"endpoint_name": "Other"}},
    },
    "request": {"payloads": "rows.jsonl", "operation": "stream"},
}
PLANS = [plan(), plan(**WITH_WEIGHTS), plan(**WITH_OTHERS)]


@pytest.mark.parametrize("asked", PLANS)
@pytest.mark.parametrize("known", [{}, {"region": "eu-west-1", "account": "123456789012"}])
def test_every_action_is_one_of_awss_and_its_resources_are_of_its_types(
    asked: Plan, known: Mapping[str, Any]
) -> None:
    for statement in minimal_policy(asked, **known)["Statement"]:
        for action in statement["Action"]:
            service, name = action.split(":")
            rows = get_action_data(service, name)[service]
            formats = {row["resource_arn_format"] for row in rows}
            of_type = {each.rpartition("/")[0].rpartition(":")[2] for each in formats - {"*"}}
            for resource in statement["Resource"]:
                assert resource.rpartition("/")[0].rpartition(":")[2] in (of_type or {""}), action


def test_a_plan_gets_no_more_than_it_needs() -> None:
    def actions(asked: Plan) -> set[str]:
        return {a for one in minimal_policy(asked)["Statement"] for a in one["Action"]}

    least = {
        "sagemaker:InvokeEndpoint",
        "sagemaker:DescribeEndpoint",
        "sagemaker:DescribeEndpointConfig",
        "application-autoscaling:DescribeScalableTargets",
        "application-autoscaling:DescribeScalingActivities",
        "cloudwatch:GetMetricData",
    }
    assert actions(plan()) == least
    changes = {"sagemaker:UpdateEndpointWeightsAndCapacities"}
    assert actions(plan(**WITH_WEIGHTS)) == least | changes
    streams = {"sagemaker:InvokeEndpointWithResponseStream"}
    assert actions(plan(**WITH_OTHERS)) == least - {"sagemaker:InvokeEndpoint"} | streams


def test_resources_are_the_plans_endpoints_and_components_and_wildcards_only_where_unknown() -> (
    None
):
    known = minimal_policy(
        plan(**WITH_OTHERS), partition="aws-cn", region="cn-north-1", account="123456789012"
    )
    here = "arn:aws-cn:sagemaker:cn-north-1:123456789012"
    assert known["Statement"][0]["Resource"] == [
        f"{here}:endpoint/shop", f"{here}:endpoint/other", f"{here}:inference-component/Ranker",
    ]  # fmt: skip
    unknown = minimal_policy(plan())["Statement"][0]["Resource"][0]
    assert fnmatch("arn:aws:sagemaker:us-east-1:123456789012:endpoint/shop", unknown)
    assert not fnmatch("arn:aws:sagemaker:us-east-1:123456789012:endpoint/shop-2", unknown)
