"""Real boto3 against the real server."""

import json
import math
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from experiments.local.process import LocalEndpoint

Connect = Callable[..., Any]
Start = Callable[[str], LocalEndpoint]
ROW = [0, 0, 5, 13, 9, 1, 0, 0] * 8


def error_of(call: Callable[..., Any], **arguments: Any) -> Any:
    from botocore.exceptions import ClientError

    with pytest.raises(ClientError) as caught:
        call(**arguments)
    return caught.value


def test_json_is_answered_with_json(endpoint: LocalEndpoint, connect: Connect) -> None:
    answer = connect(endpoint).invoke_endpoint(
        EndpointName="mixed",
        TargetVariant="svm",
        ContentType="application/json",
        Body=json.dumps({"instances": [ROW, ROW]}),
    )
    predictions = json.loads(answer["Body"].read())["predictions"]
    assert len(predictions) == 2
    assert predictions[0]["label"] in range(10)
    assert answer["ContentType"] == "application/json"
    assert answer["InvokedProductionVariant"] == "svm"
    assert len(answer["ResponseMetadata"]["RequestId"]) == 36


def test_csv_is_answered_with_csv(endpoint: LocalEndpoint, connect: Connect) -> None:
    row = ",".join(map(str, ROW))
    answer = connect(endpoint).invoke_endpoint(
        EndpointName="mixed", TargetVariant="svm", ContentType="text/csv", Body=f"{row}\n{row}\n"
    )
    assert answer["ContentType"] == "text/csv"
    assert len(answer["Body"].read().splitlines()) == 2


@pytest.mark.parametrize("variant", ["svm", "fixed", "unweighted"])
def test_a_target_variant_answers_whatever_its_weight(
    endpoint: LocalEndpoint, connect: Connect, variant: str
) -> None:
    client = connect(endpoint)
    body = json.dumps({"instances": [ROW]})
    for _ in range(10):
        answer = client.invoke_endpoint(
            EndpointName="mixed",
            TargetVariant=variant,
            ContentType="application/json",
            Body=body,
        )
        answer["Body"].read()
        assert answer["InvokedProductionVariant"] == variant


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
    ("changes", "code"),
    [
        ({"aws_secret_access_key": "another"}, "InvalidSignatureException"),
        ({"aws_access_key_id": "another"}, "UnrecognizedClientException"),
        ({"region_name": "eu-west-1"}, "InvalidSignatureException"),
    ],
)
def test_wrong_credentials_are_refused(
    endpoint: LocalEndpoint, connect: Connect, changes: dict[str, str], code: str
) -> None:
    error = error_of(connect(endpoint, **changes).invoke_endpoint, EndpointName="mixed", Body=b"{}")
    assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    assert error.response["Error"]["Code"] == code


def test_an_unsigned_call_is_refused(endpoint: LocalEndpoint, connect: Connect) -> None:
    from botocore import UNSIGNED
    from botocore.config import Config

    client = connect(endpoint, config=Config(signature_version=UNSIGNED))
    error = error_of(client.invoke_endpoint, EndpointName="mixed", Body=b"{}")
    assert error.response["Error"]["Code"] == "MissingAuthenticationTokenException"


@pytest.mark.parametrize("minutes", [-6, 6])
def test_a_clock_that_is_off_is_refused(
    endpoint: LocalEndpoint, connect: Connect, monkeypatch: pytest.MonkeyPatch, minutes: int
) -> None:
    skewed = datetime.now(UTC) + timedelta(minutes=minutes)
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: skewed)
    error = error_of(connect(endpoint).invoke_endpoint, EndpointName="mixed", Body=b"{}")
    assert error.response["Error"]["Code"] == "InvalidSignatureException"
    assert "Signature" in error.response["Error"]["Message"]


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


def test_the_limit_of_a_body_is_the_files(start: Start, connect: Connect) -> None:
    running = start(
        """
        name = "large"
        body_limit = 7_000_000
        [variants.only]
        model = "digits-svm"
        """
    )
    call = connect(running).invoke_endpoint
    body = json.dumps({"instances": [ROW]}).encode().ljust(7_000_000)
    arguments = {"EndpointName": "large", "ContentType": "application/json"}
    assert call(**arguments, Body=body)["Body"].read()
    error = error_of(call, **arguments, Body=body + b" ")
    assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 413


