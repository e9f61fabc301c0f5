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
import time
import uuid
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from experiments import child
from experiments.errors import AbreastError, EndpointError
from experiments.local import config, control_plane, http, instance, model_processes, sigv4
from experiments.local.attempts import Attempts
from experiments.local.backend import Backend, Model, Simulated
from experiments.local.clock import Clock
from experiments.local.container import Container
from experiments.local.http import Handler, Request, Response
from experiments.local.process import Announcement
from experiments.local.routing import Router
from experiments.local.runtime import Deployment, invoke_endpoint
from experiments.local.served_log import ServedLog
from experiments.local.service_error import ServiceError

_URL_HEALTHY_WITHIN_S = 3.0
_INVOCATIONS = re.compile(r"/endpoints/([^/]+)/invocations")
logger = logging.getLogger(__name__)


def application(deployment: Deployment) -> Handler:
    """Return the handler that is the endpoint."""
    endpoint = deployment.endpoint
    credentials = sigv4.Credentials(
        access_key_id=endpoint.access_key_id,
        secret_access_key=endpoint.secret_access_key,
        region=endpoint.region,
    )
    created_at = time.time()

    async def answer(request: Request) -> Response:
        operation = request.headers.get("x-amz-target", "")
        to_cloudwatch = operation.startswith("GraniteServiceVersion")
        service = "monitoring" if to_cloudwatch else "sagemaker"
        sigv4.verify(request, credentials, service=service, now=datetime.now(UTC))
        path = request.target.partition("?")[0]
        if request.method == "POST" and path == "/":
            return control_plane.answer(request, endpoint, created_at)
        if request.method == "POST" and (invocation := _INVOCATIONS.fullmatch(path)):
            return await invoke_endpoint(invocation[1], request, deployment)
        raise ServiceError(
            400,
            "UnknownOperationException",
            f"{request.method} {path} is not offered by this local endpoint; of the SageMaker "
            "runtime it answers InvokeEndpoint.",
        )

    async def handle(request: Request) -> Response:
        try:
            response = await answer(request)
        except ServiceError as error:
            response = error.response()
        headers = {**response.headers, "x-amzn-RequestId": str(uuid.uuid4())}
        return Response(
            status=response.status, headers=headers, body=response.body, spoilt=response.spoilt
        )

    return handle


def run(
    config_path: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    log_dir: Path | None = None,
    announce: Callable[[Announcement], None],
) -> None:
    """Serve the endpoint that a file describes until SIGTERM or SIGINT; call `announce` when ready.

    Raises:
        AbreastError: the file is wrong, the port is taken, or a model does not start.
    """
    endpoint = config.load(config_path)
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(http.listen(host, port))
        if log_dir is None:
            logs = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="abreast-")))
        else:
            logs = log_dir
            logs.mkdir(parents=True, exist_ok=True)
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

        folder = Path.cwd() if log_dir is None else log_dir
        served_log = stack.enter_context(
            ServedLog(None if endpoint.served_log is None else folder / endpoint.served_log)
        )
        attempts = Attempts()

        async def main() -> None:
            task = asyncio.current_task()
            assert task is not None
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(number, task.cancel)
            with contextlib.suppress(asyncio.CancelledError), contextlib.closing(Clock()) as clock:
                async with _backends(endpoint, logs, clock) as backends:
                    deployment = Deployment(
                        endpoint=endpoint,
                        backends=backends,
                        router=Router(endpoint, backends),
                        clock=clock,
                        served_log=served_log,
                        attempts=attempts,
                    )
                    serving = http.serve(application(deployment), listener, endpoint.body_limit)
                    async with serving:
                        # What is there by now stays. Each full collection would look at all of
                        # it, and every answer would wait.
                        gc.freeze()
                        announce(announcement)
                        await asyncio.Event().wait()

        http.run(main())
        if attempts.repeated:
            logger.warning(
                "%d of %d calls came before with the same amz-sdk-invocation-id: a client "
                "retries by itself.",
                attempts.repeated, attempts.calls,
            )  # fmt: skip


@contextlib.asynccontextmanager
async def _backends(
    endpoint: config.Endpoint, log_dir: Path, clock: Clock
) -> AsyncIterator[dict[str, list[Backend]]]:
    """Start what answers for each variant, and yield it when all of it is ready."""
    limit_s = endpoint.model_timeout
    models = {
        label: variant.model
        for name, variant in endpoint.variants.items()
        if variant.model is not None
        for label in _labels(name, variant)
    }
    simulated = instance.simulated(endpoint)
    async with model_processes.started(models, log_dir) as processes:
        backends: dict[str, list[Backend]] = {}
        for name, variant in endpoint.variants.items():
            if variant.simulated is not None:
                backends[name] = [Simulated(one, clock, limit_s) for one in simulated[name]]
            elif variant.url is not None:
                container = await _reached(name, variant.url)
                backends[name] = [Model(container.invoke, clock, limit_s)]
            else:
                backends[name] = [
                    Model(processes[label].invoke, clock, limit_s)
                    for label in _labels(name, variant)
                ]
        yield backends


def _labels(name: str, variant: config.Variant) -> list[str]:
    return [f"{name}-{number}" for number in range(1, variant.instances + 1)]


async def _reached(name: str, url: str) -> Container:
    parts = urlsplit(url)
    assert parts.hostname is not None
    container = Container(parts.hostname, parts.port or 80)
    if await container.is_healthy(_URL_HEALTHY_WITHIN_S):
        return container
    raise EndpointError(
        f"variants.{name}: the model server at {url} does not answer GET /ping with 200.",
        "Start it first, or correct the url.",
    )


def main() -> int:
    """Serve the endpoint file named on the command line; the exit status."""
    parser = argparse.ArgumentParser(description="Serve a SageMaker endpoint on this machine.")
    parser.add_argument("file", type=Path, help="the endpoint file")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0, the default, takes a free one")
    parser.add_argument("--log-dir", type=Path, help="where the model servers write their logs")
    parser.add_argument("--lifeline", action="store_true", help="stop when stdin comes to its end")
    options = parser.parse_args()
    logging.basicConfig(format="%(levelname)s: %(message)s")
    if options.lifeline:
        child.end_with_parent()
    try:
        run(
            options.file,
            host=options.host,
            port=options.port,
            log_dir=options.log_dir,
            announce=_print_line,
        )
    except AbreastError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


def _print_line(announcement: Announcement) -> None:
    sys.stdout.write(json.dumps(dataclasses.asdict(announcement)) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
