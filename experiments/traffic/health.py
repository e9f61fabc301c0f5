"""Is the generator itself keeping up: lateness, loop lag, pauses and CPU, a row a second.

Durations are counted in log buckets, so that closing a second costs the same at any rate. It also
keeps the last seconds' latencies of each arm, for the progress line. Those are for watching only:
verdicts come from the records.
"""

import gc
import math
import time
from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import gevent
import numpy as np
from numpy.typing import NDArray

from experiments.record import Record

LAG_PERIOD_S = 0.01
_SECONDS_SHOWN = 10
_BUCKETS_PER_E = 100
"""Buckets a factor e wide: each spans 1 %."""
_BUCKETS = 3000
"""From 1 ns to three hours; what is longer counts in the last."""


def _no_counts() -> NDArray[np.int64]:
    return np.zeros(_BUCKETS, np.int64)


@dataclass(slots=True)
class Durations:
    """How often each duration came, to 1 %, and the longest exactly."""

    counts: NDArray[np.int64] = field(default_factory=_no_counts)
    longest_ns: int | None = None

    def add(self, duration_ns: int) -> None:
        """Count one duration; what is below 1 ns counts as that."""
        if self.longest_ns is None or duration_ns > self.longest_ns:
            self.longest_ns = duration_ns
        bucket = int(math.log(max(duration_ns, 1)) * _BUCKETS_PER_E)
        self.counts[min(bucket, _BUCKETS - 1)] += 1

    def quantile_ms(self, quantile: float) -> float | None:
        """Give the middle of the bucket that holds a quantile, by nearest rank, in milliseconds."""
        if self.longest_ns is None:
            return None
        to_here = np.cumsum(self.counts)
        bucket = int(np.searchsorted(to_here, quantile * to_here[-1]))
        return min(math.exp((bucket + 0.5) / _BUCKETS_PER_E), self.longest_ns) / 1e6

    @property
    def longest_ms(self) -> float | None:
        """The longest, in milliseconds."""
        return None if self.longest_ns is None else self.longest_ns / 1e6


def merged(parts: Iterable[Durations]) -> Durations:
    """Count what several have counted."""
    whole = Durations()
    for part in parts:
        whole.counts += part.counts
        if part.longest_ns is not None:
            whole.longest_ns = max(part.longest_ns, whole.longest_ns or 0)
    return whole


@dataclass(slots=True)
class _Second:
    started: int = 0
    ended: int = 0
    failed: int = 0
    without_free_slot: int = 0
    new_connections: int = 0
    connect_ns: int | None = None
    gc_pause_ns: int = 0
    lateness: Durations = field(default_factory=Durations)
    lag: Durations = field(default_factory=Durations)
    latency: dict[str, Durations] = field(default_factory=lambda: defaultdict(Durations))


class Health:
    """Counts what happens in the current second; `row` closes it.

    It watches garbage collection from its making until `close`.
    """

    def __init__(self) -> None:
        self._now = _Second()
        self._shown: deque[_Second] = deque(maxlen=_SECONDS_SHOWN)
        self._cpu_s = time.process_time()
        self._wall_s = time.perf_counter()
        self._collecting_since_ns = time.perf_counter_ns()
        self.ended = 0
        self.failed = 0
        gc.callbacks.append(self._note_collection)

    def close(self) -> None:
        """Watch garbage collection no more; closed again, it does nothing."""
        if self._note_collection in gc.callbacks:
            gc.callbacks.remove(self._note_collection)

    def note_start(self, lateness_ns: int, *, had_free_slot: bool) -> None:
        """Count a request that leaves; lateness without a free slot is the endpoint's doing."""
        self._now.started += 1
        if had_free_slot:
            self._now.lateness.add(lateness_ns)
        else:
            self._now.without_free_slot += 1

    def note_end(self, record: Record) -> None:
        """Count a request that has ended; one that was dropped never began."""
        if record.outcome == "dropped":
            return
        now = self._now
        now.ended += 1
        self.ended += 1
        if record.new_connection:
            now.new_connections += 1
        if record.outcome != "ok":
            now.failed += 1
            self.failed += 1
        elif record.arm is not None and record.ended_ns is not None:
            now.latency[record.arm].add(record.ended_ns - record.scheduled_ns)

    def note_connection(self, connect_ns: int) -> None:
        """Count how long a request waited for its connection to open."""
        self._now.connect_ns = max(connect_ns, self._now.connect_ns or 0)

    def watch_loop(self) -> None:
        """Measure for ever how late the event loop wakes a sleeper."""
        while True:
            before_ns = time.perf_counter_ns()
            gevent.sleep(LAG_PERIOD_S)
            lag_ns = time.perf_counter_ns() - before_ns - round(LAG_PERIOD_S * 1e9)
            self._now.lag.add(max(lag_ns, 0))

    def row(
        self, second: int, due: int, in_flight: int, worker: int, *, recorder_ms: float = 0.0
    ) -> tuple[int | float | None, ...]:
        """Close the current second and give it as a row of `HEALTH_SCHEMA`.

        `recorder_ms` is the longest that writing records held the event loop.
        """
        ended, self._now = self._now, _Second()
        self._shown.append(ended)
        cpu_s, wall_s = time.process_time(), time.perf_counter()
        cpu = (cpu_s - self._cpu_s) / max(wall_s - self._wall_s, 1e-9)
        self._cpu_s, self._wall_s = cpu_s, wall_s
        return (
            second,
            due,
            ended.started,
            ended.ended,
            ended.failed,
            in_flight,
            ended.without_free_slot,
            ended.lateness.quantile_ms(0.99),
            ended.lateness.longest_ms,
            ended.lag.quantile_ms(0.99),
            ended.lag.longest_ms,
            cpu,
            ended.gc_pause_ns / 1e6,
            ended.new_connections,
            None if ended.connect_ns is None else ended.connect_ns / 1e6,
            recorder_ms,
            worker,
        )

    def recent(self) -> dict[str, object]:
        """Give the last seconds' rate, lateness and latency by arm."""
        seconds = list(self._shown)
        arms = sorted({arm for second in seconds for arm in second.latency})
        latency = {arm: merged(s.latency[arm] for s in seconds if arm in s.latency) for arm in arms}
        return {
            "achieved_rps": sum(s.ended for s in seconds) / max(len(seconds), 1),
            "lateness_p99_ms": merged(s.lateness for s in seconds).quantile_ms(0.99),
            "arms": {
                arm: {"p50_ms": of.quantile_ms(0.5), "p99_ms": of.quantile_ms(0.99)}
                for arm, of in latency.items()
            },
        }

    def _note_collection(self, phase: Literal["start", "stop"], _: dict[str, int]) -> None:
        now_ns = time.perf_counter_ns()
        if phase == "start":
            self._collecting_since_ns = now_ns
        else:
            pause_ns = now_ns - self._collecting_since_ns
            self._now.gc_pause_ns = max(self._now.gc_pause_ns, pause_ns)
