"""What a request carries, and what is read from an answer."""

import pytest

from experiments.errors import PlanError
from experiments.invocation import parameters_of_arm, prediction_selector, request_of_arm
from experiments.payloads import Payload, fields_taken
from experiments.plan_file import find, load
from experiments.tables import Answers


def test_an_arm_is_pinned_to_the_variant_of_its_name_unless_the_endpoint_routes() -> None:
    plan = load(find("ab"))
    shared = parameters_of_arm(plan, None)
    kind = "application/json"
    assert shared == {"EndpointName": "digits", "ContentType": kind, "Accept": kind}
    assert parameters_of_arm(plan, "current") == {**shared, "TargetVariant": "current"}


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
    parameters = request_of_arm(plan, None, "run-1")(Payload("line 1", b"body", None), 12)
    assert parameters == {
        "EndpointName": "digits",
        "ContentType": "application/json",
        "Accept": "application/json",
        "Body": b"body",
        "InferenceId": "run-1-12",
        "CustomAttributes": "run=run-1;seq=12",
    }


def test_an_inference_id_keeps_its_end_within_sagemakers_64_characters() -> None:
    request = request_of_arm(load(find("ab")), None, "r" * 80)
    assert request(Payload("line 1", b"", None), 123)["InferenceId"] == "r" * 60 + "-123"


def test_what_names_a_field_of_the_payload_varies_with_it() -> None:
    plan = load(
        find("ab"),
        [
            "request.inference_id='{payload.id}/{seq}'",
            "request.session_id='{payload.user}'",
            'request.custom_attributes=\'{"run": "{run_id}"} {other}\'',
            "arms.candidate.request={ target_model='v2/{payload.a model}' }",
        ],
    )
    assert fields_taken(plan) == ("id", "user", "a model")
    fields = {"id": "x", "user": "{seq}", "a model": "m%s"}
    parameters = request_of_arm(plan, "candidate", "r1")(Payload("line 1", b"", None, fields), 7)
    assert parameters["InferenceId"] == "x/7"
    assert parameters["SessionId"] == "{seq}"  # a payload's own text is not a template
    assert parameters["TargetModel"] == "v2/m%s"
    assert parameters["CustomAttributes"] == '{"run": "r1"} {other}'


@pytest.mark.parametrize(
    "key",
    [
        "request.prefix_aware_id='{payload.user}'",
        "request.accept='text/{seq}'",
        "request.session_id='{ payload.user }'",
        "request.custom_attributes='{payload.user};{payload.rest'",
        "request.inference_id='{run_id}-{ seq}'",
        "arms.candidate.request={ target_model='{payload}' }",
    ],
)
def test_a_blank_that_would_be_sent_as_it_stands_is_refused(key: str) -> None:
    with pytest.raises(PlanError, match="are filled in where they are written just so, in target_"):
        load(find("ab"), [key])


@pytest.mark.parametrize(
    ("prediction", "body", "kind", "wanted"),
    [
        ("predictions[0].label", b'{"predictions": [{"label": 3}]}', None, "3"),
        ("predictions[0].label", b'{"predictions": [{"label": "cat"}]}', None, "cat"),
        ("predictions[0].label", b'{"predictions": []}', None, None),
        ("predictions[0].label", b"not json", None, None),
        ("length(@)", b"3", None, None),
        (1, b"a, b ,c\nd,e,f", None, "b"),
        (5, b"a,b", None, None),
        (0, b"", None, None),
        (0, b"3,4", "text/csv; charset=utf-8", "3"),
        (0, b'{"a": 1}', "application/json", None),
        ("text", b" seven \n", None, "seven"),
        ("text", b"\xff", None, "\ufffd"),
        (None, b"1", None, None),
    ],
)
def test_a_prediction_is_selected(
    prediction: str | int | None, body: bytes, kind: str | None, wanted: str | None
) -> None:
    answers = None if prediction is None else Answers(prediction=prediction)
    assert prediction_selector(answers)(body, kind) == wanted


def test_an_invalid_expression_is_refused() -> None:
    with pytest.raises(PlanError, match="not valid JMESPath"):
        prediction_selector(Answers(prediction="a[["))


def test_every_parameter_of_boto3s_can_be_given_in_the_plan() -> None:
    import botocore.session

    named = {
        "content_type": "ContentType", "accept": "Accept", "target_model": "TargetModel",
        "target_container_hostname": "TargetContainerHostname",
        "inference_component_name": "InferenceComponentName",
        "enable_explanations": "EnableExplanations", "session_id": "SessionId",
        "prefix_aware_id": "PrefixAwareId",
    }  # fmt: skip
    given = {key: f"v{number}" for number, key in enumerate(named)}
    plan = load(find("ab"), [f"request.{key}='{value}'" for key, value in given.items()])
    parameters = parameters_of_arm(plan, None)
    assert parameters.pop("EndpointName") == "digits"
    assert parameters == {named[key]: value for key, value in given.items()}
    shape = botocore.session.get_session().get_service_model("sagemaker-runtime")
    known = set(shape.operation_model("InvokeEndpoint").input_shape.members)
    others = {"EndpointName", "TargetVariant", "Body", "InferenceId", "CustomAttributes"}
    assert known == parameters.keys() | others
