"""InvokeEndpoint: what the SageMaker runtime checks, whom it asks, and what it answers."""

import asyncio
from urllib.parse import unquote

from experiments.local import config, parameters
from experiments.local.delivery import Spoilt
from experiments.local.deployment import Call, Deployment
from experiments.local.faults import SERVICE_ERRORS, Fault
from experiments.local.http import Request, Response
from experiments.local.parts import MEMBERS
from experiments.local.service_error import ServiceError, ThrottlingError, validation_error
from experiments.local.sessions import CLOSED_SESSION_ID, NEW_SESSION, NEW_SESSION_ID, SESSION_ID

INVOKED_VARIANT = "x-Amzn-Invoked-Production-Variant"
_FROM_CONTAINER = [
    "content-type",
    parameters.CUSTOM_ATTRIBUTES,
    NEW_SESSION_ID,
    CLOSED_SESSION_ID,
]
_QUOTE_LIMIT = 1024
"""Characters of a container's answer that an error quotes; its messages hold 2,048."""

_MOST_SESSIONS = 100_000
FAULT = "A fault that the endpoint file states."
TIMED_OUT = (
    "Your invocation timed out while waiting for a response from container {}. Review the latency "
    "metrics for each container in Amazon CloudWatch, resolve the issue, and try again."
)


async def invoke_endpoint(name: str, call: Call, account: str, deployment: Deployment) -> Response:
    """Answer one InvokeEndpoint call by an instance of the variant that it goes to.

    `name` is the endpoint's as the URL has it, `account` the one of the caller.

    Raises:
        ServiceError: ValidationError when the call breaks a rule, ModelError when the container
            answers anything but 2xx, cannot be reached, or takes longer than the model's limit;
            and what a fault of the endpoint file asks for.
    """
    try:
        headers = checked(name, call.request, account, deployment, parameters.INVOKE)
        answered = await ask(call, headers, deployment)
        response = _answer(call, answered)
        call.status = 200
    except ServiceError as error:
        call.fail(error)
        raise
    finally:
        deployment.end(call)
    assert call.route is not None
    if SESSION_ID in headers:
        _follow_session(headers[SESSION_ID], call, answered, deployment)
    if deployment.capture is not None:
        deployment.capture.write(
            call.route.variant,
            call.request.headers.get(parameters.INFERENCE_ID),
            (headers.get("content-type"), call.request.body),
            (answered.headers.get("content-type"), answered.body),
        )
    return response


def checked(
    escaped_name: str,
    request: Request,
    account: str,
    deployment: Deployment,
    rules: parameters.Rules,
) -> dict[str, str]:
    """Check a call's parameters; return the headers that a container gets.

    Raises:
        ServiceError: ValidationError.
    """
    name, endpoint = unquote(escaped_name), deployment.endpoint
    forwarded = parameters.check(name, request, rules)
    if name != endpoint.name or account != endpoint.account:
        raise validation_error(f"Endpoint {name} of account {account} not found.")
    return forwarded


async def ask(
    call: Call, headers: dict[str, str], deployment: Deployment, *, streamed: bool = False
) -> Response:
    """Route a call, and return what its container answers, whose status is 2xx.

    Raises:
        ServiceError: ValidationError, ModelError, and what a fault asks for.
    """
    endpoint = deployment.endpoint
    _route(call, headers, deployment)
    assert call.route is not None
    variant, instance, fault = call.route
    extra_s = 0.0
    if fault is not None:
        if (refusal := _refusal(fault, call, endpoint)) is not None:
            raise refusal
        if fault.kind == "spike":
            extra_s = fault.delay or 0.0
    backend = deployment.backends[variant][instance]
    try:
        call.reply = reply = await backend.invoke(
            headers, call.request.body, call.at_s, extra_s, streamed=streamed
        )
        call.model_s = reply.wait_s + reply.service_s
        status = reply.response.status
        is_faulty = fault is not None and fault.kind == "model_error"
        if 200 <= status < 300 and not is_faulty:
            call.model_status = status
            return reply.response
        said = (await _whole(call, reply.response, deployment)).decode(errors="replace")
        said = said[:_QUOTE_LIMIT]
        if is_faulty:
            assert fault is not None
            assert fault.status is not None
            status, said = fault.status, FAULT
    except TimeoutError:
        status, said = 0, TIMED_OUT.format(label(call))
        call.model_s = deployment.clock.now_s() - call.at_s
    except OSError as error:
        status, said = 500, f"The model server did not answer: {error}"
        call.model_s = deployment.clock.now_s() - call.at_s
    call.model_status = status
    raise _model_error(call, endpoint, status, said)


