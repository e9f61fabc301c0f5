"""Is the generator itself keeping up: lateness, loop lag, pauses and CPU, a row a second.

Durations are counted in sketches, so that closing a second costs about the same at any rate. What
came of each arm's requests is counted beside it, for those who watch.
"""

import gc
import time
from dataclasses import dataclass
from typing import Literal

import gevent

from experiments.live import NO_ARM, Live, Second
from experiments.record import Record

LAG_PERIOD_S = 0.01


@dataclass(slots=True, kw_only=True)
class _Second(Second):
    started: int = 0
    without_free_slot: int = 0
    new_connections: int = 0
    connect_ns: int | None = None
    gc_pause_ns: int = 0


class Health:
    """Counts what happens in the current second; `row` closes it.

    It watches garbage collection from its making until `close`.
    """

    def __init__(self) -> None:
        self._now = _Second()
        self.live = Live()
        self._cpu_s = time.process_time()
        self._wall_s = time.perf_counter()
        self._collecting_since_ns = time.perf_counter_ns()
        self.ended = 0
        """Requests that had ended when the last second was closed."""
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
        now = self._now
        now.arms[record.arm or NO_ARM].note(record)
        if record.new_connection:
            now.new_connections += 1

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
        self, elapsed_s: float, due: int, in_flight: int, worker: int, *, recorder_ms: float = 0.0
    ) -> tuple[int | float | None, ...]:
        """Close the current second and give it as a row of `HEALTH_SCHEMA`.

        `recorder_ms` is the longest that writing records held the event loop.
        """
        ended, self._now = self._now, _Second()
        cpu_s, wall_s = time.process_time(), time.perf_counter()
        ended.cpu = (cpu_s - self._cpu_s) / max(wall_s - self._wall_s, 1e-9)
        self._cpu_s, self._wall_s = cpu_s, wall_s
        ended.elapsed_s, ended.due = max(elapsed_s, 0.0), due
        self.live.add(ended)
        self.ended += ended.ended
        self.failed += ended.failed
        return (
            int(elapsed_s),
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
            ended.cpu,
            ended.gc_pause_ns / 1e6,
            ended.new_connections,
            None if ended.connect_ns is None else ended.connect_ns / 1e6,
            recorder_ms,
            worker,
        )

    def _note_collection(self, phase: Literal["start", "stop"], _: dict[str, int]) -> None:
        now_ns = time.perf_counter_ns()
        if phase == "start":
            self._collecting_since_ns = now_ns
        else:
            pause_ns = now_ns - self._collecting_since_ns
            self._now.gc_pause_ns = max(self._now.gc_pause_ns, pause_ns)
