"""What answers for each variant of an endpoint file: started, or reached where it runs."""

import contextlib
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from experiments.errors import EndpointError
from experiments.local import config, model_processes, parts
from experiments.local.backend import Ask, Backend, Model, Simulated
from experiments.local.clock import Clock
from experiments.local.container import Container
from experiments.local.instance import Instance, simulated

_URL_HEALTHY_WITHIN_S = 3.0
_Backing = config.Variant | config.Part


@contextlib.asynccontextmanager
async def started(
    endpoint: config.Endpoint, log_dir: Path, clock: Clock
) -> AsyncIterator[dict[str, list[Backend]]]:
    """Start what answers for each variant, and yield its instances when all of it is ready.

    Raises:
        EndpointError: a model does not start, or a model server is not reached.
    """
    models = {
        log: backing.model
        for variant in endpoint.variants
        for label, backing in _backings(endpoint, variant).items()
        if backing.model is not None
        for log in _logs(label, endpoint.variants[variant].prepared)
    }
    queues = simulated(endpoint)
    async with model_processes.started(models, log_dir) as processes:
        deployed: dict[str, list[Backend]] = {}
        for name, variant in endpoint.variants.items():
            each: dict[str, list[Backend]] = {}
            for label, backing in _backings(endpoint, name).items():
                asks: list[Ask] = []
                if backing.model is not None:
                    asks = [processes[log].invoke for log in _logs(label, variant.prepared)]
                elif backing.url is not None:
                    asks = [(await _reached(label, backing.url)).invoke]
                each[label] = _instances(backing, queues.get(label, []), asks, endpoint, clock)
            if (header := parts.told_by(variant)) is None:
                deployed[name] = each[name]
            else:
                of_parts = [each[f"{name}/{part}"] for part in variant.parts]
                deployed[name] = _parted(header, variant, of_parts, endpoint, clock)
        yield deployed


def _backings(endpoint: config.Endpoint, name: str) -> Mapping[str, _Backing]:
    """Give what answers for a variant: its parts or, where it has none, itself."""
    variant = endpoint.variants[name]
    return {f"{name}/{part}": table for part, table in variant.parts.items()} or {name: variant}


def _instances(
    backing: _Backing,
    queues: Sequence[Instance],
    asks: Sequence[Ask],
    endpoint: config.Endpoint,
    clock: Clock,
) -> list[Backend]:
    limit_s = endpoint.model_timeout
    if backing.simulated is not None:
        chunks = backing.simulated.chunks
        return [Simulated(queue, clock, limit_s, chunks) for queue in queues]
    return [Model(ask, clock, limit_s) for ask in asks]


def _parted(
    header: str,
    variant: config.Variant,
    of_parts: Sequence[Sequence[Backend]],
    endpoint: config.Endpoint,
    clock: Clock,
) -> list[Backend]:
    """Put the parts of each instance of a variant together; what is behind a URL is in each."""
    loads_s = {part: table.load for part, table in variant.parts.items()}
    return [
        parts.Parts(
            header,
            {part: of[n % len(of)] for part, of in zip(variant.parts, of_parts, strict=True)},
            loads_s,
            clock,
            endpoint.model_timeout,
        )
        for n in range(variant.prepared)
    ]


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
