"""Streams that take too long, that are spoilt, and what is noted of them."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from experiments.local import process
from experiments.local.process import LocalEndpoint

Connect = Callable[..., Any]
FILE = """
    name = "streams"
    served_log = "served.csv"
    model_timeout = "400ms"
    stream_timeout = "500ms"
    [variants.slow]
    simulated = { constant = "2s", chunks = 10 }
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


def test_streams_end_when_they_must_and_are_noted(
    tmp_path: Path, connect: Connect, request: pytest.FixtureRequest
) -> None:
    from botocore.exceptions import ClientError, EventStreamError

    (tmp_path / "e.toml").write_text(FILE)
    running: LocalEndpoint = process.start(tmp_path / "e.toml", log_dir=tmp_path)
    request.addfinalizer(running.stop)
    client = connect(running)

    def stream(variant: str) -> Any:
        return client.invoke_endpoint_with_response_stream(
            EndpointName="streams", TargetVariant=variant, Body=b"", InferenceId=variant
        )["Body"]

    parts: list[bytes] = []
    slow = stream("slow")
    with pytest.raises(EventStreamError, match=r"ModelStreamError.*timed out"):
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

    running.stop()
    with (tmp_path / "served.csv").open(newline="") as file:
        rows = {row["inference_id"]: row for row in csv.DictReader(file)}
    assert {name: row["status"] for name, row in rows.items()} == {
        "slow": "200",
        "late": "424",
        "cut": "200",
    }
    assert rows["slow"]["service_ns"] == "2000000000"
    took_ns = int(rows["slow"]["ended_ns"]) - int(rows["slow"]["arrived_ns"])
    assert took_ns >= 500_000_000
