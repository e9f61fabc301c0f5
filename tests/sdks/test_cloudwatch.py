"""CloudWatch's metrics of known traffic, as boto3, the AWS CLI and JavaScript read them."""

import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from experiments.local import process
from experiments.local.process import LocalEndpoint
from tests.end_to_end.conftest import wait_for
from tests.sdks import clients

FILE = """
    name = "counted"
    also = ["late.toml"]
    metrics_delay = "0s"
    [variants.blue]
    instances = 2
    simulated = { constant = "5ms", workers = 4 }
    [variants.failing]
    weight = 0
    simulated = { constant = "10ms" }
    [variants.refusing]
    weight = 0
    simulated = { constant = "10ms" }
    [variants.slow]
    weight = 0
    simulated = { constant = "1m" }
    [[faults]]
    kind = "model_error"
    status = 503
    variant = "failing"
    [[faults]]
    kind = "model_error"
    status = 415
    variant = "refusing"
    """
LATE = """
    name = "late"
    metrics_delay = "1h"
    [variants.AllTraffic]
    simulated = { constant = "0s" }
    """
CALLS = {"blue": 6, "failing": 3, "refusing": 2}


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalEndpoint]:
    folder = tmp_path_factory.mktemp("counted")
    (folder / "e.toml").write_text(FILE)
    (folder / "late.toml").write_text(LATE)
    running = process.start(folder / "e.toml")
    runtime = clients.boto3_client(running, "sagemaker-runtime")
    for variant, count in CALLS.items():
        for _ in range(count):
            with suppress(runtime.exceptions.ModelError):
                runtime.invoke_endpoint(EndpointName="counted", TargetVariant=variant, Body=b"")
    answer = runtime.invoke_endpoint(EndpointName="late", Body=b"")
    assert answer["InvokedProductionVariant"] == "AllTraffic"
    with pytest.raises(runtime.exceptions.ValidationError, match="TargetModel does not go"):
        runtime.invoke_endpoint(
            EndpointName="counted", TargetVariant="blue", TargetModel="m", Body=b""
        )
    give_up(running, "slow")
    client, every = clients.boto3_client(running, "cloudwatch"), query("Invocations", "Sum", None)

    def known() -> list[float]:
        answer = client.get_metric_data(MetricDataQueries=[every], **span())
        return answer["MetricDataResults"][0]["Values"]

    wait_for(lambda: known() == [12])  # what ended in a second is known when that is over
    yield running
    running.stop()


def give_up(running: LocalEndpoint, variant: str) -> None:
    """Call, and close the connection long before the answer."""
    import boto3
    from botocore.config import Config
    from botocore.exceptions import ReadTimeoutError

    client = boto3.client(
        "sagemaker-runtime",
        endpoint_url=running.url,
        region_name=running.region,
        aws_access_key_id="local",
        aws_secret_access_key="local",
        config=Config(retries={"total_max_attempts": 1, "mode": "standard"}, read_timeout=0.2),
    )
    with pytest.raises(ReadTimeoutError):
        client.invoke_endpoint(EndpointName="counted", TargetVariant=variant, Body=b"")
    client.close()


@pytest.fixture
def cloudwatch(counted: LocalEndpoint) -> Any:
    return clients.boto3_client(counted, "cloudwatch")


def dimensions(variant: str | None) -> list[dict[str, str]]:
    named = {"EndpointName": "counted"} | ({} if variant is None else {"VariantName": variant})
    return [{"Name": name, "Value": value} for name, value in named.items()]


def span() -> dict[str, datetime]:
    now = datetime.now(UTC)
    return {"StartTime": now - timedelta(minutes=30), "EndTime": now + timedelta(minutes=1)}


def query(metric: str, stat: str, variant: str | None, period_s: int = 3600) -> dict[str, Any]:
    named = {
        "Namespace": "AWS/SageMaker", "MetricName": metric, "Dimensions": dimensions(variant)
    }  # fmt: skip
    return {"Id": "q", "MetricStat": {"Metric": named, "Period": period_s, "Stat": stat}}


def value(client: Any, metric: str, stat: str, variant: str | None) -> float:
    answer = client.get_metric_data(MetricDataQueries=[query(metric, stat, variant)], **span())
    (result,) = answer["MetricDataResults"]
    assert (result["Label"], result["StatusCode"]) == (metric, "Complete")
    (found,) = result["Values"]
    return float(found)


