"""Does what a plan sends fit the memory of this machine?"""

import contextlib
import os
from pathlib import Path

from experiments.errors import PlanError
from experiments.plan import Plan

BYTES_PER_REQUEST = 700
"""What compacting the records holds of each at its peak; drawing the schedule holds 82."""

_GIB = 2**30
_MEMORY = Path("/proc/meminfo")
_LIMITS_OF_CONTAINER = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
"""Of cgroups v2 and v1."""


def refuse_beyond_memory(plan: Plan, source: object) -> None:
    """Refuse a plan of more requests than this machine could hold the schedule and records of."""
    requests = plan.traffic.expected_requests or 0.0
    needed, there = requests * BYTES_PER_REQUEST, _memory_bytes()
    if needed > there:
        raise PlanError(
            f"{source}: traffic: about {requests:,.0f} requests, whose schedule and records need "
            f"{needed / _GIB:,.0f} GiB of memory; this machine has {there / _GIB:,.1f} GiB free.",
            "Give a lower traffic.rate or a shorter traffic.duration, and make several runs.",
        )


def _memory_bytes() -> float:
    there = float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    with contextlib.suppress(OSError, ValueError):  # not Linux
        _, _, available = _MEMORY.read_text().partition("MemAvailable:")
        there = float(available.partition("kB")[0]) * 1024
    for limit in _LIMITS_OF_CONTAINER:
        with contextlib.suppress(OSError, ValueError):  # no container, or "max"
            there = min(there, float(int(limit.read_text())))
    return there
