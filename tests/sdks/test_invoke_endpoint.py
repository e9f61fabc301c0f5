"""InvokeEndpoint as boto3, the AWS CLI and the AWS SDK for JavaScript call it."""

import json
from pathlib import Path
from typing import Any

import pytest

from experiments.local.process import LocalEndpoint
from tests.sdks import cases, clients
from tests.sdks.cases import ALL, ERRORS, REQUEST, RESPONSE, Case

IN_THE_CLI = [name for name in ALL if not name.startswith("too long")]
OFF_MS = [-360_000, 360_000]


def model() -> Any:
    import botocore.session

    return botocore.session.get_session().get_service_model("sagemaker-runtime")


def test_there_is_a_row_for_all_that_boto3_knows() -> None:
    operation = model().operation_model("InvokeEndpoint")
    assert set(operation.input_shape.members) == set(REQUEST)
    assert set(operation.output_shape.members) == set(RESPONSE)
    assert {shape.name for shape in operation.error_shapes} == set(ERRORS)
    assert {name for name in REQUEST if name != "Body"} == set(cases.TOO_LONG)


@pytest.mark.parametrize("case", ALL.values(), ids=ALL)
def test_boto3(every: LocalEndpoint, case: Case) -> None:
    outcome = clients.with_boto3(every, case)
    assert case.holds(outcome), outcome


@pytest.fixture(scope="module")
def in_the_cli(every: LocalEndpoint, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folders = {name: tmp_path_factory.mktemp("cli") for name in IN_THE_CLI}
    calls = [clients.cli_call(ALL[name], folder) for name, folder in folders.items()]
    said = clients.with_cli(every, calls)
    return {name: (one, folders[name]) for name, one in zip(IN_THE_CLI, said, strict=True)}


@pytest.mark.parametrize("name", IN_THE_CLI)
def test_the_aws_cli(in_the_cli: dict[str, Any], name: str) -> None:
    outcome = clients.cli_outcome(*in_the_cli[name])
    if outcome is None:
        assert "PrefixAwareId" in ALL[name].arguments  # the newest of the parameters
    else:
        assert ALL[name].holds(outcome), outcome


@pytest.fixture(scope="module")
def in_javascript(every: LocalEndpoint) -> dict[Any, Any]:
    calls: list[dict[str, Any]] = [{"keys": one.keys, "call": one.call} for one in ALL.values()]
    calls += [{"offset": ms, "call": ALL["response Body"].call} for ms in OFF_MS]
    return dict(zip([*ALL, *OFF_MS], clients.with_javascript(every, calls), strict=True))


@pytest.mark.parametrize("name", ALL)
def test_the_aws_sdk_for_javascript(in_javascript: dict[Any, Any], name: str) -> None:
    outcome = clients.outcome(in_javascript[name])
    assert ALL[name].holds(outcome), outcome


@pytest.mark.parametrize("ms", OFF_MS)
def test_a_clock_that_is_off_is_refused_in_javascript(in_javascript: Any, ms: int) -> None:
    said = in_javascript[ms]
    assert (said["code"], said["status"]) == ("InvalidSignatureException", 403)
    assert "Signature" in said["message"]


def test_calls_of_one_prefix_go_to_one_instance(every: LocalEndpoint) -> None:
    case = REQUEST["PrefixAwareId"]
    assert all(case.holds(clients.with_boto3(every, case)) for _ in range(8))


def test_a_body_may_be_a_file(every: LocalEndpoint, tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(b"in a file")
    client = clients.boto3_client(every, "sagemaker-runtime")
    with (tmp_path / "body").open("rb") as file:
        answer = client.invoke_endpoint(EndpointName=cases.NAME, Body=file)
    assert json.loads(answer["Body"].read())["body"] == "aW4gYSBmaWxl"


def test_a_container_hears_the_headers_of_the_api_and_no_others(every: LocalEndpoint) -> None:
    arguments = {
        "ContentType": "a/b",
        "Accept": "c/d",
        "CustomAttributes": "x",
        "TargetModel": "m",
        "TargetVariant": "echo",
        "InferenceId": "i",
        "EnableExplanations": "`false`",
        "SessionId": "s",
    }
    outcome = clients.with_boto3(every, Case(arguments=arguments, holds=bool))
    api = "x-amzn-sagemaker-"
    assert {name: value for name, value in outcome.heard.items() if name != "host"} == {
        "content-type": "a/b",
        "accept": "c/d",
        "content-length": "2",
        f"{api}custom-attributes": "x",
        f"{api}target-model": "m",
        f"{api}enable-explanations": "`false`",
        f"{api}session-id": "s",
    }
    assert not any("private" in name for name in outcome.fields["ResponseMetadata"]["HTTPHeaders"])


def test_an_asynchronous_call_is_said_not_to_be_offered(every: LocalEndpoint) -> None:
    client = clients.boto3_client(every, "sagemaker-runtime")
    with pytest.raises(client.exceptions.ClientError, match="InvokeEndpointAsync is not offered"):
        client.invoke_endpoint_async(EndpointName=cases.NAME, InputLocation="s3://a/b")
