"""A model that is only a queue: service times from a known distribution, a fixed answer."""

import asyncio
import heapq
import math
import time
from collections.abc import Mapping

import numpy as np

from experiments.local import config
from experiments.local.http import Response

ANSWER = b'{"predictions": [{"label": 0}]}'


class Simulated:
    """One instance: parallel workers behind one first-in, first-out queue.

    When a request will be done is computed as it arrives, so a late timer does not delay the next.
    The timers of asyncio and uvloop keep to within about a millisecond.
    """

    def __init__(self, table: config.Simulated, generator: np.random.Generator) -> None:
        self._table = table
        self._generator = generator
        self._free_at = [0.0] * table.workers

    def ends_at(self, arrived_at: float) -> float:
        """Return when a request that arrives now will be done; seconds on one clock."""
        begins_at = max(arrived_at, self._free_at[0])
        ends_at = begins_at + self._service_s()
        heapq.heapreplace(self._free_at, ends_at)
        return ends_at

    async def invoke(self, _headers: Mapping[str, str], _body: bytes) -> Response:
        """Answer any request, once it has waited and been served."""
        now = time.monotonic()  # uvloop's own clock counts whole milliseconds
        await asyncio.sleep(self.ends_at(now) - now)
        return Response(status=200, headers={"content-type": "application/json"}, body=ANSWER)

    def _service_s(self) -> float:
        if self._table.distribution == "constant":
            return self._table.constant
        return self._generator.lognormal(math.log(self._table.median), self._table.sigma)
