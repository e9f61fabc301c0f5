"""Which IAM permissions does a plan need: the smallest policy that lets it run."""

from typing import Any

from experiments.plan import Plan


def minimal_policy(
    plan: Plan, *, partition: str = "aws", region: str | None = None, account: str | None = None
) -> dict[str, Any]:
    """Give the policy for the identity that runs a plan; what is not known is a wildcard.

    Actions and the resources that each of them knows: Service Authorization Reference. All
    configurations of endpoints may be read, since each deployment of an endpoint has another.
    STS answers GetCallerIdentity without a permission.
    """
    here = f"arn:{partition}:sagemaker:{region or '*'}:{account or '*'}"
    at = (plan.endpoint.name, *plan.other_endpoints)
    endpoints = [f"{here}:endpoint/{name.lower()}" for name in at]
    named = [arm.request.inference_component_name for arm in plan.arms.values()]
    components = [
        f"{here}:inference-component/{name}"
        for name in dict.fromkeys([*named, plan.request.inference_component_name])
        if name
    ]
    invoke = ["sagemaker:InvokeEndpoint"]
    if plan.is_streamed:
        invoke = ["sagemaker:InvokeEndpointWithResponseStream"]
    manage = ["sagemaker:DescribeEndpoint"]
    if plan.traffic.set_weights:
        manage.append("sagemaker:UpdateEndpointWeightsAndCapacities")
    watch = [
        "application-autoscaling:DescribeScalableTargets",
        "application-autoscaling:DescribeScalingActivities",
        "cloudwatch:GetMetricData",
    ]
    return {
        "Version": "2012-10-17",
        "Statement": [
            _allow("Send", invoke, [*endpoints, *components]),
            _allow("Endpoint", manage, endpoints),
            _allow("Config", ["sagemaker:DescribeEndpointConfig"], [f"{here}:endpoint-config/*"]),
            _allow("Watch", watch, ["*"]),
        ],
    }


def _allow(sid: str, actions: list[str], resources: list[str]) -> dict[str, Any]:
    return {"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": resources}
