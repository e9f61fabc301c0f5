"""What a run shows while it goes on: by arm, over the last seconds and since time zero.

It is for watching. It holds no test of a difference: one that is looked at while it runs is another
test. Tallies of several workers can be merged as those of several seconds are.
"""

import json
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from experiments.record import Record
from experiments.sketch import Sketch, merged

SHOWN_S = 10
"""A figure of "now" is taken over so many of the last seconds."""
NO_ARM = "unknown arm"
_POINTS = 600


@dataclass(slots=True)
class Tally:
    """What came of one arm's requests. Durations are those of good answers only."""

    ended: int = 0
    dropped: int = 0
    failed: dict[str, int] = field(default_factory=dict)
    """By outcome."""
    response: Sketch = field(default_factory=Sketch)
    service: Sketch = field(default_factory=Sketch)

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

    elapsed_s: float = 0.0
    """Its end. It began where the one before it ended, and is longer where that held it up."""
    due: int = 0
    arms: dict[str, Tally] = field(default_factory=lambda: defaultdict(Tally))
    lateness: Sketch = field(default_factory=Sketch)
    lag: Sketch = field(default_factory=Sketch)
    cpu: float = 0.0


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
    seconds = [second for _, second in shown]
    arms = sorted({arm for second in seconds for arm in second.arms})
    ended = {arm: [s.arms[arm] for s in seconds if arm in s.arms] for arm in arms}
    return {
        "due_rps": sum(s.due for s in seconds) / length_s,
        "achieved_rps": sum(tally.ended for of in ended.values() for tally in of) / length_s,
        "lateness_p99_ms": merged(s.lateness for s in seconds).quantile_ms(0.99),
        "loop_lag_p99_ms": merged(s.lag for s in seconds).quantile_ms(0.99),
        "cpu": sum(own_s * second.cpu for own_s, second in shown) / length_s,
        "arms": {arm: _recent_of_arm(tallies, length_s) for arm, tallies in ended.items()},
    }


def _recent_of_arm(tallies: Sequence[Tally], length_s: float) -> dict[str, float | None]:
    ended = sum(tally.ended for tally in tallies)
    response = merged(tally.response for tally in tallies)
    return {
        "rate_rps": ended / length_s,
        "failed": sum(sum(tally.failed.values()) for tally in tallies) / max(ended, 1),
        "p50_ms": response.quantile_ms(0.5),
        "p99_ms": response.quantile_ms(0.99),
    }


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value