def test_a_bad_body_is_a_model_error_that_keeps_the_models_status(
    endpoint: LocalEndpoint, connect: Connect
) -> None:
    error = error_of(
        connect(endpoint).invoke_endpoint,
        EndpointName="mixed",
        TargetVariant="svm",
        ContentType="application/json",
        Body=b"nonsense",
    )
    assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 424
    assert error.response["Error"]["Code"] == "ModelError"
    assert error.response["OriginalStatusCode"] == 400
    assert "application/json" in error.response["OriginalMessage"]
    assert error.response["LogStreamArn"].endswith("/aws/sagemaker/Endpoints/mixed")
    assert error.response["Error"]["Message"].startswith("Received client error (400) from primary")


def test_a_model_over_its_time_limit_is_a_model_error_with_status_0(
    start: Start, connect: Connect
) -> None:
    running = start(
        """
        name = "slow"
        model_timeout = "1ms"
        [variants.only]
        simulated = { constant = "10s" }
        """
    )
    error = error_of(connect(running).invoke_endpoint, EndpointName="slow", Body=b"{}")
    assert error.response["Error"]["Code"] == "ModelError"
    assert error.response["OriginalStatusCode"] == 0
    assert "timed out" in error.response["OriginalMessage"]


class _Model(BaseHTTPRequestHandler):
    """The standard library's HTTP/1.0 server: its answers end with the connection."""

    received: dict[str, str]

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def do_POST(self) -> None:
        _Model.received = {name.lower(): value for name, value in self.headers.items()}
        self.rfile.read(int(self.headers["Content-Length"]))
        attributes = self.headers.get("X-Amzn-SageMaker-Custom-Attributes", "")
        self.send_response(503 if attributes == "fail" else 200)
        self.send_header("X-Amzn-SageMaker-Custom-Attributes", attributes)
        self.send_header("X-Private", "no")
        self.end_headers()
        self.wfile.write(b"answer")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@pytest.fixture
def model_server() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Model)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_model_server_elsewhere_gets_the_headers_of_the_api_and_no_others(
    start: Start, connect: Connect, model_server: ThreadingHTTPServer
) -> None:
    running = start(
        f"""
        name = "elsewhere"
        [variants.only]
        url = "http://127.0.0.1:{model_server.server_port}"
        """
    )
    call = connect(running).invoke_endpoint
    answer = call(
        EndpointName="elsewhere",
        Body=b"{}",
        ContentType="text/plain",
        Accept="text/html",
        CustomAttributes="a=1",
        TargetModel="m.tar.gz",
    )
    assert answer["Body"].read() == b"answer"
    assert answer["CustomAttributes"] == "a=1"
    assert "x-private" not in answer["ResponseMetadata"]["HTTPHeaders"]
    assert _Model.received == {
        "host": f"127.0.0.1:{model_server.server_port}",
        "content-type": "text/plain",
        "accept": "text/html",
        "x-amzn-sagemaker-custom-attributes": "a=1",
        "x-amzn-sagemaker-target-model": "m.tar.gz",
        "content-length": "2",
    }

    error = error_of(call, EndpointName="elsewhere", Body=b"{}", CustomAttributes="fail")
    assert error.response["OriginalStatusCode"] == 503
    assert error.response["OriginalMessage"] == "answer"
    assert "server error (503)" in error.response["Error"]["Message"]

    model_server.shutdown()
    model_server.server_close()
    error = error_of(call, EndpointName="elsewhere", Body=b"{}")
    assert error.response["Error"]["Code"] == "ModelError"
    assert error.response["OriginalStatusCode"] == 500


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


def test_a_stated_routing_strategy_is_described(start: Start, connect: Connect) -> None:
    running = start(
        """
        name = "routed"
        [variants.only]
        instances = 2
        routing = "LEAST_OUTSTANDING_REQUESTS"
        simulated = { constant = "1ms" }
        """
    )
    client = connect(running, "sagemaker")
    for described in (
        client.describe_endpoint(EndpointName="routed"),
        client.describe_endpoint_config(EndpointConfigName="routed"),
    ):
        (variant,) = described["ProductionVariants"]
        assert variant["RoutingConfig"] == {"RoutingStrategy": "LEAST_OUTSTANDING_REQUESTS"}


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
