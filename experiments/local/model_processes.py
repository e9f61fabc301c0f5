"""The model servers that the endpoint starts for itself: one process each, ended with it.

One that dies is started again, after a pause that doubles from death to death.
"""

import asyncio
import contextlib
import json
import logging
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from experiments import child
from experiments.errors import EndpointError
from experiments.local.backend import Asked
from experiments.local.container import Container
from experiments.local.http import Response

READY_WITHIN_S = 60.0
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
_STEADY_AFTER_S = 60.0
"""A process that lived for so long died of something new: the pause is the first one again."""
_END_WITHIN_S = 5.0
logger = logging.getLogger(__name__)


class ModelProcess:
    """A model server in a process of its own; what it says goes to `log`."""

    process: Process
    """The latest that was launched."""

    def __init__(self, label: str, model: str, log: Path) -> None:
        self._label = label
        self._model = model
        self._log = log
        self._container: Container | None = None

    async def invoke(self, asked: Asked) -> Response:
        """Return the answer to POST /invocations; OSError when there is none."""
        if self._container is None:
            raise ConnectionError("it has died, and is being started again")
        return await self._container.invoke(asked)

    async def launch(self) -> None:
        """Start the process."""
        command = child.command("experiments.local.models.server", "--model", self._model)
        with self._log.open("ab") as stderr:
            self.process = await asyncio.create_subprocess_exec(
                *command, stdin=PIPE, stdout=PIPE, stderr=stderr, env=child.environment()
            )

    async def wait_until_ready(self) -> None:
        """Return when the process that was launched answers pings."""
        assert self.process.stdout is not None
        line = b""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(READY_WITHIN_S):
                line = await self.process.stdout.readline()
        if line:
            container = Container("127.0.0.1", json.loads(line)["port"])
            if await container.is_healthy(READY_WITHIN_S):
                self._container = container
                return
        ended = self.process.stdout.at_eof()
        raise EndpointError(
            f"The model server {self._label} "
            + ("ended while it started." if ended else f"is not ready after {READY_WITHIN_S:g} s."),
            child.tail(self._log) or f"Its log, {self._log}, is empty.",
        )

    async def keep_alive(self) -> None:
        """Start the process again whenever it has died; does not return."""
        pause_s = 0.0
        while True:
            began = time.monotonic()
            code = await self.process.wait()
            self._container = None
            pause_s = next_pause_s(pause_s, time.monotonic() - began)
            logger.warning(
                "The model server %s ended with exit code %d; it is started again in %g s. "
                "Its log is %s.",
                self._label, code, pause_s, self._log,
            )  # fmt: skip
            await asyncio.sleep(pause_s)
            try:
                await self.launch()
                await self.wait_until_ready()
            except (EndpointError, OSError, ValueError, LookupError, TypeError) as error:
                logger.warning("Starting %s again failed: %s", self._label, error)
                await self.end()

    async def end(self) -> None:
        """End the process: SIGTERM, and SIGKILL where it is still there after a while."""
        if self.process.returncode is None:
            self.process.terminate()
            try:
                async with asyncio.timeout(_END_WITHIN_S):
                    await self.process.wait()
            except TimeoutError:
                self.process.kill()
                await self.process.wait()


def next_pause_s(last_s: float, lived_s: float) -> float:
    """Return how long to wait before a process that died after `lived_s` is started again."""
    if not last_s or lived_s > _STEADY_AFTER_S:
        return FIRST_PAUSE_S
    return min(2 * last_s, LONGEST_PAUSE_S)


@contextlib.asynccontextmanager
async def started(
    models: Mapping[str, str], log_dir: Path
) -> AsyncIterator[dict[str, ModelProcess]]:
    """Keep a process running for each label's model, logging to `log_dir`; yield them when ready.

    Raises:
        EndpointError: a process ended, or is not ready in time; with the end of its log.
    """
    servers = {
        label: ModelProcess(label, model, log_dir / f"{label}.log")
        for label, model in models.items()
    }
    launched: list[ModelProcess] = []
    keepers: list[asyncio.Task[None]] = []
    try:
        for server in servers.values():
            await server.launch()
            launched.append(server)
        for server in servers.values():
            await server.wait_until_ready()
        keepers += [asyncio.create_task(server.keep_alive()) for server in servers.values()]
        yield servers
    finally:
        for keeper in keepers:
            keeper.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)
        await asyncio.gather(*(server.end() for server in launched))
