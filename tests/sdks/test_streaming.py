"""InvokeEndpointWithResponseStream as boto3 and the AWS SDK for JavaScript read it."""

import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from experiments.local.process import LocalEndpoint
from tests.sdks import cases, clients
from tests.sdks.stub import PARTS

ANSWER = b'{"predictions": [{"label": 0}]}\n'
REQUEST: dict[str, tuple[dict[str, Any], str | None]] = {
    "EndpointName": ({"TargetVariant": "simulated"}, None),
    "Body": ({"Body": b"body"}, None),
    "ContentType": ({"ContentType": "text/csv"}, None),
    "Accept": ({"Accept": "text/x-any"}, None),
    "CustomAttributes": ({"CustomAttributes": "stream"}, None),
    "TargetVariant": ({"TargetVariant": "simulated"}, None),
    "TargetContainerHostname": (
        {"TargetVariant": "chain", "TargetContainerHostname": "first"},
        None,
    ),
    "InferenceId": ({"InferenceId": "i"}, None),
    "InferenceComponentName": ({"InferenceComponentName": "small"}, None),
    "SessionId": ({"SessionId": "s"}, None),
    "PrefixAwareId": ({"TargetVariant": "prefix", "PrefixAwareId": "p"}, None),
}


@pytest.fixture
def client(every: LocalEndpoint) -> Iterator[Any]:
    made = clients.boto3_client(every, "sagemaker-runtime", ("local", "local"))
    yield made
    made.close()


def call(client: Any, **arguments: Any) -> Any:
    return client.invoke_endpoint_with_response_stream(
        **{"EndpointName": cases.NAME, "Body": b"{}", **arguments}
    )


def parts_of(answer: Any) -> list[bytes]:
    return [event["PayloadPart"]["Bytes"] for event in answer["Body"]]


def test_every_parameter_is_taken_and_every_field_given(client: Any) -> None:
    operation = client.meta.service_model.operation_model("InvokeEndpointWithResponseStream")
    assert set(operation.input_shape.members) == set(REQUEST)
    for arguments, _ in REQUEST.values():
        assert parts_of(call(client, **arguments))
    answer = call(client, CustomAttributes="stream", ContentType="text/csv")
    assert set(operation.output_shape.members) == answer.keys() - {"ResponseMetadata"}
    assert answer["ContentType"] == "text/x-parts"
    assert answer["CustomAttributes"] == "streamed"
    assert answer["InvokedProductionVariant"] == "echo"
    assert parts_of(answer) == PARTS


def test_accept_reaches_the_container_as_accept(client: Any) -> None:
    answer = call(client, Accept="text/x-any")
    assert answer["ContentType"] == "text/x-any"
    assert b'"accept": "text/x-any"' in b"".join(parts_of(answer))


def test_parts_come_when_the_container_sends_them(client: Any) -> None:
    began = time.perf_counter()
    stream = iter(call(client, CustomAttributes="stream=0.3")["Body"])
    next(stream)
    first_s = time.perf_counter() - began
    rest = list(stream)
    whole_s = time.perf_counter() - began
    assert len(rest) == 2
    assert whole_s >= 0.6
    assert first_s < whole_s - 0.5


def test_a_simulated_variant_streams_its_chunks(client: Any) -> None:
    assert parts_of(call(client, TargetVariant="simulated")) == [ANSWER] * 3


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"EndpointName": "other"}, "ValidationError"),
        ({"SessionId": "NEW_SESSION"}, "ValidationError"),
        ({"Accept": "x" * 1025}, "ValidationError"),
        ({"CustomAttributes": "status=500"}, "ModelError"),
        ({"CustomAttributes": "sleep=1.5"}, "ModelError"),
        ({"TargetVariant": "internal"}, "InternalFailure"),
        ({"TargetVariant": "unavailable"}, "ServiceUnavailable"),
    ],
)
def test_what_fails_before_the_first_part_is_an_error(
    client: Any, arguments: dict[str, str], code: str
) -> None:
    with pytest.raises(client.exceptions.ClientError) as caught:
        call(client, **arguments)
    assert caught.value.response["Error"]["Code"] == code
    if code == "ModelError":
        original = 0 if "sleep" in arguments["CustomAttributes"] else 500
        assert caught.value.response["OriginalStatusCode"] == original


BROKEN = [
    ({"CustomAttributes": "break"}, "ModelStreamError", "one "),
    ({"TargetVariant": "stream-error"}, "ModelStreamError", ANSWER.decode()),
    ({"TargetVariant": "stream-failure"}, "InternalStreamFailure", ANSWER.decode()),
]


@pytest.mark.parametrize(("arguments", "code", "first"), BROKEN)
def test_a_stream_may_end_in_an_error(
    client: Any, arguments: dict[str, str], code: str, first: str
) -> None:
    from botocore.exceptions import EventStreamError

    seen: list[bytes] = []
    with closing(call(client, **arguments)["Body"]) as stream:
        parts = (event["PayloadPart"]["Bytes"] for event in stream)
        with pytest.raises(EventStreamError) as caught:
            seen.extend(parts)
    assert seen == [first.encode()]
    assert caught.value.response["Error"]["Code"] == code


def test_a_reader_that_gives_up_leaves_the_endpoint_well(client: Any) -> None:
    for _ in range(3):
        stream = call(client, CustomAttributes="stream=0.2")["Body"]
        next(iter(stream))
        stream.close()
    assert parts_of(call(client, CustomAttributes="stream")) == PARTS


def test_the_aws_sdk_for_javascript(every: LocalEndpoint) -> None:
    wanted = [{"CustomAttributes": "stream"}, *(arguments for arguments, _, _ in BROKEN)]
    calls = [
        {
            "operation": "InvokeEndpointWithResponseStream",
            "call": {"EndpointName": cases.NAME, "Body": b"{}", **arguments},
        }
        for arguments in wanted
    ]
    whole, *broken = clients.with_javascript(every, calls)
    assert clients.outcome(whole).body == b"".join(PARTS)
    assert whole["fields"]["ContentType"] == "text/x-parts"
    assert [one["code"] for one in broken] == [code for _, code, _ in BROKEN]
    # botocore drops it; this SDK does not.
    assert broken[0]["fields"]["ErrorCode"] == "StreamBroken"
