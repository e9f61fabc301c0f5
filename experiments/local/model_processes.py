"""The model servers that the endpoint starts for itself: one process each, ended with it."""

import asyncio
import contextlib
import json
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments import child
from experiments.errors import EndpointError
from experiments.local.container import Container

READY_WITHIN_S = 60.0
_END_WITHIN_S = 5.0


@dataclass(frozen=True, slots=True)
class _Child:
    label: str
    process: Process
    log: Path


@contextlib.asynccontextmanager
async def started(models: Mapping[str, str], log_dir: Path) -> AsyncIterator[dict[str, Container]]:
    """Run a process for each label's model; yield a container a label when all answer pings.

    What a process says goes to `log_dir`/<label>.log.

    Raises:
        EndpointError: a process ended, or is not ready in time; with the end of its log.
    """
    children: list[_Child] = []
    try:
        for label, model in models.items():
            children.append(await _start(label, model, log_dir / f"{label}.log"))
        yield {one.label: await _ready(one) for one in children}
    finally:
        await _end([one.process for one in children])


async def _start(label: str, model: str, log: Path) -> _Child:
    with log.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            *child.command("experiments.local.models.server", "--model", model, "--port", "0"),
            stdin=PIPE,
            stdout=PIPE,
            stderr=stderr,
            env=child.environment(),
        )
    return _Child(label, process, log)


async def _ready(one: _Child) -> Container:
    assert one.process.stdout is not None
    line = b""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(READY_WITHIN_S):
            line = await one.process.stdout.readline()
    if line:
        container = Container("127.0.0.1", json.loads(line)["port"])
        if await container.is_healthy(READY_WITHIN_S):
            return container
    ended = one.process.stdout.at_eof()
    raise EndpointError(
        f"The model server {one.label} "
        + ("ended while it started." if ended else f"is not ready after {READY_WITHIN_S:g} s."),
        child.tail(one.log) or f"Its log, {one.log}, is empty.",
    )


async def _end(processes: Sequence[Process]) -> None:
    running = [process for process in processes if process.returncode is None]
    for process in running:
        process.terminate()
    if running:
        waits = [asyncio.create_task(process.wait()) for process in running]
        await asyncio.wait(waits, timeout=_END_WITHIN_S)
    for process in running:
        if process.returncode is None:
            process.kill()
            await process.wait()
