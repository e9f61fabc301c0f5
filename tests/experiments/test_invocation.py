"""What a request carries, and what is read from an answer."""

import pytest

from experiments.errors import PlanError
from experiments.invocation import (
    parameters_of_arm,
    parameters_of_request,
    prediction_selector,
)
from experiments.plan import Answers, find, load


def test_an_arm_is_pinned_to_the_variant_of_its_name() -> None:
    assert parameters_of_arm(load(find("ab")), "current") == {
        "EndpointName": "digits",
        "ContentType": "application/json",
        "Accept": "application/json",
        "TargetVariant": "current",
    }


def test_where_the_endpoint_routes_nothing_is_pinned() -> None:
    assert "TargetVariant" not in parameters_of_arm(load(find("ab")), None)


def test_an_arm_may_be_another_endpoint_or_model() -> None:
    plan = load(
        find("ab"),
        ["arms.candidate.request={endpoint_name='other', target_model='m.tar.gz'}"],
    )
    parameters = parameters_of_arm(plan, "candidate")
    assert parameters["EndpointName"] == "other"
    assert parameters["TargetModel"] == "m.tar.gz"
    assert "TargetVariant" not in parameters


def test_each_request_has_an_id_and_its_attributes_filled_in() -> None:
    plan = load(find("ab"), ["request.custom_attributes='run={run_id};seq={seq}'"])
    parameters = parameters_of_request(plan, {"Accept": "x"}, b"body", "run-1", 12)
    assert parameters == {
        "Accept": "x",
        "Body": b"body",
        "InferenceId": "run-1-12",
        "CustomAttributes": "run=run-1;seq=12",
    }


def test_an_inference_id_keeps_its_end_within_sagemakers_64_characters() -> None:
    parameters = parameters_of_request(load(find("ab")), {}, b"", "r" * 80, 123)
    assert parameters["InferenceId"] == "r" * 60 + "-123"


@pytest.mark.parametrize(
    ("prediction", "body", "wanted"),
    [
        ("predictions[0].label", b'{"predictions": [{"label": 3}]}', "3"),
        ("predictions[0].label", b'{"predictions": [{"label": "cat"}]}', "cat"),
        ("predictions[0].label", b'{"predictions": []}', None),
        ("predictions[0].label", b"not json", None),
        ("length(@)", b"3", None),
        (1, b"a, b ,c\nd,e,f", "b"),
        (5, b"a,b", None),
        (0, b"", None),
        ("text", b" seven \n", "seven"),
        ("text", b"\xff", "\ufffd"),
    ],
)
def test_a_prediction_is_selected(prediction: str | int, body: bytes, wanted: str | None) -> None:
    assert prediction_selector(Answers(prediction=prediction))(body, None) == wanted


def test_an_invalid_expression_is_refused() -> None:
    with pytest.raises(PlanError, match="not valid JMESPath"):
        prediction_selector(Answers(prediction="a[["))


def test_without_answers_nothing_is_selected() -> None:
    assert prediction_selector(None)(b"1", None) is None


def test_a_column_is_not_read_from_json() -> None:
    select = prediction_selector(Answers(prediction=0))
    assert select(b"3,4", "text/csv; charset=utf-8") == "3"
    assert select(b'{"a": 1}', "application/json") is None


def test_every_parameter_of_boto3s_can_be_given_in_the_plan() -> None:
    import botocore.session

    given = {
        "content_type": "text/csv",
        "accept": "text/csv",
        "target_model": "m",
        "target_container_hostname": "h",
        "inference_component_name": "c",
        "enable_explanations": "`true`",
        "session_id": "NEW_SESSION",
        "prefix_aware_id": "p",
    }
    plan = load(find("ab"), [f"request.{key}='{value}'" for key, value in given.items()])
    parameters = parameters_of_arm(plan, None)
    assert parameters.pop("EndpointName") == "digits"
    assert parameters == {
        "ContentType": "text/csv",
        "Accept": "text/csv",
        "TargetModel": "m",
        "TargetContainerHostname": "h",
        "InferenceComponentName": "c",
        "EnableExplanations": "`true`",
        "SessionId": "NEW_SESSION",
        "PrefixAwareId": "p",
    }
    shape = botocore.session.get_session().get_service_model("sagemaker-runtime")
    known = set(shape.operation_model("InvokeEndpoint").input_shape.members)
    others = {"EndpointName", "TargetVariant", "Body", "InferenceId", "CustomAttributes"}
    assert known == parameters.keys() | others
