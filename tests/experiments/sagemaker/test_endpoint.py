"""What a plan needs of an endpoint as it stands."""

from pathlib import Path
from typing import Any

import pytest

from experiments.errors import EndpointError
from experiments.plan_file import find, load
from experiments.sagemaker.endpoint import (
    EndpointFacts,
    Variant,
    check_arms,
    reader,
    scaling_activity,
)
from experiments.sagemaker.first_answer import objection
from experiments.sagemaker.inspect import invocations, scalable_targets
from experiments.sagemaker.reply import Reply
from experiments.tables import Endpoint
from tests.experiments.sagemaker.services import answering


def standing_on(**types: str) -> EndpointFacts:
    variants = {
        name: Variant(weight=1.0, instances=1, instance_type=kind, model=name, image=None)
        for name, kind in types.items()
    }
    return EndpointFacts(variants=variants)


def test_a_release_is_not_held_against_one_on_another_type_of_instance() -> None:
    unlike = standing_on(current="ml.c6i.large", candidate="ml.m5.large")
    with pytest.raises(EndpointError, match=r"current on ml\.c6i\.large and candidate on ml\.m5"):
        check_arms(load(find("regression")), unlike)
    check_arms(load(find("ab")), unlike)
    check_arms(
        load(find("regression")), standing_on(current="ml.c6i.large", candidate="ml.c6i.large")
    )


def test_a_reading_is_of_all_endpoints_or_of_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "local")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "local")
    refusals = {"b": [None, "AccessDeniedException", None]}
    bounds = {"MinInstanceCount": 1, "MaxInstanceCount": 4}
    managed = {
        name: {"ManagedInstanceScaling": {"Status": status, **bounds}}
        for name, status in (("a", "ENABLED"), ("b", "DISABLED"))
    }
    pending = {"PendingDeploymentSummary": {"EndpointConfigName": "b-2"}}

    def respond(operation: str, asked: dict[str, Any]) -> dict[str, Any] | str:
        variant = {"VariantName": "AllTraffic"}
        if operation == "DescribeEndpointConfig":
            return {"ProductionVariants": [{**variant, "InstanceType": "ml.m5.large"}]}
        name = asked["EndpointName"]
        if refusals.get(name) and (code := refusals[name].pop(0)):
            return code
        return {
            "EndpointConfigName": f"{name}-1", "EndpointStatus": "InService", "EndpointArn": name,
            "ProductionVariants": [{**variant, **managed[name]}],
            **(pending if name == "b" else {}),
        }  # fmt: skip

    with answering(respond) as url:
        read = reader(Endpoint(name="a", target=url, region="us-east-1"), "a", ("b",))
        first, failed, again = read(), read(), read()
    assert first == again
    assert (first.config, first.pending) == ("a-1, b/b-1", "b/b-2")
    assert list(first.variants) == ["AllTraffic", "b/AllTraffic"]
    assert [one.managed for one in first.variants.values()] == [(1, 4), None]
    assert (failed.variants, "could not be described" in failed.note) == ({}, True)


@pytest.mark.parametrize("answer", [{}, [], "UnknownOperation"])
def test_a_service_that_is_none_is_said_and_ends_nothing(
    monkeypatch: pytest.MonkeyPatch, answer: Any
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "local")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "local")
    with answering(lambda *_: answer) as url:
        endpoint = Endpoint(name="a", target=url, region="us-east-1")
        assert reader(endpoint, "a")().note
        assert list(scaling_activity(endpoint, ["blue"])) == ["note"]
        assert isinstance(scalable_targets(endpoint, ["endpoint/a/variant/blue"]), str)
        assert isinstance(invocations(endpoint, ["blue"]), str)


def test_a_first_stream_that_breaks_off_is_no_answer() -> None:
    plan = load(find("ab"))
    broken = Reply("stream_error", None, None, 0, error="ModelStreamError")
    assert isinstance(objection(plan, Path("ab.toml"), lambda *_: "1", "current", broken),
                      EndpointError)  # fmt: skip
