"""Is the generator itself keeping up: lateness, loop lag and CPU, a row a second.

It also keeps the last seconds' latencies of each arm in log buckets, for the progress line. Those
are for watching only: verdicts come from the records.
"""

import math
import time
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field

import gevent

from experiments.record import Record

LAG_PERIOD_S = 0.01
_SECONDS_SHOWN = 10
_BUCKETS_PER_E = 100
"""Buckets a factor e wide: each spans 1 %."""


@dataclass(slots=True)
class _Second:
    started: int = 0
    ended: int = 0
    failed: int = 0
    without_free_slot: int = 0
    lateness_ns: list[int] = field(default_factory=list)
    lag_ns: list[int] = field(default_factory=list)
    latency: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))


class Health:
    """Counts what happens in the current second; `row` closes it."""

    def __init__(self) -> None:
        self._now = _Second()
        self._shown: deque[_Second] = deque(maxlen=_SECONDS_SHOWN)
        self._cpu_s = time.process_time()
        self._wall_s = time.perf_counter()
        self.ended = 0
        self.failed = 0

    def note_start(self, lateness_ns: int, *, had_free_slot: bool) -> None:
        """Count a request that leaves; lateness without a free slot is the endpoint's doing."""
        self._now.started += 1
        if had_free_slot:
            self._now.lateness_ns.append(lateness_ns)
        else:
            self._now.without_free_slot += 1

    def note_end(self, record: Record) -> None:
        """Count a request that has ended; one that was dropped never began."""
        if record.outcome == "dropped":
            return
        self._now.ended += 1
        self.ended += 1
        if record.outcome != "ok":
            self._now.failed += 1
            self.failed += 1
        elif record.arm is not None and record.ended_ns is not None:
            latency_ns = max(record.ended_ns - record.scheduled_ns, 1)
            self._now.latency[record.arm][int(math.log(latency_ns) * _BUCKETS_PER_E)] += 1

    def watch_loop(self) -> None:
        """Measure for ever how late the event loop wakes a sleeper."""
        while True:
            before_ns = time.perf_counter_ns()
            gevent.sleep(LAG_PERIOD_S)
            lag_ns = time.perf_counter_ns() - before_ns - round(LAG_PERIOD_S * 1e9)
            self._now.lag_ns.append(max(lag_ns, 0))

    def row(
        self, second: int, due: int, in_flight: int, worker: int
    ) -> tuple[int | float | None, ...]:
        """Close the current second and give it as a row of `HEALTH_SCHEMA`."""
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
            _ms(_rank(ended.lateness_ns, 0.99)),
            _ms(_rank(ended.lateness_ns, 1.0)),
            _ms(_rank(ended.lag_ns, 0.99)),
            _ms(_rank(ended.lag_ns, 1.0)),
            cpu,
            worker,
        )

    def recent(self) -> dict[str, object]:
        """Give the last seconds' rate, lateness, failures and latency by arm."""
        seconds = list(self._shown)
        lateness = [value for second in seconds for value in second.lateness_ns]
        arms: dict[str, Counter[int]] = defaultdict(Counter)
        for second in seconds:
            for arm, buckets in second.latency.items():
                arms[arm].update(buckets)
        return {
            "achieved_rps": sum(s.ended for s in seconds) / max(len(seconds), 1),
            "lateness_p99_ms": _ms(_rank(lateness, 0.99)),
            "arms": {
                arm: {"p50_ms": _bucket_quantile(b, 0.5), "p99_ms": _bucket_quantile(b, 0.99)}
                for arm, b in sorted(arms.items())
            },
        }


def _rank(values: list[int], quantile: float) -> int | None:
    if not values:
        return None
    return sorted(values)[max(math.ceil(quantile * len(values)) - 1, 0)]


def _ms(value_ns: int | None) -> float | None:
    return None if value_ns is None else value_ns / 1e6


def _bucket_quantile(buckets: Counter[int], quantile: float) -> float:
    wanted = quantile * buckets.total()
    for bucket in sorted(buckets):
        wanted -= buckets[bucket]
        if wanted <= 0:
            break
    return math.exp((bucket + 0.5) / _BUCKETS_PER_E) / 1e6
