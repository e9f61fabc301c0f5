"""Real boto3 against the real server."""

import json
import math
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from experiments.local.process import LocalEndpoint

Connect = Callable[..., Any]
ROW = [0, 0, 5, 13, 9, 1, 0, 0] * 8


def error_of(call: Callable[..., Any], **arguments: Any) -> Any:
    from botocore.exceptions import ClientError

    with pytest.raises(ClientError) as caught:
        call(**arguments)
    return caught.value


def test_weights_divide_the_traffic_over_one_connection(
    endpoint: LocalEndpoint, connect: Connect
) -> None:
    client = connect(endpoint)
    seen: Counter[str] = Counter()
    for _ in range(200):
        answer = client.invoke_endpoint(
            EndpointName="mixed",
            ContentType="application/json",
            Body=json.dumps({"instances": [ROW]}),
        )
        answer["Body"].read()
        seen[answer["InvokedProductionVariant"]] += 1
    # 200 draws with probability 1/4; five standard deviations fail once in two million runs.
    assert abs(seen["svm"] - 50) < 5 * math.sqrt(200 * 0.25 * 0.75)
    assert seen["svm"] + seen["fixed"] == 200
    pool = client._endpoint.http_session._manager.connection_from_url(endpoint.url)
    assert pool.num_connections == 1


def test_a_session_token_is_taken(endpoint: LocalEndpoint, connect: Connect) -> None:
    client = connect(endpoint, aws_session_token="of-no-matter")
    client.invoke_endpoint(EndpointName="mixed", TargetVariant="fixed", Body=b"")["Body"].read()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"EndpointName": "other"}, "Endpoint other of account 123456789012 not found."),
        ({"TargetVariant": "other"}, "Variant other not found"),
        ({"EndpointName": "bad name/.."}, "endpointName"),
        ({"EndpointName": "x" * 64}, "less than or equal to 63"),
        ({"TargetVariant": "a b"}, "targetVariant"),
        ({"InferenceId": "x" * 65}, "inferenceId"),
        ({"CustomAttributes": "x" * 1025}, "customAttributes"),
        ({"CustomAttributes": "caf\u00e9"}, "customAttributes"),
        ({"CustomAttributes": "a\tb"}, "customAttributes"),
        ({"InferenceComponentName": "c"}, "Inference component c not found"),
        ({"TargetModel": "m", "TargetVariant": "svm"}, "TargetModel does not go with"),
        ({"TargetContainerHostname": "h"}, "TargetContainerHostname does not go with"),
        ({"PrefixAwareId": "p"}, "PrefixAwareId needs PREFIX_AWARE"),
    ],
)
def test_a_call_that_breaks_a_rule_is_a_validation_error(
    endpoint: LocalEndpoint, connect: Connect, arguments: dict[str, str], message: str
) -> None:
    call = connect(endpoint).invoke_endpoint
    error = error_of(call, **{"EndpointName": "mixed", "Body": b"{}", **arguments})
    assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert error.response["Error"]["Code"] == "ValidationError"
    assert message in error.response["Error"]["Message"]


def test_a_body_at_the_limit_passes_and_one_over_it_is_413(
    endpoint: LocalEndpoint, connect: Connect
) -> None:
    client = connect(endpoint)
    call = {"EndpointName": "mixed", "TargetVariant": "fixed"}
    client.invoke_endpoint(**call, Body=bytes(6_291_456))["Body"].read()
    error = error_of(client.invoke_endpoint, **call, Body=bytes(6_291_457))
    assert error.response["Error"]["Code"] == "413"
    assert "6291456" in error.response["Error"]["Message"]
    assert len(error.response["ResponseMetadata"]["RequestId"]) == 36


def test_the_endpoint_is_described(endpoint: LocalEndpoint, connect: Connect) -> None:
    client = connect(endpoint, "sagemaker")
    described = client.describe_endpoint(EndpointName="mixed")
    assert described["EndpointStatus"] == "InService"
    assert described["EndpointArn"] == "arn:aws:sagemaker:us-east-1:123456789012:endpoint/mixed"
    age = datetime.now(UTC) - described["CreationTime"]
    assert timedelta(0) < age < timedelta(hours=1)
    assert described["ProductionVariants"] == [
        {
            "VariantName": name,
            "CurrentWeight": weight,
            "DesiredWeight": weight,
            "CurrentInstanceCount": instances,
            "DesiredInstanceCount": instances,
        }
        for name, weight, instances in [("svm", 1, 1), ("fixed", 3, 1), ("unweighted", 0, 2)]
    ]
    client.get_waiter("endpoint_in_service").wait(EndpointName="mixed")


def test_the_endpoint_config_is_described(endpoint: LocalEndpoint, connect: Connect) -> None:
    client = connect(endpoint, "sagemaker")
    name = client.describe_endpoint(EndpointName="mixed")["EndpointConfigName"]
    variants = client.describe_endpoint_config(EndpointConfigName=name)["ProductionVariants"]
    assert variants[0] == {
        "VariantName": "svm",
        "ModelName": "digits-svm",
        "InstanceType": "ml.c6i.large",
        "InitialInstanceCount": 1,
        "InitialVariantWeight": 1.0,
    }


def test_what_the_control_plane_does_not_know_is_refused(
    endpoint: LocalEndpoint, connect: Connect
) -> None:
    client = connect(endpoint, "sagemaker")
    error = error_of(client.describe_endpoint, EndpointName="other")
    assert error.response["Error"] == {
        "Code": "ValidationException",
        "Message": 'Could not find endpoint "arn:aws:sagemaker:us-east-1:123456789012:'
        'endpoint/other".',
    }
    error = error_of(client.list_endpoints)
    assert error.response["Error"]["Code"] == "UnknownOperationException"
    assert "DescribeEndpoint" in error.response["Error"]["Message"]
    error = error_of(connect(endpoint, "cloudwatch").list_metrics)
    assert error.response["Error"]["Code"] == "UnknownOperationException"
