"""What the locustfiles share: their settings, a number for each user, and raw latencies.

Settings come from environment variables: URL, RATE (requests a second over all users), USERS,
RAW (a file for a line a request, optional), THINK_S (optional: a plain closed loop that waits so
long after each answer) and TOGETHER ("1": all users start at the same moment, as Locust has them).
"""

import itertools
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
from locust import User, constant, constant_throughput, events

URL = os.environ["URL"]
RATE_RPS = float(os.environ["RATE"])
USERS = int(os.environ["USERS"])
_RAW = os.environ.get("RAW")
_THINK_S = os.environ.get("THINK_S")
_TOGETHER = os.environ.get("TOGETHER") == "1"

_numbers = itertools.count()
_rows: list[tuple[int, float, bool]] = []


def wait_time() -> Callable[[User], float]:
    """Give Locust's own wait: `constant_throughput`, or `constant` for a plain closed loop."""
    wait: Callable[[User], float] = (
        constant_throughput(RATE_RPS / USERS) if _THINK_S is None else constant(float(_THINK_S))
    )
    return wait


def take_place(user: User) -> int:
    """Number this user, and hold it back so that the users' starts are spread evenly.

    Locust starts all users together, and constant_throughput keeps them together ever after: it
    counts from when a user was made, which is therefore moved along.
    """
    number = next(_numbers)
    if not _TOGETHER:
        gevent.sleep(number / RATE_RPS)
        user._cp_last_run = time.perf_counter()
    return number


def _note(response_time: float, exception: object, **_: Any) -> None:
    _rows.append((time.perf_counter_ns(), response_time, exception is None))


def _write(**_: Any) -> None:
    lines = (f"{ended_ns} {ms!r} {int(is_ok)}\n" for ended_ns, ms, is_ok in _rows)
    Path(_RAW or os.devnull).write_text("".join(lines), encoding="ascii")


if _RAW:
    events.request.add_listener(_note)  # type: ignore[no-untyped-call]
    events.quitting.add_listener(_write)  # type: ignore[no-untyped-call]
