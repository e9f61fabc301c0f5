"""The control plane's reads, as boto3's service models have them, and the one change."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from experiments.local import process
from experiments.local.process import LocalEndpoint
from tests.end_to_end.conftest import wait_for
from tests.sdks import clients
from tests.sdks.shapes import check

FILE = """
    name = "moved"
    also = ["deploying.toml"]
    metrics_delay = "0s"
    update_takes = "400ms"
    served_log = "served.csv"
    capture = { folder = "captured", share = "50%" }
    [keys.other]
    secret_access_key = "other"
    account = "999999999999"
    [variants.blue]
    weight = 1
    instances = 2
    instance_type = "ml.c6i.large"
    routing = "LEAST_OUTSTANDING_REQUESTS"
    simulated = { constant = "20ms", workers = 4 }
    [variants.blue.autoscaling]
    max = 4
    invocations_per_instance = 3000
    activities = [{ at = "0s", instances = 3 }]
    [variants.green]
    weight = 0
    simulated = { constant = "1ms" }
    [[faults]]
    kind = "model_error"
    status = 503
    variant = "green"
    """
DEPLOYING = """
    name = "deploying"
    pending = { config = "another" }
    [variants.blue]
    managed = { min = 2, max = 4 }
    simulated = { constant = "0s" }
    """
START = datetime.now(UTC) - timedelta(minutes=5)
Connect = Callable[..., Any]


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalEndpoint]:
    folder = tmp_path_factory.mktemp("moved")
    (folder / "e.toml").write_text(FILE)
    (folder / "deploying.toml").write_text(DEPLOYING)
    running = process.start(folder / "e.toml", log_dir=folder)
    yield running
    running.stop()


@pytest.fixture
def connect(moved: LocalEndpoint) -> Connect:
    return partial(clients.boto3_client, moved)


def invoke(client: Any, variant: str | None = None) -> str:
    target = {} if variant is None else {"TargetVariant": variant}
    answer = client.invoke_endpoint(EndpointName="moved", Body=b"", **target)
    answer["Body"].read()
    return str(answer["InvokedProductionVariant"])


def raw(moved: LocalEndpoint, target: str, body: bytes, service: str) -> Any:
    """Call as botocore would, but read the JSON as it is: a parser drops what it does not know."""
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    headers = {"X-Amz-Target": target, "Content-Type": "application/x-amz-json-1.1"}
    request = AWSRequest("POST", f"{moved.url}/", headers=headers, data=body)
    SigV4Auth(Credentials("local", "local"), service, moved.region).add_auth(request)
    sent = urllib.request.Request(f"{moved.url}/", body, dict(request.headers))
    with urllib.request.urlopen(sent) as answer:
        return json.loads(answer.read())


CLOUDWATCH = "GraniteServiceVersion20100801"
SCALED = {"ServiceNamespace": "sagemaker"}
NAMED = {
    "Namespace": "AWS/SageMaker",
    "MetricName": "ModelLatency",
    "Dimensions": [{"Name": "EndpointName", "Value": "moved"}],
}
SPAN = {"StartTime": 1e9, "EndTime": 4e9, "Period": 60}
QUERY = {"Id": "q", "MetricStat": {"Metric": NAMED, "Period": 60, "Stat": "p99"}}
SAME = {"VariantName": "blue", "DesiredWeight": 1.0}
READS = [
    ("sagemaker", "SageMaker", "DescribeEndpoint", {"EndpointName": "moved"}),
    ("sagemaker", "SageMaker", "DescribeEndpointConfig", {"EndpointConfigName": "moved"}),
    ("sagemaker", "SageMaker", "DescribeEndpoint", {"EndpointName": "deploying"}),
    ("sagemaker", "SageMaker", "DescribeEndpointConfig", {"EndpointConfigName": "deploying"}),
    ("application-autoscaling", "AnyScaleFrontendService", "DescribeScalableTargets", SCALED),
    ("application-autoscaling", "AnyScaleFrontendService", "DescribeScalingPolicies", SCALED),
    ("application-autoscaling", "AnyScaleFrontendService", "DescribeScalingActivities", SCALED),
    (
        "sagemaker",
        "SageMaker",
        "UpdateEndpointWeightsAndCapacities",
        {"EndpointName": "moved", "DesiredWeightsAndCapacities": [SAME]},
    ),
    ("monitoring", CLOUDWATCH, "GetMetricData", {**SPAN, "MetricDataQueries": [QUERY]}),
    (
        "monitoring",
        CLOUDWATCH,
        "GetMetricStatistics",
        {**SPAN, **NAMED, "Statistics": ["Sum"], "ExtendedStatistics": ["p99"]},
    ),
]


@pytest.mark.parametrize(("service", "prefix", "operation", "arguments"), READS)
def test_every_field_is_one_of_the_service_model(
    moved: LocalEndpoint,
    connect: Connect,
    service: str,
    prefix: str,
    operation: str,
    arguments: dict[str, Any],
) -> None:
    invoke(connect("sagemaker-runtime"))
    wait_until_in_service(connect("sagemaker"))

    def asked() -> dict[str, Any]:
        return raw(moved, f"{prefix}.{operation}", json.dumps(arguments).encode(), service)

    def has_points() -> bool:
        answer = asked()
        return bool(answer.get("Datapoints") or answer["MetricDataResults"][0]["Values"])

    if service == "monitoring":
        wait_for(has_points)
    check(connect({"monitoring": "cloudwatch"}.get(service, service)), operation, asked())


@pytest.mark.parametrize("start", ["-1e400", "NaN", '"x"'])
def test_a_time_that_is_none_is_a_validation_error(moved: LocalEndpoint, start: str) -> None:
    # -1e400 is written -Infinity, which is read as the same.
    arguments = {**SPAN, **NAMED, "Statistics": ["Sum"], "StartTime": json.loads(start)}
    body = json.dumps(arguments).encode()
    with pytest.raises(urllib.error.HTTPError) as caught:
        raw(moved, f"{CLOUDWATCH}.GetMetricStatistics", body, "monitoring")
    with caught.value as answer:
        assert answer.code == 400
        assert json.loads(answer.read())["__type"] == "ValidationException"


def wait_until_in_service(client: Any) -> Any:
    deadline = time.monotonic() + 20
    while (found := client.describe_endpoint(EndpointName="moved"))["EndpointStatus"] != (
        "InService"
    ):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def test_autoscaling_is_described_with_what_it_did(connect: Connect) -> None:
    invoke(connect("sagemaker-runtime"))  # from the first invocation on time counts

    def instances() -> int:
        found = wait_until_in_service(connect("sagemaker"))
        return found["ProductionVariants"][0]["CurrentInstanceCount"]

    wait_for(lambda: instances() == 3)
    client = connect("application-autoscaling")
    (target,) = client.describe_scalable_targets(**SCALED)["ScalableTargets"]
    resource = "endpoint/moved/variant/blue"
    dimension = "sagemaker:variant:DesiredInstanceCount"
    assert (target["ResourceId"], target["ScalableDimension"]) == (resource, dimension)
    assert (target["MinCapacity"], target["MaxCapacity"]) == (1, 4)
    one = {**SCALED, "ResourceId": resource, "ScalableDimension": dimension}
    (policy,) = client.describe_scaling_policies(**one)["ScalingPolicies"]
    assert policy["TargetTrackingScalingPolicyConfiguration"]["TargetValue"] == 3000
    (activity,) = client.describe_scaling_activities(**one)["ScalingActivities"]
    assert activity["StatusCode"] == "Successful"
    assert START < activity["StartTime"] < activity["EndTime"]
    assert "count to 3" in activity["Description"]
    other = {**SCALED, "ResourceId": "endpoint/moved/variant/green"}
    assert client.describe_scaling_policies(**other)["ScalingPolicies"] == []
    assert client.describe_scalable_targets(**SCALED, ResourceIds=["x"])["ScalableTargets"] == []
    unscaled = {**SCALED, "ResourceId": "endpoint/deploying/variant/blue"}
    assert client.describe_scaling_activities(**unscaled)["ScalingActivities"] == []
    with pytest.raises(client.exceptions.ValidationException):
        client.describe_scaling_policies(ServiceNamespace="ecs")
    stranger = connect("application-autoscaling", ("other", "other"))
    assert stranger.describe_scalable_targets(**SCALED)["ScalableTargets"] == []


def test_weights_and_instances_change_after_a_while_and_routing_follows(connect: Connect) -> None:
    runtime, client = connect("sagemaker-runtime"), connect("sagemaker")
    assert {invoke(runtime) for _ in range(20)} == {"blue"}
    wait_until_in_service(client)
    change = [
        {"VariantName": "blue", "DesiredWeight": 0.0},
        {"VariantName": "green", "DesiredWeight": 2.0},
    ]
    arguments = {"EndpointName": "moved", "DesiredWeightsAndCapacities": change}
    answer = client.update_endpoint_weights_and_capacities(**arguments)
    assert answer["EndpointArn"] == "arn:aws:sagemaker:us-east-1:123456789012:endpoint/moved"
    during = client.describe_endpoint(EndpointName="moved")
    config = client.describe_endpoint_config(EndpointConfigName="moved")
    for blue, green in (during["ProductionVariants"], config["ProductionVariants"]):
        assert blue["RoutingConfig"] == {"RoutingStrategy": "LEAST_OUTSTANDING_REQUESTS"}
        assert "RoutingConfig" not in green  # what is not stated
    assert during["EndpointStatus"] == "Updating"
    weights = [(v["CurrentWeight"], v["DesiredWeight"]) for v in during["ProductionVariants"]]
    assert weights == [(1.0, 0.0), (0.0, 2.0)]
    assert invoke(runtime) == "blue"
    with pytest.raises(client.exceptions.ClientError, match="Cannot update in-progress endpoint"):
        client.update_endpoint_weights_and_capacities(**arguments)
    after = wait_until_in_service(client)
    weights = [(v["CurrentWeight"], v["DesiredWeight"]) for v in after["ProductionVariants"]]
    assert weights == [(0.0, 0.0), (2.0, 2.0)]
    assert after["LastModifiedTime"] > after["CreationTime"]
    with pytest.raises(client.exceptions.ClientError, match="server error"):
        invoke(runtime)
    back = [
        {"VariantName": "blue", "DesiredWeight": 1.0, "DesiredInstanceCount": 4},
        {"VariantName": "green", "DesiredWeight": 0.0},
    ]
    client.update_endpoint_weights_and_capacities(
        EndpointName="moved", DesiredWeightsAndCapacities=back
    )
    assert wait_until_in_service(client)["ProductionVariants"][0]["CurrentInstanceCount"] == 4
    assert {invoke(runtime) for _ in range(20)} == {"blue"}


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ([{"VariantName": "blue", "DesiredInstanceCount": 5}], "ResourceLimitExceeded"),
        ([{"VariantName": "blue", "DesiredInstanceCount": 0}], "ValidationException"),
        ([{"VariantName": "blue", "DesiredWeight": 0.0}], "ValidationException"),
        ([{"VariantName": "none", "DesiredWeight": 1.0}], "ValidationException"),
    ],
)
def test_what_cannot_be_is_refused(
    connect: Connect, changes: list[dict[str, Any]], code: str
) -> None:
    client = connect("sagemaker")
    wait_until_in_service(client)
    with pytest.raises(client.exceptions.ClientError) as caught:
        client.update_endpoint_weights_and_capacities(
            EndpointName="moved", DesiredWeightsAndCapacities=changes
        )
    assert caught.value.response["Error"]["Code"] == code


def test_a_pending_deployment_and_managed_scaling_are_described(connect: Connect) -> None:
    client, name = connect("sagemaker"), {"EndpointName": "deploying"}
    found = client.describe_endpoint(**name)
    assert found["EndpointStatus"] == "Updating"
    assert found["PendingDeploymentSummary"]["EndpointConfigName"] == "another"
    (variant,) = found["ProductionVariants"]
    scaling = {"Status": "ENABLED", "MinInstanceCount": 2, "MaxInstanceCount": 4}
    assert variant["ManagedInstanceScaling"] == scaling
    with pytest.raises(client.exceptions.ClientError, match="Cannot update in-progress endpoint"):
        client.update_endpoint_weights_and_capacities(**name, DesiredWeightsAndCapacities=[SAME])
    described = client.describe_endpoint_config(EndpointConfigName=found["EndpointConfigName"])
    assert described["EndpointConfigName"] == "deploying"
    assert "PendingDeploymentSummary" not in client.describe_endpoint(EndpointName="moved")


def test_an_endpoint_is_found_by_the_keys_of_its_account_only(connect: Connect) -> None:
    client = connect("sagemaker", ("other", "other"))
    with pytest.raises(client.exceptions.ClientError) as caught:
        client.describe_endpoint(EndpointName="moved")
    assert ":999999999999:endpoint/moved" in caught.value.response["Error"]["Message"]


def test_sts_says_whose_a_key_is_and_refuses_a_wrong_one(connect: Connect) -> None:
    answer = connect("sts", ("other", "other")).get_caller_identity()
    check(connect("sts"), "GetCallerIdentity", answer)
    assert answer["Account"] == "999999999999"
    client = connect("sts", ("local", "wrong <&> secret"))
    with pytest.raises(client.exceptions.ClientError) as caught:
        client.get_caller_identity()
    assert caught.value.response["Error"]["Code"] == "SignatureDoesNotMatch"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


BLUE = '{"EndpointName": "moved", "DesiredWeightsAndCapacities": [{"VariantName": "blue", %s}]}'


@pytest.mark.parametrize(
    "body",
    [
        "", "[]", "{}", '{"EndpointName": "moved"}',
        '{"EndpointName": "moved", "DesiredWeightsAndCapacities": []}',
        BLUE % '"DesiredInstanceCount": 1.5', BLUE % '"DesiredInstanceCount": 2.0',
        BLUE % '"DesiredInstanceCount": true', BLUE % '"DesiredInstanceCount": "2"',
        BLUE % '"DesiredWeight": true', BLUE % '"DesiredWeight": "1"',
        BLUE % '"DesiredWeight": 1e999',
    ],
)  # fmt: skip
def test_a_body_that_cannot_be_read_is_a_validation_error(moved: LocalEndpoint, body: str) -> None:
    target = "SageMaker.UpdateEndpointWeightsAndCapacities"
    with pytest.raises(urllib.error.HTTPError) as caught:
        raw(moved, target, body.encode(), "sagemaker")
    with caught.value as answer:
        assert json.loads(answer.read())["__type"] == "ValidationException"


def test_the_aws_cli_reads_it(moved: LocalEndpoint) -> None:
    reads = {
        "EndpointArn": ["sagemaker", "describe-endpoint", "--endpoint-name", "moved"],
        "ScalableTargets": [
            "application-autoscaling", "describe-scalable-targets",
            "--service-namespace", "sagemaker",
        ],
        "Account": ["sts", "get-caller-identity"],
    }  # fmt: skip
    for key, (_, output, error) in zip(reads, clients.with_cli(moved, reads.values()), strict=True):
        assert json.loads(output or error)[key]