@pytest.mark.parametrize(
    ("metric", "stat", "variant", "expected"),
    [
        ("Invocations", "Sum", "blue", 6),
        ("Invocations", "Sum", "slow", 1),
        ("Invocations", "SampleCount", None, 12),
        ("Invocations", "Sum", None, 12),
        ("InvocationsPerInstance", "Sum", "blue", 3),
        ("InvocationsPerInstance", "Sum", "failing", 3),
        ("Invocation5XXErrors", "Sum", "failing", 3),
        ("Invocation5XXErrors", "Average", None, 3 / 12),
        ("Invocation5XXErrors", "Sum", "refusing", 0),
        ("Invocation4XXErrors", "Sum", "refusing", 2),
        ("Invocation4XXErrors", "Sum", "blue", 0),
        ("InvocationModelErrors", "Sum", None, 5),
        ("ModelLatency", "Average", "blue", 5000),
        ("ModelLatency", "p99", "blue", 5000),
        ("ModelLatency", "Sum", None, 80_000),
        ("ModelLatency", "Minimum", None, 5000),
        ("ModelLatency", "Maximum", None, 10_000),
        ("ModelLatency", "p50", None, 5000),
    ],
)
def test_metrics_are_those_of_the_traffic(
    cloudwatch: Any, metric: str, stat: str, variant: str | None, expected: float
) -> None:
    assert value(cloudwatch, metric, stat, variant) == pytest.approx(expected, rel=1e-9)


def test_overhead_is_what_the_endpoint_adds_in_microseconds(cloudwatch: Any) -> None:
    # Less than what the model takes, 5 ms; and none of the call whose client gave up.
    assert 0 < value(cloudwatch, "OverheadLatency", "Minimum", "blue") < 5000
    assert value(cloudwatch, "OverheadLatency", "Maximum", None) < 200_000
    assert value(cloudwatch, "OverheadLatency", "SampleCount", None) == 11


def test_statistics_have_what_is_asked_for(cloudwatch: Any) -> None:
    answer = cloudwatch.get_metric_statistics(
        Namespace="AWS/SageMaker",
        MetricName="ModelLatency",
        Dimensions=dimensions("blue"),
        Period=3600,
        Statistics=["SampleCount", "Average", "Sum", "Minimum", "Maximum"],
        ExtendedStatistics=["p99", "p99.9"],
        **span(),
    )
    assert answer["Label"] == "ModelLatency"
    (point,) = answer["Datapoints"]
    assert point.pop("Timestamp").second == 0
    assert point.pop("ExtendedStatistics") == {
        "p99": pytest.approx(5000),
        "p99.9": pytest.approx(5000),
    }
    assert point == {
        "Unit": "Microseconds",
        "SampleCount": 6,
        "Average": pytest.approx(5000),
        "Sum": pytest.approx(30_000),
        "Minimum": pytest.approx(5000),
        "Maximum": pytest.approx(5000),
    }


def test_each_minute_is_a_point_and_their_order_is_that_asked_for(cloudwatch: Any) -> None:
    queries = [{**query("Invocations", "Sum", None, 60), "Label": "all"}]
    for order, step in (("TimestampAscending", 1), ("TimestampDescending", -1)):
        answer = cloudwatch.get_metric_data(MetricDataQueries=queries, ScanBy=order, **span())
        (result,) = answer["MetricDataResults"]
        assert result["Label"] == "all"
        assert sum(result["Values"]) == 12
        assert result["Timestamps"] == sorted(result["Timestamps"])[::step]
        assert all(at.second == 0 for at in result["Timestamps"])


@pytest.mark.parametrize(
    "change",
    [
        {"Namespace": "AWS/Other"},
        {"MetricName": "CPUUtilization"},
        {"Dimensions": dimensions("none")},
        {"Dimensions": []},
        {"Dimensions": [{"Name": "EndpointName", "Value": "other"}]},
    ],
)
def test_a_metric_that_there_is_not_has_no_points(cloudwatch: Any, change: dict[str, Any]) -> None:
    asked = query("Invocations", "Sum", "blue")
    asked["MetricStat"]["Metric"] |= change
    answer = cloudwatch.get_metric_data(MetricDataQueries=[asked], **span())
    assert answer["MetricDataResults"][0]["Values"] == []


