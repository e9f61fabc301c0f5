"""A call of a locustfile's own task: sent as it is, recorded as any, answered as boto3 does."""

import io
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import botocore.exceptions
import gevent
import pytest
from gevent import GreenletExit

from experiments import run_folder
from experiments.invocation import INVOKE
from experiments.payloads import Payload
from experiments.plan import Plan
from experiments.record import Record
from experiments.sagemaker.endpoint import EndpointFacts
from experiments.sagemaker.reply import Reply
from experiments.traffic.client import EndpointClient
from experiments.traffic.dispatch import LEAD_S, Dispatch
from experiments.traffic.prepare import Prepared

BODIES = (b"one", b"two", b"one")
ANSWER = {"ContentType": "text/csv", "InvokedProductionVariant": "green-v2", "Body": None}


class Endpoint:
    """Answers each call from a list, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.answers: list[Reply | BaseException] = []

    def __call__(self, parameters: Mapping[str, Any], operation: str = INVOKE) -> Reply:
        self.operation = operation
        self.asked.append(dict(parameters))
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer._replace(ended_ns=time.perf_counter_ns())


def ok(variant: str | None = "green-v2") -> Reply:
    return Reply("ok", None, None, 0, 200, body=b"3\n", variant=variant, answer=lambda: ANSWER)


class Kit:
    """A run under way with one user, and what became of its calls."""

    def __init__(self, folder: Path, **tables: Any) -> None:
        plan = Plan.model_validate(
            {
                "question": "compare",
                "seed": 1,
                "endpoint": {"name": "shop", "target": "http://127.0.0.1:1"},
                "arms": {"blue": {}, "green": {"request": {"target_variant": "green-v2"}}},
                "request": {"payloads": "none"},
                "traffic": {
                    "routing": "pinned", "arrivals": "closed", "users": 2,
                    "warmup": 0.2, "duration": 0.3,
                },
                "compare": {"baseline": "blue", "margins": {"p50": 0.05}},
                **tables,
            }
        )  # fmt: skip
        self.endpoint = Endpoint()
        self.fired: list[dict[str, Any]] = []
        prepared = Prepared(
            plan=plan,
            plan_path=folder / "plan.toml",
            plan_text="",
            payloads=tuple(Payload(str(i), body, None) for i, body in enumerate(BODIES)),
            facts=EndpointFacts(),
            transport=self.endpoint,
            transport_name="boto3",
            why_not_fast=None,
            select_prediction=lambda body, _kind: body.decode().strip(),
            trace_s=None,
            local=None,
        )
        self.dispatch = Dispatch(prepared, run_folder.create(folder, "p", ""), slots=2)
        self.client = EndpointClient(self.dispatch, lambda **fields: self.fired.append(fields))

    def call(self, reply: Reply | BaseException, **parameters: Any) -> Record:
        self.endpoint.answers.append(reply)
        self.client.invoke_endpoint(**parameters)
        return self.records[-1]

    @property
    def records(self) -> list[Record]:
        self.dispatch.records.flush()
        table, _ = run_folder.read_stream(self.dispatch.folder.raw / "requests-0.arrows")
        assert table is not None
        return [Record(**row) for row in table.to_pylist()]


@pytest.fixture
def kits(tmp_path: Path) -> Iterator[Any]:
    made: list[Kit] = []

    def make(**tables: Any) -> Kit:
        made.append(Kit(tmp_path, **tables))
        made[-1].dispatch.start()
        return made[-1]

    yield make
    for kit in made:
        kit.dispatch.stop("complete", None)
        kit.dispatch.close()


@pytest.mark.parametrize(
    ("body", "sent", "payload"),
    [
        (b"two", b"two", 1),
        ("two", b"two", 1),
        (bytearray(b"two"), b"two", 1),
        (io.BytesIO(b"two"), b"two", 1),
        (io.StringIO("two"), b"two", 1),
        (b"one", b"one", 0),
        (b"three", b"three", -1),
        (b"", b"", -1),
    ],
)
def test_a_body_is_sent_as_boto3_sends_it_and_known_by_its_bytes(
    kits: Any, body: object, sent: bytes, payload: int
) -> None:
    kit = kits()
    record = kit.call(ok(), EndpointName="shop", Body=body, Accept="text/csv")
    assert kit.endpoint.asked == [{"EndpointName": "shop", "Body": sent, "Accept": "text/csv"}]
    assert (record.payload, record.bytes_out) == (payload, len(sent))


def test_the_answer_is_boto3s_with_a_body_to_read(kits: Any) -> None:
    kit = kits()
    kit.endpoint.answers.append(ok())
    answer = kit.client.invoke_endpoint(EndpointName="shop", Body=b"one")
    assert answer["Body"].read() == b"3\n"
    assert {**answer, "Body": None} == ANSWER
    (record,) = kit.records
    assert (record.prediction, record.bytes_in, record.outcome) == ("3", 2, "ok")
    (fired,) = kit.fired
    assert (fired["name"], fired["response_length"], fired["exception"]) == ("green", 2, None)


@pytest.mark.parametrize(
    ("given", "known"),
    [({}, False), ({"SessionId": "NEW_SESSION"}, False), ({"SessionId": "s-1"}, True)],
)
def test_a_call_into_an_open_session_is_known_as_one(
    kits: Any, given: dict[str, str], known: bool
) -> None:
    record = kits().call(ok(), EndpointName="shop", Body=b"one", **given)
    assert record.in_session is known


def test_what_boto3_raises_is_raised_once_it_is_recorded(kits: Any) -> None:
    kit = kits()
    error = botocore.exceptions.ClientError({"Error": {"Code": "ModelError"}}, "InvokeEndpoint")
    kit.endpoint.answers.append(
        Reply("model_error", None, None, 0, 424, 500, "it broke", exception=error)
    )
    with pytest.raises(botocore.exceptions.ClientError) as raised:
        kit.client.invoke_endpoint(EndpointName="shop", TargetVariant="blue", Body=b"one")
    assert raised.value is error
    (record,) = kit.records
    assert (record.outcome, record.original_status, record.arm) == ("model_error", 500, "blue")
    assert kit.fired[0]["exception"] == "model_error: it broke"


@pytest.mark.parametrize(
    ("error", "outcome"), [(TypeError("odd"), "other"), (GreenletExit(), "aborted")]
)
def test_whatever_ends_a_call_it_is_recorded(kits: Any, error: BaseException, outcome: str) -> None:
    kit = kits()
    kit.endpoint.answers.append(error)
    with pytest.raises(type(error)):
        kit.client.invoke_endpoint(EndpointName="shop", Body=b"one")
    assert [record.outcome for record in kit.records] == [outcome]
    assert (kit.dispatch.begun, kit.dispatch.in_flight) == (1, 0)


VARIANTS = {"blue": {}, "green": {"request": {"target_variant": "green-v2"}}}
MODELS = {"a": {"request": {"target_model": "a.tar"}}, "b": {"request": {"target_model": "b.tar"}}}
ENDPOINTS = {"here": {}, "there": {"request": {"endpoint_name": "other"}}}


@pytest.mark.parametrize(
    ("arms", "parameters", "invoked", "arm"),
    [
        (VARIANTS, {"TargetVariant": "blue"}, "blue", "blue"),
        (VARIANTS, {"TargetVariant": "green-v2"}, None, "green"),
        (VARIANTS, {"TargetVariant": "absent"}, None, None),
        (VARIANTS, {"TargetVariant": ["blue"]}, None, None),
        (VARIANTS, {}, "green-v2", "green"),
        (VARIANTS, {}, "absent", None),
        (VARIANTS, {}, None, None),
        # Another endpoint's variant of the same name is not the arm.
        (VARIANTS, {"EndpointName": "other", "TargetVariant": "blue"}, "blue", None),
        (VARIANTS, {"EndpointName": "other"}, "blue", None),
        # What tells no arm from another may be anything.
        (VARIANTS, {"TargetVariant": "blue", "TargetModel": "x.tar"}, "blue", "blue"),
        (MODELS, {"TargetModel": "b.tar"}, "AllTraffic", "b"),
        (MODELS, {"TargetModel": "c.tar"}, "AllTraffic", None),
        (MODELS, {}, "AllTraffic", None),
        (ENDPOINTS, {"EndpointName": "other"}, "AllTraffic", "there"),
        (ENDPOINTS, {"TargetVariant": "here"}, "here", "here"),
        (ENDPOINTS, {}, "here", "here"),
        (ENDPOINTS, {}, "AllTraffic", None),
    ],
)
def test_an_arm_is_told_by_parameters_or_by_who_answers(
    kits: Any, arms: dict[str, Any], parameters: dict[str, Any], invoked: str | None, arm: str
) -> None:
    kit = kits(arms=arms, compare={"baseline": next(iter(arms)), "margins": {"p50": 0.05}})
    record = kit.call(ok(invoked), **{"EndpointName": "shop", "Body": b"one", **parameters})
    assert record.arm == arm
    assert record.variant_invoked == invoked


@pytest.mark.parametrize(
    ("parameters", "invoked", "arm"),
    [
        ({}, "blue", "blue"),
        ({}, None, "blue"),
        ({"TargetVariant": "blue"}, None, "blue"),
        ({"TargetVariant": "green"}, "green", None),
        ({"TargetVariant": "green"}, None, None),
        ({}, "green", None),
    ],
)
def test_a_lone_arm_is_not_given_what_another_variant_served(
    kits: Any, parameters: dict[str, Any], invoked: str | None, arm: str | None
) -> None:
    kit = kits(question="load", slo={"p99": 0.3}, arms={"blue": {}}, compare=None)
    record = kit.call(ok(invoked), **{"EndpointName": "shop", "Body": b"one", **parameters})
    assert record.arm == arm


def test_a_call_counts_from_when_it_is_made_and_nobody_calls_before_time_zero(kits: Any) -> None:
    kit = kits()
    before_ns = time.perf_counter_ns()
    first = kit.call(ok(), EndpointName="shop", Body=b"one")
    assert time.perf_counter_ns() - before_ns >= LEAD_S * 1e9 * 0.9
    assert 0 <= first.scheduled_ns == first.started_ns
    gevent.sleep(0.25)
    second = kit.call(ok(), EndpointName="shop", Body=b"two")
    assert (first.seq, second.seq) == (0, 1)
    assert (first.phase, second.phase) == ("warmup", "measure")
    assert second.scheduled_ns == second.started_ns >= 250_000_000


def test_who_calls_after_the_end_ends_and_nothing_is_sent(kits: Any) -> None:
    kit = kits()
    gevent.sleep(LEAD_S + 0.5)
    with pytest.raises(GreenletExit):
        kit.client.invoke_endpoint(EndpointName="shop", Body=b"one")
    assert kit.endpoint.asked == []
    assert kit.dispatch.begun == 0


def test_who_waits_for_time_zero_ends_when_the_run_is_stopped(kits: Any) -> None:
    kit = kits()
    caller = gevent.spawn(kit.client.invoke_endpoint, EndpointName="shop", Body=b"one")
    gevent.sleep(0.01)
    kit.dispatch.stop("interrupted", "It was stopped.")
    caller.join(timeout=5)
    assert isinstance(caller.value, GreenletExit)
    assert kit.endpoint.asked == []


def test_the_limit_of_requests_ends_the_run(kits: Any) -> None:
    kit = kits(limits={"max_requests": 2, "max_minutes": 1})
    for _ in range(2):
        kit.call(ok(), EndpointName="shop", Body=b"one")
    with pytest.raises(GreenletExit):
        kit.client.invoke_endpoint(EndpointName="shop", Body=b"one")
    assert kit.dispatch.stopped.is_set()
    assert (kit.dispatch.ended_as, len(kit.records)) == ("stopped", 2)


def test_calls_at_once_are_never_without_a_slot(kits: Any) -> None:
    kit = kits()
    kit.dispatch.in_flight = 5
    assert kit.call(ok(), EndpointName="shop", Body=b"one").slots_busy == 1


def test_other_calls_of_boto3_are_refused_with_a_reason(kits: Any) -> None:
    with pytest.raises(AttributeError, match="no describe_endpoint: it records invoke_endpoint"):
        kits().client.describe_endpoint(EndpointName="shop")
