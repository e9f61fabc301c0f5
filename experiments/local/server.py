"""The local SageMaker endpoint: one port for runtime and control plane, every call signed."""

import argparse
import asyncio
import contextlib
import dataclasses
import gc
import ipaddress
import json
import logging
import re
import signal
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote

from experiments import child
from experiments.errors import AbreastError
from experiments.local import api, backends, config, http, identity, sigv4
from experiments.local.attempts import Attempts
from experiments.local.capture import CaptureLog
from experiments.local.clock import Clock
from experiments.local.deployment import Deployment
from experiments.local.http import Handler, Request, Response
from experiments.local.process import Announcement
from experiments.local.runtime import invoke_endpoint
from experiments.local.served_log import opened
from experiments.local.service_error import ServiceError
from experiments.local.streaming import invoke_with_response_stream

_RUNTIME = re.compile(r"/endpoints/([^/]+)/([a-z-]+)")
logger = logging.getLogger(__name__)


def application(first: Deployment, *others: Deployment) -> Handler:
    """Return the handler that is the endpoints; what names none of them is the first's."""
    endpoint = first.endpoint
    by_name = {one.endpoint.name: one for one in (first, *others)}
    own = config.Key(secret_access_key=endpoint.secret_access_key, account=endpoint.account)
    keys = {endpoint.access_key_id: own, **endpoint.keys}

    async def answer(request: Request) -> Response:
        path = request.target.partition("?")[0]
        invocation = _RUNTIME.fullmatch(path)
        called = None if invocation is not None else api.named(request)
        service, now = api.signed_for(called), datetime.now(UTC)
        account = sigv4.verify(request, keys, region=endpoint.region, service=service, now=now)
        if request.method == "POST" and called is not None:
            return api.answer(called, request, account, lambda name: by_name.get(name or "", first))
        if request.method == "POST" and invocation is not None:
            name, operation = invocation.groups()
            deployment = by_name.get(unquote(name), first)
            if len(request.body) > (limit := deployment.endpoint.body_limit):
                return http.too_long(limit)  # what reaches here is within that of some endpoint
            if operation == "invocations":
                return await invoke_endpoint(name, deployment.begin(request), account, deployment)
            if operation == "invocations-response-stream":
                call = deployment.begin(request)
                return await invoke_with_response_stream(name, call, account, deployment)
            if operation == "async-invocations":
                raise _not_offered("InvokeEndpointAsync is", "It needs S3. Use InvokeEndpoint.")
        raise _not_offered(
            f"{request.method} {path} is",
            "Of the SageMaker runtime this local endpoint answers InvokeEndpoint and "
            "InvokeEndpointWithResponseStream.",
        )

    async def handle(request: Request) -> Response:
        try:
            response = await answer(request)
        except ServiceError as error:
            asks_sts = identity.is_asked(request)
            response = identity.refuse(error) if asks_sts else error.response()
        response.headers["x-amzn-RequestId"] = http.request_id()
        return response

    return handle


def _not_offered(what: str, instead: str) -> ServiceError:
    return ServiceError(400, "UnknownOperationException", f"{what} not offered here. {instead}")


def run(
    config_path: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    log_dir: Path | None = None,
    seed: int = 0,
    announce: Callable[[Announcement], None],
) -> None:
    """Serve the endpoints that a file describes until SIGTERM or SIGINT; `announce` when ready.

    `seed` is added to the file's own. What is announced is the first endpoint.

    Raises:
        AbreastError: the file is wrong, the port is taken, or a model does not start.
    """
    loaded = config.load_all(config_path)
    endpoints = [one.model_copy(update={"seed": one.seed + seed}) for one in loaded]
    endpoint = endpoints[0]
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(http.listen(host, port))
        logs = log_dir
        if logs is None:
            logs = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="abreast-")))
        address, bound_port = listener.getsockname()[:2]
        if not ipaddress.ip_address(address).is_loopback:
            logger.warning("%s is not a loopback address: others may reach this endpoint.", host)
        announcement = Announcement(
            url=f"http://{f'[{host}]' if ':' in host else host}:{bound_port}",
            port=bound_port,
            endpoint=endpoint.name,
            region=endpoint.region,
            access_key_id=endpoint.access_key_id,
            secret_access_key=endpoint.secret_access_key,
            variants=tuple(endpoint.variants),
        )
        folder, attempts = log_dir or Path.cwd(), Attempts()

        async def main() -> None:
            task = asyncio.current_task()
            assert task is not None
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(number, task.cancel)
            with contextlib.suppress(asyncio.CancelledError):
                async with contextlib.AsyncExitStack() as until:
                    deployments = []
                    for one in endpoints:
                        own = logs if one is endpoint else logs / one.name
                        own.mkdir(parents=True, exist_ok=True)
                        deployments.append(await _deployed(one, own, folder, attempts, until))
                    limit = max(one.body_limit for one in endpoints)
                    async with http.serve(application(*deployments), listener, limit):
                        # What is there by now stays. Each full collection would look at all of
                        # it, and every answer would wait.
                        gc.freeze()
                        announce(announcement)
                        await asyncio.gather(*(one.scale() for one in deployments))
                        await asyncio.Event().wait()

        http.run(main())
        if attempts.repeated:
            logger.warning(
                "%d of %d calls came before with the same amz-sdk-invocation-id: a client "
                "retries by itself.",
                attempts.repeated, attempts.calls,
            )  # fmt: skip


async def _deployed(
    endpoint: config.Endpoint,
    logs: Path,
    folder: Path,
    attempts: Attempts,
    until: contextlib.AsyncExitStack,
) -> Deployment:
    """Start an endpoint, whose models log to `logs`; what it keeps goes to `folder`."""
    served_log = capture = None
    if endpoint.served_log is not None:
        served_log = until.enter_context(opened(folder / endpoint.served_log))
    if endpoint.capture is not None:
        capture = CaptureLog(endpoint.capture, folder / endpoint.capture.folder, endpoint)
        until.callback(capture.close)
    clock = until.enter_context(contextlib.closing(Clock()))
    return Deployment(
        endpoint=endpoint,
        backends=await until.enter_async_context(backends.started(endpoint, logs, clock)),
        clock=clock,
        served_log=served_log,
        capture=capture,
        attempts=attempts,
    )


def main() -> int:
    """Serve the endpoint file named on the command line; the exit status."""
    parser = argparse.ArgumentParser(description="Serve a SageMaker endpoint on this machine.")
    parser.add_argument("file", type=Path, help="the endpoint file")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0, the default, takes a free one")
    parser.add_argument("--log-dir", type=Path, help="where the model servers write their logs")
    parser.add_argument("--seed", type=int, default=0, help="added to the file's own")
    parser.add_argument("--lifeline", action="store_true", help="stop when stdin comes to its end")
    options = vars(parser.parse_args())
    logging.basicConfig(format="%(levelname)s: %(message)s")
    if options.pop("lifeline"):
        child.end_with_parent()
    try:
        run(options.pop("file"), announce=_print_line, **options)
    except AbreastError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


def _print_line(announcement: Announcement) -> None:
    sys.stdout.write(json.dumps(dataclasses.asdict(announcement)) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
