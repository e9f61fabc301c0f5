"""Watches the SLO while a run goes on, and says when the rest of the run can no longer mend it.

That is when more requests have missed a limit than may in the whole run as planned, or in one
window, and by more than chance gives among so many independent requests. It saves what the rest
would cost; the verdict comes from the records, and may still be that it cannot be told.
"""

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from experiments.plan import Plan
from experiments.record import Record
from experiments.slo import Threshold
from experiments.units import is_of_first_byte

_CHANCE = 1e-4


@dataclass(slots=True)
class _Count:
    threshold: Threshold
    planned: float | None
    """Requests of its arm and phase in the schedule; `None`: there is no schedule."""
    start_s: float
    end_s: float
    limit_ns: float
    is_of_first_byte: bool
    requests: int = 0
    missed: int = 0
    seconds: deque[tuple[int, int]] = field(default_factory=deque)
    """Requests and misses at the end of each second, as far back as the window reaches."""


class Guard:
    """Counts the requests that miss each limit. `planned` gives the schedule's requests by phase.

    `planned` is `None` in a closed model: there what is to come is reckoned from what came.
    """

    def __init__(self, plan: Plan, planned: Mapping[str, int] | None) -> None:
        from scipy.special import bdtrc  # slow to import, and most runs have no guard

        assert plan.slo is not None
        self._chance_of_more_than = bdtrc
        traffic = plan.traffic
        self._is_closed = traffic.is_closed
        self._not_before_s = traffic.warmup + plan.slo.abort_after
        spans = {phase.name: (phase.start_s, phase.end_s) for phase in traffic.phases}
        measured = [phase.name for phase in traffic.phases if phase.start_s >= traffic.warmup]
        shares = {name: arm.share for name, arm in plan.arms.items()}
        self._counts: list[_Count] = []
        self._by_arm_and_phase: dict[tuple[str | None, str], list[_Count]] = {}
        for threshold in plan.thresholds:
            phases = measured if threshold.phase is None else [threshold.phase]
            count = _Count(
                threshold=threshold,
                planned=sum(planned[phase] for phase in phases)
                * shares[threshold.arm]
                / sum(shares.values())
                if planned is not None
                else None,
                start_s=spans[phases[0]][0],
                end_s=spans[phases[-1]][1],
                limit_ns=math.inf if threshold.limit_ms is None else threshold.limit_ms * 1e6,
                is_of_first_byte=is_of_first_byte(threshold.metric),
            )
            if threshold.window_s is not None:
                count.seconds = deque([(0, 0)], maxlen=math.ceil(threshold.window_s) + 1)
            self._counts.append(count)
            for phase in phases:
                self._by_arm_and_phase.setdefault((threshold.arm, phase), []).append(count)

    def note(self, record: Record) -> None:
        """Count a request that has ended or was dropped."""
        whole_ns = first_ns = math.inf
        if record.outcome == "ok" and record.ended_ns is not None:
            began_ns = (record.started_ns if self._is_closed else record.scheduled_ns) or 0
            whole_ns = record.ended_ns - began_ns
            if record.first_byte_ns is not None:
                first_ns = record.first_byte_ns - began_ns
        for count in self._by_arm_and_phase.get((record.arm, record.phase), ()):
            latency_ns = first_ns if count.is_of_first_byte else whole_ns
            count.requests += 1
            count.missed += latency_ns > count.limit_ns or latency_ns == math.inf

    @property
    def counts(self) -> list[tuple[int, int]]:
        """Requests and misses of each limit so far, for another guard of the same plan."""
        return [(count.requests, count.missed) for count in self._counts]

    def set_counts(self, of_workers: Iterable[Sequence[Sequence[int]]]) -> None:
        """Count what the guards of all workers have counted."""
        for count, parts in zip(self._counts, zip(*of_workers, strict=True), strict=True):
            count.requests, count.missed = map(sum, zip(*parts, strict=True))

    def lost(self, elapsed_s: float) -> tuple[Threshold, str] | None:
        """Name a limit that is lost, with the figures; to be asked once a second."""
        found = None
        for count in self._counts:
            threshold = count.threshold
            if threshold.window_s is None:
                requests, missed = count.requests, count.missed
                may_miss = threshold.allowed * _in_all(count, elapsed_s)
            else:
                count.seconds.append((count.requests, count.missed))
                requests, missed = (
                    now - then
                    for now, then in zip(count.seconds[-1], count.seconds[0], strict=True)
                )
                may_miss = threshold.allowed * requests
            if (
                found is None
                and elapsed_s >= self._not_before_s
                and missed > may_miss
                and self._chance_of_more_than(missed - 1, requests, threshold.allowed) < _CHANCE
            ):
                found = threshold, _words(threshold, requests, missed, may_miss)
        return found


def _in_all(count: _Count, elapsed_s: float) -> float:
    """How many requests there will be by the end of the count's stretch."""
    if count.planned is not None:
        return count.planned
    elapsed_s = min(elapsed_s, count.end_s) - count.start_s
    if elapsed_s <= 0:
        return math.inf
    return count.requests * (count.end_s - count.start_s) / elapsed_s


def _words(threshold: Threshold, requests: int, missed: int, may_miss: float) -> str:
    limit = "failed" if threshold.limit_ms is None else f"missed {threshold.limit_ms:g} ms"
    where = f" in {threshold.phase}" if threshold.phase else ""
    window_s = math.ceil(threshold.window_s or 0)
    scope = "of the whole run" if threshold.window_s is None else f"in {window_s} s"
    return (
        f"Stopped by slo.abort_on_fail: {missed:,} of {requests:,} requests to {threshold.arm} "
        f"{limit}{where}, and {may_miss:,.0f} {scope} may ({threshold.metric})."
    )
