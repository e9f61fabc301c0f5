"""What every client must be able to ask of the endpoint, and what it must then be told.

A row for each request parameter, response field and error of InvokeEndpoint.
"""

import base64
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.sdks.stub import SESSION

NAME = "every"
OTHER_ACCOUNT = "999999999999"
ROW = ",".join(map(str, [0, 0, 5, 13, 9, 1, 0, 0] * 8))

ENDPOINT = """
    name = "every"
    model_timeout = "1s"
    body_limit = 100_000
    update_takes = "300ms"
    metrics_delay = "0s"
    capture = { folder = "captured" }
    [keys.other]
    secret_access_key = "other"
    account = "999999999999"
    [keys.old]
    secret_access_key = "old"
    account = "123456789012"
    expires = 2020-01-01T00:00:00Z
    [variants.echo]
    url = "FIRST"
    [variants.simulated]
    weight = 0
    simulated = { constant = "1ms", chunks = 3 }
    [variants.prefix]
    weight = 0
    instances = 4
    routing = "PREFIX_AWARE"
    simulated = { constant = "0s" }
    [variants.digits]
    weight = 0
    model = "digits-svm"
    [variants.many]
    weight = 0
    [variants.many.models."a.tar.gz"]
    url = "FIRST"
    load = "10ms"
    [variants.many.models."large.tar.gz"]
    url = "SECOND"
    load = "1h"
    [variants.chain]
    weight = 0
    [variants.chain.containers.first]
    url = "FIRST"
    [variants.chain.containers.second]
    url = "SECOND"
    [variants.shared]
    weight = 0
    [variants.shared.components.small]
    url = "SECOND"
    """
FAULTS = {
    "throttled": 'kind = "throttle"\nabove = 0.001',
    "not-ready": 'kind = "service_error"\nstatus = 429',
    "internal": 'kind = "service_error"\nstatus = 500',
    "unavailable": 'kind = "service_error"\nstatus = 503',
    "dependency": 'kind = "service_error"\nstatus = 530',
    "stream-error": 'kind = "model_stream_error"',
    "stream-failure": 'kind = "internal_stream_failure"',
}


