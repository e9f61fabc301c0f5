"""Several endpoints behind one port, each with variants, metrics and chance of its own."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from experiments.errors import PlanError
from experiments.local import config, process

BLUE = """
name = "blue"
also = ["green.toml"]
account = "111111111111"
metrics_delay = "0s"
[variants.AllTraffic]
simulated = { distribution = "exponential", mean = "5ms", workers = 4 }
"""
GREEN = BLUE.replace('"blue"', '"green"').replace('also = ["green.toml"]', "")
SCALED = "[variants.AllTraffic.autoscaling]\nmax = 3\ninvocations_per_instance = 100\n"


def test_each_endpoint_is_asked_by_its_name(tmp_path: Path, connect: Callable[..., Any]) -> None:
    (tmp_path / "blue.toml").write_text(BLUE)
    (tmp_path / "green.toml").write_text(GREEN + SCALED)
    running = process.start(tmp_path / "blue.toml")
    try:
        services = ("sagemaker-runtime", "sagemaker", "cloudwatch", "application-autoscaling")
        runtime, control, metrics, scaling = (connect(running, service) for service in services)
        for name, calls in (("blue", 1), ("green", 3)):
            for _ in range(calls):
                answer = runtime.invoke_endpoint(EndpointName=name, Body=b"{}")
                assert answer["InvokedProductionVariant"] == "AllTraffic"
            assert control.describe_endpoint(EndpointName=name)["EndpointName"] == name
            described = control.describe_endpoint_config(EndpointConfigName=name)
            assert described["EndpointConfigName"] == name
            targets = scaling.describe_scalable_targets(
                ServiceNamespace="sagemaker", ResourceIds=[f"endpoint/{name}/variant/AllTraffic"]
            )["ScalableTargets"]
            assert bool(targets) == (name == "green")
            activities = scaling.describe_scaling_activities(
                ServiceNamespace="sagemaker", ResourceId=f"endpoint/{name}/variant/AllTraffic"
            )
            assert activities["ScalingActivities"] == []
        time.sleep(0.1)
        for name, calls in (("blue", 1), ("green", 3)):
            metric = {
                "Namespace": "AWS/SageMaker",
                "MetricName": "Invocations",
                "Dimensions": [{"Name": "EndpointName", "Value": name}],
            }
            window = {
                "StartTime": datetime.now(UTC) - timedelta(minutes=30),
                "EndTime": datetime.now(UTC) + timedelta(minutes=1),
            }
            query = {"Id": "a", "MetricStat": {"Metric": metric, "Period": 3600, "Stat": "Sum"}}
            (found,) = metrics.get_metric_data(MetricDataQueries=[query], **window)[
                "MetricDataResults"
            ]
            assert found["Values"] == [calls]
            (point,) = metrics.get_metric_statistics(
                **metric, **window, Period=3600, Statistics=["Sum"]
            )["Datapoints"]
            assert point["Sum"] == calls
        named = [metric | {"Dimensions": [{"Name": "EndpointName", "Value": name}]}
                 for name in ("blue", "green")]  # fmt: skip
        queries = [
            {"Id": f"q{number}", "MetricStat": {"Metric": one, "Period": 3600, "Stat": "Sum"}}
            for number, one in enumerate(named)
        ]
        both = metrics.get_metric_data(MetricDataQueries=queries, **window)["MetricDataResults"]
        assert [(one["Id"], one["Values"]) for one in both] == [("q0", [1]), ("q1", [3])]
        with pytest.raises(runtime.exceptions.ClientError, match="Endpoint red of account"):
            runtime.invoke_endpoint(EndpointName="red", Body=b"{}")
    finally:
        running.stop()


def test_the_first_file_has_the_keys_and_chance_is_each_ones_own(tmp_path: Path) -> None:
    (tmp_path / "blue.toml").write_text(BLUE)
    (tmp_path / "green.toml").write_text(GREEN.replace("1111", "2222"))
    first, second = config.load_all(tmp_path / "blue.toml")
    assert second.account == first.account
    assert second.seed != first.seed
    for wrong, said in ((BLUE.replace('"blue"', '"green"'), "has its own also"), (BLUE, "also")):
        (tmp_path / "green.toml").write_text(wrong)
        with pytest.raises(PlanError, match=said):
            config.load_all(tmp_path / "blue.toml")
    (tmp_path / "green.toml").write_text(GREEN.replace('"green"', '"blue"'))
    with pytest.raises(PlanError, match='is the endpoint "blue" again'):
        config.load_all(tmp_path / "blue.toml")
