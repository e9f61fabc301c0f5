"""Streams that take too long, that are spoilt, and what is noted of them."""

import csv
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from experiments.local import process
from experiments.local.process import LocalEndpoint
from tests.sdks import stub

Connect = Callable[..., Any]
FILE = """
    name = "streams"
    served_log = "served.csv"
    metrics_delay = "0s"
    model_timeout = "400ms"
    stream_timeout = "500ms"
    [variants.slow.containers.first]
    simulated = { constant = "2s", chunks = 10 }
    [variants.real]
    weight = 0
    url = "URL"
    [variants.late]
    weight = 0
    simulated = { constant = "1s", chunks = 2 }
    [variants.cut]
    weight = 0
    simulated = { constant = "20ms", chunks = 4 }
    [[faults]]
    kind = "cut_body"
    variant = "cut"
    """
PART = b'{"predictions": [{"label": 0}]}\n'


@pytest.fixture
def url() -> Iterator[str]:
    with stub.container("real") as one:
        yield one


def sums(client: Any) -> dict[str, Any]:
    """Sum and count of the samples of three metrics, over all variants."""
    found: dict[str, Any] = {}
    for metric in ("Invocations", "MidStreamErrors", "FirstChunkLatency"):
        (point,) = client.get_metric_statistics(
            Namespace="AWS/SageMaker",
            MetricName=metric,
            Dimensions=[{"Name": "EndpointName", "Value": "streams"}],
            StartTime=datetime.now(UTC) - timedelta(minutes=30),
            EndTime=datetime.now(UTC) + timedelta(minutes=1),
            Period=3600,
            Statistics=["Sum", "SampleCount"],
        )["Datapoints"]
        found[metric] = (point["Sum"], point["SampleCount"])
    return {**found, "FirstChunkLatency": found["FirstChunkLatency"][1]}


def test_streams_end_when_they_must_and_are_noted(
    tmp_path: Path, url: str, connect: Connect, request: pytest.FixtureRequest
) -> None:
    from botocore.exceptions import ClientError, EventStreamError

    (tmp_path / "e.toml").write_text(FILE.replace("URL", url))
    running: LocalEndpoint = process.start(tmp_path / "e.toml", log_dir=tmp_path)
    request.addfinalizer(running.stop)
    client = connect(running)

    def stream(variant: str, name: str | None = None, **more: str) -> Any:
        return client.invoke_endpoint_with_response_stream(
            EndpointName="streams",
            TargetVariant=variant,
            Body=b"",
            InferenceId=name or variant,
            **more,
        )["Body"]

    parts: list[bytes] = []
    slow = stream("slow", TargetContainerHostname="first")
    with pytest.raises(EventStreamError, match=r"ModelStreamError.*timed out.* container first\."):
        parts.extend(event["PayloadPart"]["Bytes"] for event in slow)
    slow.close()
    assert 1 <= len(parts) <= 3
    assert set(parts) == {PART}

    with pytest.raises(ClientError) as caught:  # not even a first part in time
        stream("late")
    response: Any = caught.value.response
    assert (response["Error"]["Code"], response["OriginalStatusCode"]) == ("ModelError", 0)

    cut = stream("cut")
    with pytest.raises(Exception, match=r"IncompleteRead|Connection broken"):
        list(cut)
    cut.close()

    for name in ("break", "hang-up"):  # after the first part, and before it
        broken = stream("real", name, CustomAttributes=name)
        with closing(broken), pytest.raises(EventStreamError, match="ModelStreamError"):
            list(broken)
    assert len(list(stream("real", "whole", CustomAttributes="stream"))) == 3
    began = time.perf_counter()
    with pytest.raises(ClientError, match="timed out") as caught:
        stream("real", "stalled", CustomAttributes="stall=503")
    response = caught.value.response
    assert (response["Error"]["Code"], response["OriginalStatusCode"]) == ("ModelError", 0)
    assert 0.4 <= time.perf_counter() - began < 4

    with pytest.raises(ClientError, match="TargetContainerHostname must be one of"):
        stream("slow", "refused")
    counted = sums(connect(running, "cloudwatch"))
    # What was refused is no invocation; late and stalled came to no stream.
    assert counted == {"Invocations": (7, 7), "MidStreamErrors": (3, 5), "FirstChunkLatency": 4}

    running.stop()
    with (tmp_path / "served.csv").open(newline="") as file:
        rows = {row["inference_id"]: row for row in csv.DictReader(file)}
    assert {name: row["status"] for name, row in rows.items()} == {
        "slow": "200",
        "late": "424",
        "cut": "200",
        "break": "200",
        "hang-up": "200",
        "whole": "200",
        "stalled": "424",
        "refused": "400",
    }
    assert {name: row["stream_error"] for name, row in rows.items() if row["stream_error"]} == {
        "slow": "ModelInvocationTimeExceeded",
        "break": "StreamBroken",
        "hang-up": "StreamBroken",
    }
    assert rows["slow"]["service_ns"] == "2000000000"
    took_ns = int(rows["slow"]["ended_ns"]) - int(rows["slow"]["arrived_ns"])
    assert took_ns >= 500_000_000
