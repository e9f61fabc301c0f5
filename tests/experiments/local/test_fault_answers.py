"""Every fault as real boto3 sees it."""

import csv
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from experiments.local import process
from experiments.local.process import LocalEndpoint

Connect = Callable[..., Any]

PARAMETERS = {
    "model-error": 'kind = "model_error"\nstatus = 507',
    "spike": 'kind = "spike"\ndelay = "120ms"',
    "timeout": 'kind = "spike"\ndelay = "10s"',
    "dead": 'kind = "dead_instance"',
    "reset": 'kind = "reset"',
    "slow-body": 'kind = "slow_body"\ndelay = "200ms"',
    "cut-body": 'kind = "cut_body"',
    "closed": 'kind = "closed_keep_alive"',
    "wrong-bytes": 'kind = "wrong_bytes"',
    "no-variant": 'kind = "no_variant"',
}


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalEndpoint]:
    """An endpoint whose variants each have the fault of their name."""
    text = 'name = "faulty"\nmodel_timeout = "300ms"\nserved_log = "served.csv"\n'
    for name, fault in PARAMETERS.items():
        text += f'[[faults]]\nvariant = "{name}"\n{fault}\n'
        text += f'[variants.{name}]\nsimulated = {{ constant = "0s" }}\n'
    text += '[variants.well]\nsimulated = { constant = "2ms" }\n'
    folder = tmp_path_factory.mktemp("faulty")
    (folder / "e.toml").write_text(text)
    running = process.start(folder / "e.toml", log_dir=folder / "logs")
    yield running
    running.stop()


@pytest.fixture
def invoke(faulty: LocalEndpoint, connect: Connect) -> Callable[..., Any]:
    client = connect(faulty)

    def call(variant: str, **more: Any) -> Any:
        return client.invoke_endpoint(
            EndpointName="faulty", TargetVariant=variant, Body=b"{}", **more
        )

    return call


def error_of(invoke: Callable[..., Any], variant: str) -> Any:
    from botocore.exceptions import ClientError

    with pytest.raises(ClientError) as caught:
        invoke(variant)
    return caught.value.response


@pytest.mark.parametrize(
    ("variant", "original", "said"),
    [("model-error", 507, "server error (507)"), ("dead", 500, "server error (500)")],
)
def test_a_model_error_has_the_original_status(
    invoke: Callable[..., Any], variant: str, original: int, said: str
) -> None:
    response = error_of(invoke, variant)
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 424
    assert response["Error"]["Code"] == "ModelError"
    assert response["OriginalStatusCode"] == original
    assert said in response["Error"]["Message"]


def test_a_model_over_its_limit_has_the_original_status_0(invoke: Callable[..., Any]) -> None:
    began = time.perf_counter()
    response = error_of(invoke, "timeout")
    assert 0.3 <= time.perf_counter() - began < 5
    assert (response["Error"]["Code"], response["OriginalStatusCode"]) == ("ModelError", 0)


def test_a_spike_makes_the_answer_late(invoke: Callable[..., Any]) -> None:
    began = time.perf_counter()
    invoke("spike")["Body"].read()
    assert time.perf_counter() - began >= 0.12


def test_a_slow_body_comes_after_its_head(invoke: Callable[..., Any]) -> None:
    began = time.perf_counter()
    body = invoke("slow-body")["Body"]
    head_s = time.perf_counter() - began
    assert b"predictions" in body.read()
    took_s = time.perf_counter() - began
    assert took_s >= 0.19
    assert head_s < took_s - 0.1


def test_a_reset_connection_is_closed_for_the_client(invoke: Callable[..., Any]) -> None:
    from botocore.exceptions import ConnectionClosedError

    with pytest.raises(ConnectionClosedError) as caught:
        invoke("reset")
    assert "reset by peer" in str(caught.value.kwargs["error"])


def test_a_cut_body_cannot_be_read_to_its_end(invoke: Callable[..., Any]) -> None:
    from botocore.exceptions import IncompleteReadError, ResponseStreamingError

    body = invoke("cut-body")["Body"]
    with pytest.raises((IncompleteReadError, ResponseStreamingError)):
        body.read()


def test_wrong_bytes_are_no_answer(invoke: Callable[..., Any]) -> None:
    from botocore.exceptions import ConnectionClosedError

    with pytest.raises(ConnectionClosedError):
        invoke("wrong-bytes")


def test_a_closed_keep_alive_is_an_answer_that_does_not_say_so(
    invoke: Callable[..., Any],
) -> None:
    for _ in range(3):
        answer = invoke("closed")
        assert "connection" not in answer["ResponseMetadata"]["HTTPHeaders"]
        assert answer["Body"].read()
        time.sleep(0.2)  # the end of the connection arrives, and the next call makes another


def test_an_answer_may_not_say_which_variant_it_is_of(invoke: Callable[..., Any]) -> None:
    answer = invoke("no-variant")
    assert answer["Body"].read()
    assert "InvokedProductionVariant" not in answer


def test_hidden_retries_and_the_times_of_requests_are_in_the_log_of_what_was_served(
    tmp_path: Path, connect: Connect
) -> None:
    from botocore.config import Config
    from botocore.exceptions import ClientError

    (tmp_path / "e.toml").write_text(
        """
        name = "faulty"
        served_log = "served.csv"
        [variants.well]
        simulated = { constant = "4ms" }
        [variants.unavailable]
        instances = 2
        simulated = { constant = "1ms" }
        [[faults]]
        kind = "service_error"
        status = 503
        variant = "unavailable"
        """
    )
    running = process.start(tmp_path / "e.toml", log_dir=tmp_path)
    client = connect(running, config=Config(retries={"total_max_attempts": 3, "mode": "standard"}))
    before_ns = time.perf_counter_ns()
    client.invoke_endpoint(
        EndpointName="faulty", TargetVariant="well", Body=b"", InferenceId="run-1"
    )["Body"].read()
    after_ns = time.perf_counter_ns()
    with pytest.raises(ClientError):
        client.invoke_endpoint(EndpointName="faulty", TargetVariant="unavailable", Body=b"")
    with pytest.raises(ClientError):
        client.invoke_endpoint(EndpointName="faulty", TargetVariant="none", Body=b"")
    running.stop()

    with (tmp_path / "served.csv").open(newline="") as file:
        well, *failed, unknown = csv.DictReader(file)
    assert (well["inference_id"], well["attempt"], well["variant"]) == ("run-1", "1", "well")
    assert (well["instance"], well["status"], well["fault"]) == ("1", "200", "")
    assert (well["wait_ns"], well["service_ns"]) == ("0", "4000000")
    assert before_ns <= int(well["arrived_ns"])
    assert int(well["arrived_ns"]) + 4_000_000 <= int(well["ended_ns"]) <= after_ns
    assert [row["attempt"] for row in failed] == ["1", "2", "3"]
    assert {(row["status"], row["fault"], row["wait_ns"]) for row in failed} == {
        ("503", "service_error", "")
    }
    assert (unknown["status"], unknown["variant"], unknown["instance"]) == ("400", "", "")
    said = (tmp_path / "endpoint.log").read_text()
    assert "2 of 5 calls came before with the same amz-sdk-invocation-id" in said
