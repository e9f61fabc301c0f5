"""InvokeEndpoint: what the SageMaker runtime checks, whom it asks, and what it answers."""

import asyncio
from urllib.parse import unquote

from experiments.local import config, parameters, parts
from experiments.local.backend import Asked
from experiments.local.delivery import Spoilt
from experiments.local.deployment import Call, Deployment
from experiments.local.faults import SERVICE_ERRORS, Fault
from experiments.local.http import Response
from experiments.local.service_error import ServiceError, validation_error
from experiments.local.sessions import CLOSED_SESSION_ID, NEW_SESSION, NEW_SESSION_ID, SESSION_ID

INVOKED_VARIANT = "x-Amzn-Invoked-Production-Variant"
_FROM_CONTAINER = ["content-type", parameters.CUSTOM_ATTRIBUTES, NEW_SESSION_ID, CLOSED_SESSION_ID]
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
        answered = await ask(name, call, account, deployment)
        call.status = 200
    except ServiceError as error:
        call.fail(error)
        raise
    finally:
        deployment.end(call)
    asked, said = call.request.headers, answered.headers
    assert call.route is not None
    if SESSION_ID in asked:
        _follow_session(asked[SESSION_ID], call, answered, deployment)
    if deployment.capture is not None:
        deployment.capture.write(
            call.route.variant,
            asked.get(parameters.INFERENCE_ID),
            (asked.get("content-type"), call.request.body),
            (said.get("content-type"), answered.body),
        )
    headers = {key: said[key] for key in _FROM_CONTAINER if key in said}
    return Response(200, headers, answered.body, deliver(call, headers))


async def ask(
    name: str, call: Call, account: str, deployment: Deployment, *, streamed: bool = False
) -> Response:
    """Check and route a call, and return what its container answers, whose status is 2xx."""
    endpoint, request, clock = deployment.endpoint, call.request, deployment.clock
    name = unquote(name)
    headers = parameters.check(name, request, streamed=streamed)
    if name != endpoint.name or account != endpoint.account:
        raise validation_error(f"Endpoint {name} of account {account} not found.")
    _route(call, headers, deployment)
    assert call.route is not None
    variant, instance, fault = call.route
    kind = fault.kind if fault is not None else None
    if fault is not None and (refusal := _refusal(fault, call, endpoint)) is not None:
        raise refusal
    extra_s = (fault.delay or 0.0) if fault is not None and kind == "spike" else 0.0
    try:
        call.reply = reply = await deployment.backends[variant][instance].invoke(
            Asked(headers, request.body, call.at_s, extra_s, streamed)
        )
        call.model_s = reply.wait_s + reply.service_s
        status = reply.response.status
        if 200 <= status < 300 and kind != "model_error":
            call.model_status = status
            return reply.response
        said = (await _whole(call, reply.response, deployment)).decode(errors="replace")
        if fault is not None and kind == "model_error":
            status, said = fault.status or status, FAULT
    except TimeoutError:
        status, said = 0, TIMED_OUT.format(label(call))
        call.model_s = clock.now_s() - call.at_s
    except OSError as error:
        status, said = 500, f"The model server did not answer: {error}"
        call.model_s = clock.now_s() - call.at_s
    raise _model_error(call, endpoint, status, said)


def _route(call: Call, headers: dict[str, str], deployment: Deployment) -> None:
    variants, asked = deployment.endpoint.variants, call.request.headers
    target, instance = asked.get(parameters.TARGET_VARIANT), None
    if (component := headers.get(parameters.INFERENCE_COMPONENT)) is not None:
        has_it = (name for name, one in variants.items() if component in one.components)
        variant = next(has_it, None)
        if variant is None or target not in (None, variant):
            raise validation_error(f"Inference component {component} not found.")
        target = variant
    session = deployment.sessions.get(headers.get(SESSION_ID, ""))
    if session is not None and target in (None, session.variant):
        target, instance = session.variant, session.instance
    prefix = asked.get(parameters.PREFIX_AWARE_ID)
    call.route = deployment.router.route(call.at_s, target, prefix=prefix, instance=instance)
    variant = call.route.variant
    for header, member in parts.MEMBERS.items():
        if header in headers and header != parts.taken(variants[variant]):
            raise validation_error(f"{member} does not go with the variant {variant}.")


def _refusal(fault: Fault, call: Call, endpoint: config.Endpoint) -> ServiceError | None:
    """Return the error of a fault that keeps a request from its instance."""
    match fault.kind:
        case "throttle":
            return ServiceError(400, "ThrottlingException", "Rate exceeded")
        case "service_error":
            assert fault.status is not None
            return ServiceError(fault.status, SERVICE_ERRORS[fault.status], FAULT)
        case "dead_instance":
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


def deliver(call: Call, headers: dict[str, str]) -> Spoilt | None:
    """Name the variant in the headers of a good answer; return how a fault spoils that."""
    assert call.route is not None
    variant, _, fault = call.route
    if fault is None or fault.kind != "no_variant":
        headers[INVOKED_VARIANT] = variant
    match fault:
        case Fault(
            kind="reset" | "slow_body" | "cut_body" | "closed_keep_alive" | "wrong_bytes" as how
        ):
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
    return next((headers[header] for header in parts.MEMBERS if header in headers), "primary")


def _model_error(call: Call, endpoint: config.Endpoint, status: int, said: str) -> ServiceError:
    call.model_status = status
    said = said[:_QUOTE_LIMIT]
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
