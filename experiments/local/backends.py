"""What answers for each variant of an endpoint file: started, or reached where it runs."""

import contextlib
import re
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

from experiments.errors import EndpointError
from experiments.local import config, model_processes
from experiments.local.backend import Backend, Model, Simulated
from experiments.local.clock import Clock
from experiments.local.container import Container
from experiments.local.instance import simulated
from experiments.local.parts import Parts

_URL_HEALTHY_WITHIN_S = 3.0


@contextlib.asynccontextmanager
async def started(
    endpoint: config.Endpoint, log_dir: Path, clock: Clock
) -> AsyncIterator[dict[str, list[Backend]]]:
    """Start what answers for each variant, and yield its instances when all of it is ready.

    Raises:
        EndpointError: a model does not start, or a model server is not reached.
    """
    queues, limit_s = simulated(endpoint), endpoint.model_timeout
    models = {
        log: backing.model
        for name, variant in endpoint.variants.items()
        for label, backing in variant.backings(name).items()
        if backing.model is not None
        for log in _logs(label, variant.prepared)
    }
    async with model_processes.started(models, log_dir) as processes:

        async def instances(label: str, backing: config.Backing, count: int) -> list[Backend]:
            if (table := backing.simulated) is not None:
                return [Simulated(one, clock, limit_s, table.chunks) for one in queues[label]]
            if backing.url is not None:
                return [Model((await _reached(label, backing.url)).invoke, clock, limit_s)]
            return [Model(processes[log].invoke, clock, limit_s) for log in _logs(label, count)]

        deployed: dict[str, list[Backend]] = {}
        for name, variant in endpoint.variants.items():
            each = [
                await instances(label, backing, variant.prepared)
                for label, backing in variant.backings(name).items()
            ]
            if not variant.parts:
                (deployed[name],) = each
                continue
            for n in range(variant.prepared):
                # What is behind a URL is in each instance.
                own = {part: of[n % len(of)] for part, of in zip(variant.parts, each, strict=True)}
                deployed.setdefault(name, []).append(Parts(variant, own, clock, limit_s))
        yield deployed


def _logs(label: str, instances: int) -> list[str]:
    """Name the log of each instance."""
    return [f"{re.sub(r'[^a-zA-Z0-9.-]', '-', label)}-{n}" for n in range(1, instances + 1)]


async def _reached(name: str, url: str) -> Container:
    address = urlsplit(url)
    assert address.hostname is not None
    container = Container(address.hostname, address.port or 80)
    if await container.is_healthy(_URL_HEALTHY_WITHIN_S):
        return container
    raise EndpointError(
        f"variants.{name}: the model server at {url} does not answer GET /ping with 200.",
        "Start it first, or correct the url.",
    )
