"""InvokeEndpointWithResponseStream as boto3 and the AWS SDK for JavaScript read it."""

import time
from contextlib import closing
from typing import Any

import pytest

from experiments.local.process import LocalEndpoint
from tests.sdks import cases, clients
from tests.sdks.cases import Case
from tests.sdks.stub import PARTS

ANSWER = b'{"predictions": [{"label": 0}]}\n'
BROKEN = [
    ({"CustomAttributes": "break"}, "ModelStreamError", "one "),
    ({"TargetVariant": "stream-error"}, "ModelStreamError", ANSWER.decode()),
    ({"TargetVariant": "stream-failure"}, "InternalStreamFailure", ANSWER.decode()),
]
STREAMS = {"whole": {"CustomAttributes": "stream"}}
STREAMS |= {f"broken {number}": arguments for number, (arguments, _, _) in enumerate(BROKEN)}
OPERATION = "InvokeEndpointWithResponseStream"
NOT_HERE = {
    "TargetModel",
    "EnableExplanations",
    "response NewSessionId",
    "response ClosedSessionId",
    "error: a model that hangs up",  # which is an error within a stream
}
ALL = {name: case for name, case in cases.ALL.items() if not NOT_HERE & {name, *case.arguments}}
"""Rows of InvokeEndpoint: all that it has of the parameters, fields and errors of a stream."""


@pytest.fixture
def client(every: LocalEndpoint) -> Any:
    return clients.boto3_client(every, "sagemaker-runtime")


def call(client: Any, **arguments: Any) -> Any:
    return client.invoke_endpoint_with_response_stream(
        **{"EndpointName": cases.NAME, "Body": b"{}", **arguments}
    )


def parts_of(answer: Any) -> list[bytes]:
    return [event["PayloadPart"]["Bytes"] for event in answer["Body"]]


def test_there_is_a_row_for_all_that_boto3_knows(client: Any) -> None:
    operation = client.meta.service_model.operation_model(OPERATION)
    assert {f"request {name}" for name in operation.input_shape.members} <= set(ALL)
    assert {f"response {name}" for name in operation.output_shape.members} <= set(ALL)
    in_stream = {code for _, code, _ in BROKEN}
    errors = {
        f"error {shape.name}" for shape in operation.error_shapes if shape.name not in in_stream
    }
    assert errors <= set(ALL)
    assert in_stream <= {shape.name for shape in operation.error_shapes}


@pytest.mark.parametrize("case", ALL.values(), ids=ALL)
def test_boto3(every: LocalEndpoint, case: Case) -> None:
    outcome = clients.with_boto3(every, case, streamed=True)
    assert case.holds(outcome), outcome


@pytest.fixture(scope="module")
def in_javascript(every: LocalEndpoint) -> dict[str, Any]:
    asked = ALL | {name: Case(arguments=one, holds=bool) for name, one in STREAMS.items()}
    calls = [{"operation": OPERATION, "keys": one.keys, "call": one.call} for one in asked.values()]
    return dict(zip(asked, clients.with_javascript(every, calls), strict=True))


@pytest.mark.parametrize("name", ALL)
def test_the_aws_sdk_for_javascript(in_javascript: dict[str, Any], name: str) -> None:
    outcome = clients.outcome(in_javascript[name])
    assert ALL[name].holds(outcome), outcome


def test_a_new_session_is_not_for_streams(client: Any) -> None:
    with pytest.raises(client.exceptions.ClientError, match=r"ValidationError.*'sessionId'"):
        call(client, SessionId="NEW_SESSION")


def test_the_fields_are_those_of_the_container(client: Any) -> None:
    answer = call(client, CustomAttributes="stream")
    assert answer["ContentType"] == "text/x-parts"
    assert answer["CustomAttributes"] == "streamed"
    assert parts_of(answer) == PARTS


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


def test_a_stream_of_parts_or_to_its_error_in_javascript(in_javascript: dict[str, Any]) -> None:
    whole, *broken = (in_javascript[name] for name in STREAMS)
    assert clients.outcome(whole).body == b"".join(PARTS)
    assert whole["fields"]["ContentType"] == "text/x-parts"
    assert [one["code"] for one in broken] == [code for _, code, _ in BROKEN]
    # botocore drops it; this SDK does not.
    assert broken[0]["fields"]["ErrorCode"] == "StreamBroken"
