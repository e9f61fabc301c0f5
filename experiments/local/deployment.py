"""An endpoint as it runs, and what it remembers of each call."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import Any

from experiments.local import config
from experiments.local.attempts import Attempts
from experiments.local.backend import Backend, Reply
from experiments.local.capture import CaptureLog
from experiments.local.clock import Clock
from experiments.local.fleet import Fleet, Size, stated
from experiments.local.http import Request
from experiments.local.metrics import Metrics
from experiments.local.parameters import INFERENCE_ID
from experiments.local.routing import Route, Router
from experiments.local.seeded import generator
from experiments.local.served_log import Line, Write
from experiments.local.service_error import VALIDATION_ERROR, ServiceError
from experiments.local.windows import Windows

Json = dict[str, Any]
"""What a call of an AWS API asks, or is answered."""


@dataclass(slots=True)
class Call:
    """One invocation, as far as it has come."""

    request: Request
    at_s: float
    """When it arrived, on the endpoint's clock."""
    attempt: int
    route: Route | None = None
    reply: Reply | None = None
    status: int | None = None
    """The HTTP status of the answer; `None` where the client had gone, or the endpoint stopped."""
    model_status: int | None = None
    """What the model answered; 0 where it took too long, `None` where it was not asked."""
    model_s: float | None = None
    """How long the model took."""
    is_streamed: bool = False
    first_chunk_s: float | None = None
    stream_error: str = ""
    """The error in which its stream ended."""

    def fail(self, error: ServiceError) -> None:
        """Note that the answer is an error; what broke a rule was no invocation of a variant."""
        self.status = error.status
        if error.code == VALIDATION_ERROR:
            self.route = None


@dataclass(slots=True, kw_only=True, eq=False)
class Deployment:
    """An endpoint as it runs: `backends` hold the instances of each variant."""

    endpoint: config.Endpoint
    backends: Mapping[str, Sequence[Backend]]
    clock: Clock
    served_log: Write | None = None
    capture: CaptureLog | None = None
    attempts: Attempts = field(default_factory=Attempts)
    sessions: dict[str, Route] = field(default_factory=dict)
    """Where the requests of each open session go."""
    metrics: Metrics = field(default_factory=Metrics)
    fleet: Fleet = field(init=False)
    router: Router = field(init=False)
    _settled: asyncio.Event = field(default_factory=asyncio.Event)
    _pending: Windows | None = None

    def __post_init__(self) -> None:
        self.fleet = Fleet(stated(self.endpoint.variants))
        self.router = Router(self.endpoint, self.backends, self.fleet.current)
        self._settled.set()
        if (pending := self.endpoint.pending) is not None:
            self._pending = Windows(pending, generator(self.endpoint.seed, "pending"))

    def is_deploying(self) -> bool:
        """Whether the deployment of another configuration is in progress, by the endpoint file."""
        return self._pending is not None and self._pending.around(self.clock.elapsed_s())[0]

    def begin(self, request: Request) -> Call:
        """Note that a call has arrived."""
        at_s = self.clock.now_s()
        attempt = self.attempts.attempt(request.headers.get("amz-sdk-invocation-id"))
        return Call(request, at_s, attempt)

    def end(self, call: Call) -> None:
        """Count a call that has ended, and write it down."""
        clock, route, reply = self.clock, call.route, call.reply
        ended_at_s = clock.now_s()
        if route is not None:
            overhead_s = None
            if call.status is not None:  # of a client that has gone it is not known
                overhead_s = max(0.0, ended_at_s - call.at_s - (call.model_s or 0.0))
            self.metrics.add(
                route.variant,
                self.fleet.current[route.variant].instances,
                call.model_status,
                (overhead_s, call.model_s, call.first_chunk_s),
                call.is_streamed,
                bool(call.stream_error),
            )
        if self.served_log is not None:
            self.served_log(
                Line(
                    inference_id=call.request.headers.get(INFERENCE_ID, ""),
                    attempt=call.attempt,
                    variant=route.variant if route else "",
                    instance=route.instance + 1 if route else None,
                    arrived_ns=clock.ns(call.at_s),
                    wait_ns=round(reply.wait_s * 1e9) if reply else None,
                    service_ns=round(reply.service_s * 1e9) if reply else None,
                    ended_ns=clock.ns(ended_at_s),
                    status=call.status,
                    fault=route.fault.kind if route and route.fault else "",
                    stream_error=call.stream_error,
                )
            )

    def update(self, desired: Mapping[str, Size]) -> None:
        """Give variants other weights and instances after `update_takes`; route by them then.

        One update at a time: no other may be in progress.
        """
        self.fleet.ask(desired)
        self._settled.clear()
        asyncio.get_running_loop().call_later(self.endpoint.update_takes, self._settle)

    def _settle(self) -> None:
        self.fleet.settle()
        self._settled.set()

    async def scale(self) -> None:
        """Do what Application Auto Scaling does by the endpoint file, at its times.

        It waits for an update in progress to settle.
        """
        plans = sorted(
            (scaling.at, name, scaling.instances)
            for name, variant in self.endpoint.variants.items()
            if variant.autoscaling is not None
            for scaling in variant.autoscaling.activities
        )
        if plans:
            await self.clock.started()
        for at_s, together in groupby(plans, itemgetter(0)):
            await self.clock.sleep_until(at_s)
            await self._settled.wait()
            self.update(self.fleet.scaled({name: instances for _, name, instances in together}))
