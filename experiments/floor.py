"""How fast can this machine measure at all: the generator against an answer that takes no time.

A run as any other, of a few seconds, on an HTTP server of this machine that answers each call at
once. The server takes of the same cores, so that the figures are an upper bound.
"""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from experiments import child, launch, run_folder
from experiments.local import http
from experiments.local.http import Request, Response
from experiments.local.process import Announcement
from experiments.locust_process import Rig
from experiments.payloads import Payload
from experiments.plan import Plan
from experiments.plan_file import inline
from experiments.reach import Reachable
from experiments.run_folder import RunFolder
from experiments.trace import read_trace, span_s

_FEWEST_S, _MOST_S, _REQUESTS = 3.0, 8.0, 320
_LEAST_RPS = _REQUESTS / _MOST_S
_MOST_BODIES = 20
_OF_ITS_START, _OF_A_SEARCH_RPS = 8.0, 100.0
"""A search ends where the endpoint does: what is measured is some doublings of where it begins."""
_NAME = "floor"
REFUSING = "refusing"
"""The name of an endpoint at which the server refuses every call, with status 503."""


@contextmanager
def echo() -> Iterator[tuple[Announcement, list[str]]]:
    """Serve calls of InvokeEndpoint at once; the list grows by the target of each one refused."""
    refused: list[str] = []
    ready, stop = threading.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def answer(request: Request) -> Response:
        headers = {"Content-Type": "application/json", "x-amzn-RequestId": _NAME}
        if request.target.startswith(f"/endpoints/{REFUSING}/"):
            refused.append(request.target)
            return Response(503, headers, b"{}")
        if request.target.startswith("/endpoints/"):
            return Response(200, {**headers, "x-Amzn-Invoked-Production-Variant": _NAME}, b"{}")
        return Response(400, {**headers, "x-amzn-ErrorType": "UnknownOperationException"}, b"{}")

    async def serve() -> None:
        loops.append(asyncio.get_running_loop())
        async with http.serve(answer, listener):
            ready.set()
            await stop.wait()

    with http.listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        thread = threading.Thread(target=http.run, args=(serve(),), daemon=True)
        thread.start()
        ready.wait()
        try:
            yield (
                Announcement(
                    url=f"http://127.0.0.1:{port}", port=port, endpoint=_NAME, region="us-east-1",
                    access_key_id=_NAME, secret_access_key=_NAME, variants=(_NAME,),
                ),
                refused,
            )  # fmt: skip
        finally:
            loops[0].call_soon_threadsafe(stop.set)
            thread.join()


@contextmanager
def measured(
    plan: Plan, plan_path: Path, bodies: Sequence[Payload], transport: str
) -> Iterator[tuple[RunFolder, str]]:
    """Run the generator as the plan would for a few seconds; give the run, and at which load.

    The folder is there while the context lasts.

    Raises:
        RuntimeError: the Locust process does not start; with what it said.
        KeyboardInterrupt: Ctrl-C was pressed meanwhile.
    """
    traffic, said = _traffic(plan, plan_path)
    with TemporaryDirectory(prefix="abreast-") as kept, echo() as (server, _):
        folder = Path(kept)
        (folder / "bodies").mkdir()
        for number, payload in enumerate(bodies[:_MOST_BODIES]):
            (folder / "bodies" / f"{number:02}").write_bytes(payload.body)
        content_type = plan.request.content_type or "application/json"
        tables = {
            "question": "load",
            "seed": plan.seed,
            "endpoint": {"name": _NAME, "target": server.url},
            "arms": {_NAME: {}},
            "request": {"payloads": "bodies", "content_type": content_type},
            "slo": {"error_rate": "50%"},
            "traffic": {"routing": "pinned", "transport": transport, "warmup": "1s", **traffic},
        }
        path = folder / f"{_NAME}.toml"
        path.write_text("".join(f"{name} = {inline(table)}\n" for name, table in tables.items()))
        reachable = Reachable(server.client_environment(child.environment()), lambda: True)
        rig = Rig(out=folder / "runs", tell=lambda _: None, reachable=reachable)
        made = launch.run(path, (), rig)
        if run_folder.read_manifest(made)["ended_as"] == "interrupted":
            raise KeyboardInterrupt
        yield made, said


def _traffic(plan: Plan, plan_path: Path) -> tuple[dict[str, object], str]:
    """Give the plan's heaviest load as keys of [traffic], and in words."""
    traffic = plan.traffic
    if traffic.is_closed:
        loop = {"arrivals": "closed", "users": traffic.users, "duration": f"{_FEWEST_S:g}s"}
        thinking = f"{traffic.think_time or 0:.9f}s"
        return {**loop, "think_time": thinking}, f"with {traffic.users} users"
    rate_rps, why = _rate(plan, plan_path)
    if rate_rps < _LEAST_RPS:
        rate_rps, why = _LEAST_RPS, f" (the plan's {rate_rps:.3g} would show little)"
    length_s = min(max(_FEWEST_S, _REQUESTS / rate_rps), _MOST_S)
    load = {"rate": rate_rps, "slots": traffic.concurrency, "duration": f"{length_s:.3f}s"}
    return load, f"at {rate_rps:,.6g} req/s{why}"


def _rate(plan: Plan, plan_path: Path) -> tuple[float, str]:
    """Give the highest rate that the plan says, and what that is where it is not plain."""
    traffic, asked = plan.traffic, plan.capacity_asked
    if plan.question == "capacity" and not asked.ladder:
        if asked.start_rate is None:
            return _OF_A_SEARCH_RPS, " (the search may go higher)"
        times = f" ({_OF_ITS_START:g} times capacity.start_rate)"
        return _OF_ITS_START * asked.start_rate, times
    if traffic.trace is not None:
        times_s = read_trace(plan_path.parent / traffic.trace)
        return len(times_s) / span_s(times_s), " (the trace's mean)"
    of_stages = (rate for stage in traffic.stages or () for rate in (stage.rate, stage.end_rate))
    return max([traffic.rate or 0.0, *(asked.ladder or ()), *of_stages]), ""
