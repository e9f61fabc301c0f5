"""What a run shows while it goes on: by arm, over the last seconds and since time zero.

It is for watching. It holds no test of a difference: one that is looked at while it runs is another
test. Tallies of several workers can be merged as those of several seconds are.
"""

import json
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import FiniteFloat

from experiments.record import Record
from experiments.sketch import Count, Sketch

SHOWN_S = 10
"""A figure of "now" is taken over so many of the last seconds."""
NO_ARM = "unknown arm"
_POINTS = 600


@dataclass(slots=True)
class Tally:
    """What came of one arm's requests. Durations are those of good answers only."""

    ended: Count = 0
    dropped: Count = 0
    failed: dict[str, Count] = field(default_factory=dict)
    """By outcome."""
    response: Sketch = field(default_factory=Sketch)
    service: Sketch = field(default_factory=Sketch)

    @property
    def failures(self) -> int:
        """How many failed, whatever came of them."""
        return sum(self.failed.values())

    def note(self, record: Record) -> None:
        """Count a request that has ended or was dropped."""
        if record.outcome == "dropped":
            self.dropped += 1
            return
        self.ended += 1
        if record.outcome != "ok":
            self.failed[record.outcome] = self.failed.get(record.outcome, 0) + 1
        elif record.ended_ns is not None and record.started_ns is not None:
            self.response.add(record.ended_ns - record.scheduled_ns)
            self.service.add(record.ended_ns - record.started_ns)

    def merge(self, other: "Tally") -> None:
        """Count what another has counted too."""
        self.ended += other.ended
        self.dropped += other.dropped
        for outcome, count in other.failed.items():
            self.failed[outcome] = self.failed.get(outcome, 0) + count
        self.response.merge(other.response)
        self.service.merge(other.service)


@dataclass(slots=True, kw_only=True)
class Second:
    """What happened in about a second: to the arms' requests, and to the generator."""

    elapsed_s: FiniteFloat = 0.0
    """Its end. It began where the one before it ended, and is longer where that held it up."""
    due: Count = 0
    arms: dict[str, Tally] = field(default_factory=lambda: defaultdict(Tally))
    lateness: Sketch = field(default_factory=Sketch)
    lag: Sketch = field(default_factory=Sketch)
    cpu: FiniteFloat = 0.0

    @property
    def ended(self) -> int:
        """Requests that ended."""
        return sum(tally.ended for tally in self.arms.values())

    @property
    def failed(self) -> int:
        """Those of them that failed."""
        return sum(tally.failures for tally in self.arms.values())


def as_one(elapsed_s: float, seconds: Sequence[Second]) -> Second:
    """Put seconds together, of one process or of several; the CPU is that of the busiest."""
    one = Second(elapsed_s=elapsed_s)
    for second in seconds:
        one.due += second.due
        one.cpu = max(one.cpu, second.cpu)
        one.lateness.merge(second.lateness)
        one.lag.merge(second.lag)
        for arm, tally in second.arms.items():
            one.arms[arm].merge(tally)
    return one


class Live:
    """Holds the last seconds, the totals, and a point a second for charts."""

    def __init__(self) -> None:
        self.totals: dict[str, Tally] = {}
        self._shown: deque[tuple[float, Second]] = deque()
        self._points: deque[str] = deque(maxlen=_POINTS)
        self._seconds = 0
        self.recent: dict[str, Any] = _recent(())
        """The last seconds' rate, lateness and latency by arm."""

    @property
    def newest(self) -> Second:
        """The second that was added last."""
        return self._shown[-1][1]

    def add(self, second: Second) -> None:
        """Take in a second that is over."""
        for arm, tally in second.arms.items():
            self.totals.setdefault(arm, Tally()).merge(tally)
        began_s = self.newest.elapsed_s if self._shown else 0.0
        self._shown.append((second.elapsed_s - began_s, second))
        while second.elapsed_s - self._shown[0][1].elapsed_s >= SHOWN_S:
            self._shown.popleft()
        self._seconds += 1
        self.recent = _recent(self._shown)
        # Encoded here, once, so that whoever opens the page late costs no more than who stays.
        point = {"elapsed_s": round(second.elapsed_s, 1), **_rounded(self.recent)}
        self._points.append(json.dumps(point))

    def points_after(self, seen: int) -> tuple[int, str]:
        """Give how many points there were so far, and those after the first `seen` as JSON."""
        new = min(max(self._seconds - seen, 0), len(self._points))
        return self._seconds, f"[{','.join(list(self._points)[len(self._points) - new :])}]"


def _recent(shown: Sequence[tuple[float, Second]]) -> dict[str, Any]:
    length_s = sum(length_s for length_s, _ in shown) or 1.0
    one = as_one(length_s, [second for _, second in shown])
    return {
        "due_rps": one.due / length_s,
        "achieved_rps": one.ended / length_s,
        "lateness_p99_ms": one.lateness.quantile_ms(0.99),
        "loop_lag_p99_ms": one.lag.quantile_ms(0.99),
        "cpu": sum(own_s * second.cpu for own_s, second in shown) / length_s,
        "arms": {arm: _recent_of_arm(one.arms[arm], length_s) for arm in sorted(one.arms)},
    }


def _recent_of_arm(tally: Tally, length_s: float) -> dict[str, float | None]:
    return {
        "rate_rps": tally.ended / length_s,
        "failed": tally.failures / max(tally.ended, 1),
        "p50_ms": tally.response.quantile_ms(0.5),
        "p99_ms": tally.response.quantile_ms(0.99),
    }


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value