def _route(call: Call, headers: dict[str, str], deployment: Deployment) -> None:
    asked = call.request.headers
    target, instance = asked.get(parameters.TARGET_VARIANT), None
    if (component := headers.get(parameters.INFERENCE_COMPONENT)) is not None:
        variant = deployment.variant_of.get(component)
        if variant is None or target not in (None, variant):
            raise validation_error(f"Inference component {component} not found.")
        target = variant
    session = deployment.sessions.get(headers.get(SESSION_ID, ""))
    if session is not None and target in (None, session.variant):
        target, instance = session.variant, session.instance
    call.route = deployment.router.route(
        call.at_s,
        target,
        prefix=asked.get(parameters.PREFIX_AWARE_ID),
        instance=instance,
    )
    variant = call.route.variant
    for header, member in MEMBERS.items():
        if header in headers and header not in deployment.taken[variant]:
            raise validation_error(f"{member} does not go with the variant {variant}.")


def _refusal(fault: Fault, call: Call, endpoint: config.Endpoint) -> ServiceError | None:
    """Return the error of a fault that keeps a request from its instance."""
    match fault.kind:
        case "throttle":
            return ThrottlingError()
        case "service_error":
            assert fault.status is not None
            return ServiceError(fault.status, SERVICE_ERRORS[fault.status], FAULT)
        case "dead_instance":
            call.model_status = 500
            return _model_error(call, endpoint, 500, "The model server did not answer: it is dead.")
    return None


async def _whole(call: Call, response: Response, deployment: Deployment) -> bytes:
    """Read a streamed answer to its end in what is left of the model's time; a body is one."""
    if response.stream is None:
        return response.body
    left_s = call.at_s + deployment.endpoint.model_timeout - deployment.clock.now_s()
    async with asyncio.timeout(left_s):
        body = b"".join([piece async for piece in response.stream])
    call.model_s = deployment.clock.now_s() - call.at_s
    return body


def _answer(call: Call, answered: Response) -> Response:
    headers = {key: answered.headers[key] for key in _FROM_CONTAINER if key in answered.headers}
    spoilt = deliver(call, headers)
    return Response(200, headers, answered.body, spoilt)


def deliver(call: Call, headers: dict[str, str]) -> Spoilt | None:
    """Name the variant in the headers of a good answer; return how a fault spoils that."""
    assert call.route is not None
    variant, _, fault = call.route
    if fault is None:
        headers[INVOKED_VARIANT] = variant
        return None
    if fault.kind != "no_variant":
        headers[INVOKED_VARIANT] = variant
    match fault.kind:
        case "reset" | "slow_body" | "cut_body" | "closed_keep_alive" | "wrong_bytes" as how:
            return Spoilt(how, fault.delay or 0.0)
    return None


def _follow_session(asked: str, call: Call, answered: Response, deployment: Deployment) -> None:
    """Have a new session stay with its instance, and forget one that is closed."""
    assert call.route is not None
    if asked == NEW_SESSION and (new := answered.headers.get(NEW_SESSION_ID)) is not None:
        deployment.sessions[new.partition(";")[0]] = call.route
        if len(deployment.sessions) > _MOST_SESSIONS:
            del deployment.sessions[next(iter(deployment.sessions))]
    deployment.sessions.pop(answered.headers.get(CLOSED_SESSION_ID, ""), None)


def label(call: Call) -> str:
    """Name the container that a message of SageMaker's blames."""
    headers = call.request.headers
    return next((headers[header] for header in MEMBERS if header in headers), "primary")


def _model_error(call: Call, endpoint: config.Endpoint, status: int, said: str) -> ServiceError:
    group = f"/aws/sagemaker/Endpoints/{endpoint.name}"
    region, account = endpoint.region, endpoint.account
    blame = "client" if 400 <= status < 500 else "server"
    message = (
        f'Received {blame} error ({status}) from {label(call)} with message "{said}". See '
        f"https://{region}.console.aws.amazon.com/cloudwatch/home?region={region}"
        f"#logEventViewer:group={group} in account {account} for more information."
    )
    return ServiceError(
        424,
        "ModelError",
        message,
        OriginalStatusCode=status,
        OriginalMessage=said,
        LogStreamArn=f"arn:aws:logs:{region}:{account}:log-group:{group}",
    )