def endpoint_file(first: str, second: str) -> str:
    text = ENDPOINT.replace("FIRST", first).replace("SECOND", second)
    for name, fault in FAULTS.items():
        text += f'\n[variants.{name}]\nweight = 0\nsimulated = {{ constant = "0s" }}\n'
        text += f'[[faults]]\nvariant = "{name}"\n{fault}\n'
    for instance in range(1, 5):  # by their errors they are told apart
        text += f'[[faults]]\nvariant = "prefix"\ninstance = {instance}\n'
        text += f'kind = "model_error"\nstatus = 50{instance}\n'
    return text


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a client gave: the fields of its answer and the body, or the error."""

    fields: Mapping[str, Any] = field(default_factory=dict)
    body: bytes = b""
    code: str | None = None
    status: int | None = None
    message: str | None = None
    is_cli: bool = False
    """The AWS CLI says code and message of an error, and neither its status nor its fields."""

    def is_error(self, code: str, status: int) -> bool:
        return self.code == code and (self.is_cli or self.status == status)

    @property
    def heard(self) -> dict[str, str]:
        """The headers that the container heard."""
        heard: dict[str, str] = json.loads(self.body)["heard"]
        return heard


@dataclass(frozen=True, kw_only=True)
class Case:
    """A call, and what must hold of its outcome."""

    arguments: Mapping[str, Any]
    holds: Callable[[Outcome], object]
    keys: tuple[str, str] = ("local", "local")

    @property
    def call(self) -> dict[str, Any]:
        return {"EndpointName": NAME, "Body": b"{}", **self.arguments}


def _heard(header: str, value: str) -> Callable[[Outcome], bool]:
    return lambda outcome: outcome.heard[header] == value


def _named(name: str, variant: str) -> Callable[[Outcome], bool]:
    return lambda outcome: (
        json.loads(outcome.body)["name"] == name
        and outcome.fields["InvokedProductionVariant"] == variant
    )


_INSTANCES: set[str] = set()


def _is_of_one_instance(outcome: Outcome) -> bool:
    """Whether it is of the instance that all calls before it were of, by whichever client."""
    told = re.match(r"Received server error \((50[1-4])\)", outcome.message or "")
    assert told
    _INSTANCES.add(told[1])
    return len(_INSTANCES) == 1


CUSTOM = "x-amzn-sagemaker-custom-attributes"
VISIBLE = "".join(map(chr, range(0x21, 0x7F)))
REQUEST = {
    "EndpointName": Case(arguments={"TargetVariant": "simulated"}, holds=lambda o: o.body),
    "Body": Case(
        arguments={"Body": bytes(range(256))},
        holds=lambda o: base64.b64decode(json.loads(o.body)["body"]) == bytes(range(256)),
    ),
    "ContentType": Case(
        arguments={"ContentType": "text/csv; charset=utf-8"},
        holds=_heard("content-type", "text/csv; charset=utf-8"),
    ),
    "Accept": Case(
        arguments={
            "TargetVariant": "digits",
            "ContentType": "text/csv",
            "Accept": "application/json",
            "Body": ROW.encode(),
        },
        holds=lambda o: o.fields["ContentType"] == "application/json" and json.loads(o.body),
    ),
    "CustomAttributes": Case(
        arguments={"CustomAttributes": (VISIBLE * 11)[:1024]},
        holds=lambda o: (
            o.heard[CUSTOM] == (VISIBLE * 11)[:1024] and "CustomAttributes" not in o.fields
        ),
    ),
    "TargetModel": Case(
        arguments={"TargetVariant": "many", "TargetModel": "a.tar.gz"},
        holds=lambda o: (
            _heard("x-amzn-sagemaker-target-model", "a.tar.gz")(o) and _named("first", "many")(o)
        ),
    ),
    "TargetVariant": Case(
        arguments={"TargetVariant": "simulated"},
        holds=lambda o: o.fields["InvokedProductionVariant"] == "simulated",
    ),
    "TargetContainerHostname": Case(
        arguments={"TargetVariant": "chain", "TargetContainerHostname": "second"},
        holds=_named("second", "chain"),
    ),
    # That it is in the data capture, a test of that says.
    "InferenceId": Case(
        arguments={"InferenceId": "run 1~"},
        holds=lambda o: "x-amzn-sagemaker-inference-id" not in o.heard,
    ),
    "EnableExplanations": Case(
        arguments={
            "TargetVariant": "digits",
            "ContentType": "text/csv",
            "EnableExplanations": "`true`",
            "Body": ROW.encode(),
        },
        holds=lambda o: len(json.loads(o.body)["explanations"]["occlusion"][0]) == 64,
    ),
    "InferenceComponentName": Case(
        arguments={"InferenceComponentName": "small"}, holds=_named("second", "shared")
    ),
    "SessionId": Case(
        arguments={"SessionId": SESSION},
        holds=_heard("x-amzn-sagemaker-session-id", SESSION),
    ),
    "PrefixAwareId": Case(
        arguments={"TargetVariant": "prefix", "PrefixAwareId": "p"}, holds=_is_of_one_instance
    ),
}
RESPONSE = {
    "Body": Case(arguments={}, holds=lambda o: json.loads(o.body)["name"] == "first"),
    "ContentType": Case(
        arguments={"Accept": "text/x-any"}, holds=lambda o: o.fields["ContentType"] == "text/x-any"
    ),
    "InvokedProductionVariant": Case(
        arguments={}, holds=lambda o: o.fields["InvokedProductionVariant"] == "echo"
    ),
    "CustomAttributes": Case(
        arguments={"CustomAttributes": "return=a=1"},
        holds=lambda o: o.fields["CustomAttributes"] == "a=1",
    ),
    "NewSessionId": Case(
        arguments={"SessionId": "NEW_SESSION"},
        holds=lambda o: re.fullmatch(
            r"[a-zA-Z0-9](-*[a-zA-Z0-9])*;\sExpires=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ",
            o.fields["NewSessionId"],
        ),
    ),
    "ClosedSessionId": Case(
        arguments={"SessionId": SESSION, "Body": b"close"},
        holds=lambda o: o.fields["ClosedSessionId"] == SESSION,
    ),
}


def _error(
    code: str, status: int, message: str = "", **members: object
) -> Callable[[Outcome], bool]:
    return lambda outcome: (
        outcome.is_error(code, status)
        and message in (outcome.message or "")
        and (outcome.is_cli or {name: outcome.fields.get(name) for name in members} == members)
    )


def _is_throttled(outcome: Outcome) -> bool:
    """Its message is null; the CLI prints that, and JavaScript has a word of its own for it."""
    null = ("None",) if outcome.is_cli else (None, "UnknownError")
    return outcome.is_error("ThrottlingException", 400) and outcome.message in null


def _is_too_large(outcome: Outcome) -> bool:
    """The answer is no JSON; JavaScript fails at that, and tells the status."""
    if outcome.code == "SyntaxError":
        return outcome.status == 413
    return _error("413", 413, "HTTP content length exceeded 100000 bytes.")(outcome)


LOGS = "arn:aws:logs:us-east-1:123456789012:log-group:/aws/sagemaker/Endpoints/every"
ERRORS = {
    "ValidationError": Case(
        arguments={"EndpointName": "other"},
        holds=_error("ValidationError", 400, "Endpoint other of account 123456789012 not found."),
    ),
    "ModelError": Case(
        arguments={"CustomAttributes": "status=503"},
        holds=_error(
            "ModelError",
            424,
            'Received server error (503) from primary with message "sorry"',
            OriginalStatusCode=503,
            OriginalMessage="sorry",
            LogStreamArn=LOGS,
        ),
    ),
    "ModelNotReadyException": Case(
        arguments={"TargetVariant": "not-ready"}, holds=_error("ModelNotReadyException", 429)
    ),
    "InternalFailure": Case(
        arguments={"TargetVariant": "internal"}, holds=_error("InternalFailure", 500)
    ),
    "ServiceUnavailable": Case(
        arguments={"TargetVariant": "unavailable"}, holds=_error("ServiceUnavailable", 503)
    ),
    "InternalDependencyException": Case(
        arguments={"TargetVariant": "dependency"}, holds=_error("InternalDependencyException", 530)
    ),
}
MORE_ERRORS = {
    "a model that takes too long": Case(
        arguments={"CustomAttributes": "sleep=1.5"},
        holds=_error("ModelError", 424, "server error (0)", OriginalStatusCode=0),
    ),
    "a model's 4xx": Case(
        arguments={"CustomAttributes": "status=415"},
        holds=_error("ModelError", 424, "client error (415)", OriginalStatusCode=415),
    ),
    "a model that is loaded": Case(
        arguments={"TargetVariant": "many", "TargetModel": "large.tar.gz"},
        holds=_error("ModelNotReadyException", 429, "large.tar.gz"),
    ),
    "no such model": Case(
        arguments={"TargetVariant": "many", "TargetModel": "b"},
        holds=_error("ValidationError", 400, "TargetModel must be one of a.tar.gz"),
    ),
    "no container named": Case(
        arguments={"TargetVariant": "chain"},
        holds=_error("ValidationError", 400, "TargetContainerHostname"),
    ),
    "no such component": Case(
        arguments={"InferenceComponentName": "tiny"},
        holds=_error("ValidationError", 400, "Inference component tiny not found."),
    ),
    "no such variant": Case(
        arguments={"TargetVariant": "none"}, holds=_error("ValidationError", 400, "Variant none")
    ),
    "throttling": Case(  # which begins with the second call
        arguments={"TargetVariant": "throttled"}, holds=_is_throttled
    ),
    "a body that is too large": Case(arguments={"Body": bytes(100_001)}, holds=_is_too_large),
    "a model that stalls in its error": Case(
        arguments={"CustomAttributes": "stall=503"},
        holds=_error("ModelError", 424, "server error (0)", OriginalStatusCode=0),
    ),
    "a model that hangs up": Case(
        arguments={"CustomAttributes": "hang-up"},
        holds=_error("ModelError", 424, "server error (500)", OriginalStatusCode=500),
    ),
    "a session that is not open": Case(
        arguments={"TargetVariant": "simulated", "SessionId": SESSION},
        holds=_error("ModelError", 424, f"{SESSION} is not open", OriginalStatusCode=400),
    ),
    "a prefix where it does not go": Case(
        arguments={"TargetVariant": "echo", "PrefixAwareId": "p"},
        holds=_error("ValidationError", 400, "PrefixAwareId needs PREFIX_AWARE"),
    ),
    "another account's key": Case(
        arguments={},
        keys=("other", "other"),
        holds=_error("ValidationError", 400, f"Endpoint every of account {OTHER_ACCOUNT}"),
    ),
    "a wrong secret": Case(
        arguments={},
        keys=("local", "wrong"),
        holds=_error("InvalidSignatureException", 403, "does not match"),
    ),
    "an unknown key": Case(
        arguments={}, keys=("none", "local"), holds=_error("UnrecognizedClientException", 403)
    ),
    "an expired key": Case(
        arguments={}, keys=("old", "old"), holds=_error("ExpiredTokenException", 403, "expired")
    ),
}
TOO_LONG = {
    "EndpointName": "x" * 64,
    "ContentType": "x" * 1025,
    "Accept": "x" * 1025,
    "CustomAttributes": "x" * 1025,
    "TargetModel": "x" * 1025,
    "TargetVariant": "x" * 64,
    "TargetContainerHostname": "x" * 64,
    "InferenceId": "x" * 65,
    "EnableExplanations": "x" * 65,
    "InferenceComponentName": "x" * 64,
    "SessionId": "x" * 257,
    "PrefixAwareId": "x" * 65,
}
ALL = (
    {f"request {name}": case for name, case in REQUEST.items()}
    | {f"response {name}": case for name, case in RESPONSE.items()}
    | {f"error {name}": case for name, case in ERRORS.items()}
    | {f"error: {name}": case for name, case in MORE_ERRORS.items()}
    | {
        f"too long {name}": Case(
            arguments={name: value},
            holds=_error("ValidationError", 400, f"'{name[:1].lower()}{name[1:]}'"),
        )
        for name, value in TOO_LONG.items()
    }
)
