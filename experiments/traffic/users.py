"""EndpointUser: a Locust user whose client is the endpoint of the plan.

Without tasks of its own it is one slot of concurrency and serves the plan's schedule: a free slot
takes the next request, waits until it is due, and sends it. When no slot is free, requests start
late (and their response time says so) or are dropped, as the plan wants it.
"""

import time
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import gevent
from locust import User
from locust.exception import StopUser

from experiments.arrivals import Traffic
from experiments.errors import AbreastError, PlanError
from experiments.sagemaker.invoke import READ_TIMEOUT_S
from experiments.traffic.client import EndpointClient
from experiments.traffic.dispatch import Arrival, Dispatch

DRAIN_S = READ_TIMEOUT_S + 5
"""How long requests in flight are awaited."""


class EndpointUser(User):
    """A user of the endpoint; its tasks call `self.client.invoke_endpoint(...)`."""

    abstract = True
    client: EndpointClient


def let_serve(user_classes: Sequence[type[User]]) -> bool:
    """Let users without tasks serve the schedule; say whether that is what this locustfile does."""
    serving = [each for each in user_classes if issubclass(each, EndpointUser) and not each.tasks]
    others = [each for each in user_classes if each not in serving]
    if serving and others:
        raise AbreastError(
            f"{serving[0].__name__} has no task, and so serves the plan's schedule; "
            f"{others[0].__name__} has tasks of its own. A run is one or the other.",
            f"Give {serving[0].__name__} tasks, or take one of the two out of the locustfile.",
        )
    for each in serving:
        each.tasks = [serve_schedule]
    return bool(serving)


def check_own_tasks(traffic: Traffic) -> None:
    """Check that users with tasks of their own can do what the plan's [traffic] says."""
    if not traffic.is_closed:
        raise PlanError(
            f'traffic.arrivals is "{traffic.arrivals}", a schedule; but this locustfile has tasks '
            "of its own, whose users send when they like.",
            'Set arrivals = "closed", users and duration in [traffic], without rate and slots; or '
            "leave the tasks out of the locustfile, and its users serve the schedule.",
        )
    if traffic.think_time is not None:
        raise PlanError(
            f"traffic.think_time is {traffic.think_time:g} s, but this locustfile has tasks of its "
            "own, and its wait_time says how long their users wait.",
            "Leave out think_time.",
        )


def give_clients(
    user_classes: Sequence[type[User]], dispatch: Dispatch, *, is_watched: bool
) -> None:
    """Let each user of these classes find a client of its own for this run in `self.client`.

    What a user's `__init__` sets, as that of HttpUser does, stays.
    """

    def client_of(user: User) -> EndpointClient:
        events: Any = user.environment.events
        return EndpointClient(dispatch, events.request.fire if is_watched else None)

    client = cached_property(client_of)
    client.__set_name__(User, "client")
    for each in user_classes:
        each.client = client  # type: ignore[attr-defined]


def await_users(runner: Any, dispatch: Dispatch, *, serves_schedule: bool) -> None:
    """Wait until the users of this process have sent all, or were stopped and have ended."""
    served = gevent.spawn(runner.user_greenlets.join)
    if serves_schedule:
        while not (served.ready() or dispatch.has_sent_all or dispatch.stopped.is_set()):
            gevent.wait([served, dispatch.stopped], timeout=1.0, count=1)
        served.join(DRAIN_S)
        runner.user_greenlets.kill()  # who still waits then, of an answer that never ends
        return
    gevent.wait([served, dispatch.stopped], timeout=dispatch.remaining_s, count=1)
    if served.ready() and dispatch.remaining_s > 0:
        dispatch.stop("aborted", "All users of the locustfile ended before the run's end.")
    dispatch.stop("complete", None)


def serve_schedule(user: EndpointUser) -> None:
    """Serve the schedule until it is exhausted or the run is stopped: a task of Locust's."""
    client = user.client
    dispatch = client.dispatch
    dispatch.started.wait()
    ended_ns = None
    try:
        while (arrival := dispatch.take(client.slot, ended_ns)) is not None:
            ended_ns = _serve(client, dispatch, arrival)
    except Exception as error:
        dispatch.stop("fault", f"{type(error).__name__}: {error}")
        raise
    raise StopUser


def _serve(client: EndpointClient, dispatch: Dispatch, arrival: Arrival) -> int | None:
    """Send one request when it is due, and say when it ended; `None`: it was not sent."""
    traffic = dispatch.prepared.plan.traffic
    due_ns = dispatch.start_ns + arrival.scheduled_ns
    had_free_slot = traffic.is_closed or time.perf_counter_ns() <= due_ns
    if not had_free_slot and traffic.overflow == "drop":
        client.drop(arrival)
        return None
    if dispatch.pacer.wait_until(due_ns):
        return None
    parameters = dispatch.parameters(arrival)
    slots_busy = dispatch.in_flight if had_free_slot else dispatch.slots
    started_ns = time.perf_counter_ns()
    reply = client.send(arrival, dispatch.operation, parameters, started_ns, slots_busy)
    return reply.ended_ns - dispatch.start_ns
