"""InvokeEndpointWithResponseStream: the parts of an answer as its container gives them."""

import asyncio
from collections.abc import AsyncGenerator

from experiments.local import eventstream, parameters
from experiments.local.deployment import Call, Deployment
from experiments.local.faults import STREAM_ERRORS
from experiments.local.http import Response, chunk
from experiments.local.runtime import FAULT, TIMED_OUT, ask, deliver, label
from experiments.local.service_error import ServiceError

_FROM_CONTAINER = {
    f"{parameters.PREFIX}content-type": "content-type",
    parameters.CUSTOM_ATTRIBUTES: parameters.CUSTOM_ATTRIBUTES,
}


async def invoke_with_response_stream(
    name: str, call: Call, account: str, deployment: Deployment
) -> Response:
    """Answer one InvokeEndpointWithResponseStream call; its stream may end in an error."""
    try:
        answered = await ask(name, call, account, deployment, streamed=True)
    except BaseException as error:
        if isinstance(error, ServiceError):
            call.fail(error)
        deployment.end(call)
        raise
    call.status = 200
    call.is_streamed = True
    headers = {"Content-Type": eventstream.CONTENT_TYPE}
    spoilt = deliver(call, headers)
    for header, theirs in _FROM_CONTAINER.items():
        if theirs in answered.headers:
            headers[header] = answered.headers[theirs]
    assert answered.stream is not None
    messages = _messages(call, answered.stream, deployment)
    if spoilt is None:
        return Response(200, headers, b"", stream=messages)
    # What goes wrong on its way goes wrong with the whole of it.
    body = b"".join([chunk(one) async for one in messages]) + chunk(b"")
    return Response(200, {**headers, "Transfer-Encoding": "chunked"}, body, spoilt)


async def _messages(
    call: Call, pieces: AsyncGenerator[bytes], deployment: Deployment
) -> AsyncGenerator[bytes]:
    assert call.route is not None
    fault = call.route.fault
    failing = STREAM_ERRORS.get(fault.kind) if fault is not None else None
    until = asyncio.get_running_loop().time() + deployment.endpoint.stream_timeout
    error: bytes | None = None
    try:
        while error is None:
            piece: bytes | None = None
            try:
                async with asyncio.timeout_at(until):
                    piece = await anext(pieces, None)
            except TimeoutError:
                error = _broken(call, "ModelInvocationTimeExceeded", TIMED_OUT.format(label(call)))
            except OSError as broken:
                error = _broken(call, "StreamBroken", f"The model server's answer broke: {broken}")
            call.model_s = deployment.clock.now_s() - call.at_s
            if piece is None:
                break
            if call.first_chunk_s is None:
                call.first_chunk_s = call.model_s
            yield eventstream.part(piece)
            if failing == "ModelStreamError":
                error = _broken(call, "StreamBroken", FAULT)
            elif failing is not None:
                call.stream_error = failing
                error = eventstream.exception(failing, FAULT)
        if error is not None:
            yield error
    except (GeneratorExit, asyncio.CancelledError):  # the client has gone
        call.status = None
        raise
    finally:
        await pieces.aclose()
        deployment.end(call)


def _broken(call: Call, code: str, text: str) -> bytes:
    """Return the ModelStreamError in which a stream ends, and note it."""
    call.stream_error = code
    return eventstream.exception("ModelStreamError", text, ErrorCode=code)
