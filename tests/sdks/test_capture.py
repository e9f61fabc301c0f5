"""Data capture in SageMaker's layout, of calls that boto3 made."""

import base64
import json
import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from experiments.local.process import LocalEndpoint
from tests.sdks import cases, clients
from tests.sdks.cases import Case

ANSWER = '{"predictions": [{"label": 0}]}'


def events(folder: Path) -> dict[str, Any]:
    """The events that have an inferenceId, by that."""
    files = folder.rglob("*.jsonl")
    lines = [line for file in files for line in file.read_text().splitlines(keepends=True)]
    read = [json.loads(line) for line in lines if line.endswith("\n")]
    return {event["eventMetadata"].get("inferenceId"): event for event in read}


def test_what_was_asked_and_answered_is_captured(every: LocalEndpoint, logs: Path) -> None:
    def call(inference_id: str, content_type: str | None, body: bytes) -> None:
        more = {} if content_type is None else {"ContentType": content_type}
        arguments = {"TargetVariant": "simulated", "InferenceId": inference_id, "Body": body}
        clients.with_boto3(every, Case(arguments={**arguments, **more}, holds=bool))

    call("csv", "text/csv; charset=utf-8", b"1,2")
    call("json", "application/json", b'{"a": "\xc3\xbc"}')
    call("bytes", "application/x-npy", b"\x00\xff")
    call("wrong", "text/csv", b"\xff")
    call("none", None, b"x")
    failed = {"TargetVariant": "internal", "InferenceId": "failed"}
    clients.with_boto3(every, Case(arguments=failed, holds=bool))

    deadline = time.monotonic() + 20
    while "none" not in (found := events(logs / "captured")):  # it is written beside the answers
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert "failed" not in found
    inputs = {name: found[name]["captureData"]["endpointInput"] for name in found}
    assert inputs["csv"] == {
        "observedContentType": "text/csv; charset=utf-8",
        "mode": "INPUT",
        "data": "1,2",
        "encoding": "CSV",
    }
    assert (inputs["json"]["encoding"], inputs["json"]["data"]) == ("JSON", '{"a": "\u00fc"}')
    assert inputs["bytes"]["encoding"] == inputs["wrong"]["encoding"] == "BASE64"
    assert base64.b64decode(inputs["bytes"]["data"]) == b"\x00\xff"
    assert base64.b64decode(inputs["none"]["data"]) == b"x"
    assert "observedContentType" not in inputs["none"]
    csv = found["csv"]
    assert csv["captureData"]["endpointOutput"] == {
        "observedContentType": "application/json",
        "mode": "OUTPUT",
        "data": ANSWER,
        "encoding": "JSON",
    }
    assert csv["eventVersion"] == "0"
    metadata = csv["eventMetadata"]
    assert len(metadata["eventId"]) == 36
    at = datetime.strptime(metadata["inferenceTime"] + "+0000", "%Y-%m-%dT%H:%M:%SZ%z")
    assert datetime.now(UTC) - at < timedelta(minutes=5)
    for file in (logs / "captured").rglob("*.jsonl"):
        path = file.relative_to(logs / "captured").as_posix()
        assert re.fullmatch(
            rf"{cases.NAME}/[\w-]+/\d{{4}}/\d\d/\d\d/\d\d/\d\d-\d\d-\d{{3}}-[0-9a-f-]{{36}}\.jsonl",
            path,
        )


def test_capture_is_described(every: LocalEndpoint) -> None:
    client = clients.boto3_client(every, "sagemaker", ("local", "local"))
    assert client.describe_endpoint(EndpointName=cases.NAME)["DataCaptureConfig"] == {
        "EnableCapture": True,
        "CaptureStatus": "Started",
        "CurrentSamplingPercentage": 100,
        "DestinationS3Uri": "s3://local/captured",
        "KmsKeyId": "none",
    }
    client.close()