def test_each_query_is_of_the_endpoint_that_it_names(cloudwatch: Any) -> None:
    queries = [query("Invocations", "Sum", None) | {"Id": name} for name in ("late", "counted")]
    queries[0]["MetricStat"]["Metric"]["Dimensions"] = [{"Name": "EndpointName", "Value": "late"}]
    answer = cloudwatch.get_metric_data(MetricDataQueries=queries, **span())["MetricDataResults"]
    # What is late was called, too, and is too new to be published.
    assert [(one["Id"], one["Values"]) for one in answer] == [("late", []), ("counted", [12])]


def test_what_is_not_offered_is_said(cloudwatch: Any) -> None:
    def refused(**arguments: Any) -> Any:
        with pytest.raises(cloudwatch.exceptions.ClientError) as caught:
            cloudwatch.get_metric_data(**{**span(), **arguments})
        return caught.value.response["Error"]

    error = refused(MetricDataQueries=[{"Id": "q", "Expression": "SUM(METRICS())"}])
    assert "Expression is not offered" in error["Message"]
    for variant in ("blue", "none"):
        for stat in ("tm99", "p101", "pnan"):
            error = refused(MetricDataQueries=[query("ModelLatency", stat, variant)])
            assert (error["Code"], stat in error["Message"]) == ("InvalidParameterValue", True)
    with pytest.raises(cloudwatch.exceptions.ClientError, match="tm99"):
        cloudwatch.get_metric_statistics(
            **STATISTICS | {"ExtendedStatistics": ["tm99"], "Dimensions": dimensions("none")},
            **span(),
        )
    refused(MetricDataQueries=[query("ModelLatency", "Sum", "blue", 90)])


def plain(arguments: Any) -> str:
    return json.dumps(arguments, default=lambda at: at.isoformat())


STATISTICS: dict[str, Any] = {
    "Namespace": "AWS/SageMaker",
    "MetricName": "ModelLatency",
    "Dimensions": dimensions("blue"),
    "Period": 3600,
    "Statistics": ["Sum"],
}


def test_the_aws_cli_reads_them(counted: LocalEndpoint) -> None:
    queries = {"MetricDataQueries": [query("Invocations", "Sum", None)]}
    asked = {"get-metric-data": queries, "get-metric-statistics": STATISTICS}
    said = clients.with_cli(
        counted,
        (
            ["cloudwatch", operation, "--cli-input-json", plain({**arguments, **span()})]
            for operation, arguments in asked.items()
        ),
    )
    data, statistics = (json.loads(output or error) for _, output, error in said)
    assert data["MetricDataResults"][0]["Values"] == [12]
    assert statistics["Datapoints"][0]["Sum"] == pytest.approx(30_000)


def test_the_aws_sdk_for_javascript_reads_them(counted: LocalEndpoint) -> None:
    asked = {
        "url": counted.url,
        "data": {"MetricDataQueries": [query("Invocations", "Sum", None)], **span()},
        "statistics": {**STATISTICS, **span()},
    }
    said = subprocess.run(
        ["node", str(Path(__file__).with_name("metrics.mjs")), str(clients.node_packages())],
        input=plain(asked), capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    answers = json.loads(said.stdout)
    assert answers["data"]["MetricDataResults"][0]["Values"] == [12]
    assert answers["data"]["MetricDataResults"][0]["Timestamps"][0].endswith(":00.000Z")
    assert answers["statistics"]["Datapoints"][0]["Sum"] == pytest.approx(30_000)
    assert "InvalidParameterValue" in answers["error"]


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/service/GraniteServiceVersion20100801/operation/GetMetricData", "application/cbor"),
        ("/", "application/x-www-form-urlencoded; charset=utf-8"),
    ],
)
def test_other_protocols_are_said_not_to_be_offered(
    counted: LocalEndpoint, path: str, content_type: str
) -> None:
    headers = {"Content-Type": content_type}
    sent = urllib.request.Request(f"{counted.url}{path}", b"Action=GetMetricData", headers)
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(sent)
    with caught.value as answer:
        assert answer.code == 400
        assert b"JSON is offered" in answer.read()
