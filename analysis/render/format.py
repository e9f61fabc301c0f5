"""How is a number written for a person? The only place that rounds.

Latency is in milliseconds below ten seconds and in seconds above. A lone value has at least three
significant digits and whole digits are never zeroed; a value with an interval has the decimals
that give the interval's width two digits. The minus sign is U+2212, nothing is ever minus zero,
and what is missing or not finite is an en dash.
"""

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace

from analysis.results.comparison import Difference
from analysis.results.run import Check
from analysis.results.values import Call, Estimate, Interval, SloCall

MINUS = "\u2212"
DASH = "\u2013"
UNBOUNDED = "unbounded"
_SECONDS_FROM_MS = 10_000

_LATENCY_WORDS: dict[Call, str] = {
    "worse": "▲ slower",
    "better": "▼ faster",
    "same": "≈ no difference that matters",
    "undecided": "? cannot tell yet",
    "refused": f"{DASH} no verdict",
}
_OUTCOME_WORDS: dict[Call, str] = {
    **_LATENCY_WORDS,
    "worse": "▲ more errors",
    "better": "▼ fewer errors",
}
STATE_WORDS = {
    "better": "Better",
    "worse": "Worse",
    "same": "No difference that matters",
    "met": "The SLO is kept",
    "broken": "The SLO is broken",
    "undecided": "Cannot tell yet",
    "untrusted": "Cannot be trusted",
}
STATE_SYMBOLS = {
    "better": "▼",
    "worse": "▲",
    "same": "≈",
    "met": "✓",
    "broken": "✗",
    "undecided": "?",
    "untrusted": "✗",
}
SLO_WORDS: dict[SloCall, str] = {
    "met": "✓ met",
    "broken": "✗ broken",
    "undecided": "? cannot tell yet",
    "refused": f"{DASH} no verdict",
}
CHECK_SYMBOLS = {"ok": "✓", "warn": "!", "fail": "✗"}
QUESTIONS = {
    "compare": "A/B comparison",
    "capacity": "Capacity",
    "regression": "Regression",
    "load": "Load test",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A difference as words: its value with the unit, its interval without and with it."""

    value: str
    interval: str
    interval_unit: str


NO_CHANGE = Change(value=DASH, interval=DASH, interval_unit=DASH)


def _known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def decimals(magnitude: float, digits: int = 3, most: int = 3) -> int:
    """Return how many decimals show `digits` significant digits of a magnitude, at most `most`.

    The digits are counted after rounding, so that 99.95 is written "100" and not "100.0".
    """
    places = 0
    for _ in range(2):
        if magnitude == 0:
            return 0
        places = max(0, min(most, digits - 1 - math.floor(math.log10(abs(magnitude)))))
        magnitude = round(magnitude, places)
    return places


def number(value: float, places: int, *, sign: bool = False) -> str:
    """Write a number with fixed decimals; zero has no sign."""
    text = f"{abs(value):,.{places}f}"
    if not text.strip("0.,"):
        return text
    if value < 0:
        return MINUS + text
    return "+" + text if sign else text


def latency(ms: float | None, *, sign: bool = False) -> str:
    """Write a latency: "41.1 ms", "1,234 ms", "12.3 s"."""
    if ms is None or not math.isfinite(ms):
        return DASH
    if round(abs(ms)) >= _SECONDS_FROM_MS:
        return f"{number(ms / 1000, decimals(ms / 1000), sign=sign)} s"
    return f"{number(ms, decimals(ms), sign=sign)} ms"


def share(value: float | None) -> str:
    """Write a share as a percentage: "0.020%", "98.4%", "99.97%".

    Two digits of the distance to 0 or 100 %, one decimal at least; only an exact 0 or 1 is
    "0%" or "100%".
    """
    if value is None or not math.isfinite(value):
        return DASH
    percent = 100 * value
    distance = min(abs(percent), abs(100 - percent))
    if distance == 0:
        return f"{number(percent, 0)}%"
    return f"{number(percent, max(1, decimals(distance, 2, most=7)))}%"


def share_interval(interval: Interval | None) -> str:
    """Write the interval of a share: "97.1% to 99.2%"."""
    if interval is None:
        return DASH
    ends = [UNBOUNDED if end is None else share(end) for end in (interval.low, interval.high)]
    return " to ".join(ends)


def _change(value: float, interval: Interval, unit: str, places: int) -> Change:
    low, high = (end if _known(end) else None for end in (interval.low, interval.high))
    low_word, high_word = (
        UNBOUNDED if end is None else number(end, places, sign=True) for end in (low, high)
    )
    low_unit, high_unit = ("", unit) if high is not None else (unit, "")
    unknown = low is None and high is None
    return Change(
        value=number(value, places, sign=True) + unit,
        interval=UNBOUNDED if unknown else f"{low_word} to {high_word}",
        interval_unit=UNBOUNDED if unknown else f"{low_word}{low_unit} to {high_word}{high_unit}",
    )


def _scaled(interval: Interval, scale: float, offset: float = 0.0) -> Interval:
    def end(value: float | None) -> float | None:
        return scale * (value - offset) if value is not None and math.isfinite(value) else None

    return Interval(low=end(interval.low), high=end(interval.high), level=interval.level)


def _reach(value: float, interval: Interval) -> tuple[float, float]:
    """Return the width of value and interval together, and the size of the largest of them."""
    ends = [end for end in (value, interval.low, interval.high) if end is not None]
    return max(ends) - min(ends), max(abs(end) for end in ends)


def ratio_change(estimate: Estimate | None) -> Change | None:
    """Write the ratio of two latencies as signed percent: 0.918 is minus 8.2 %."""
    if estimate is None or not _known(estimate.value):
        return None
    return percent_change(estimate.value, estimate.interval)


def percent_change(ratio: float, interval: Interval | None) -> Change:
    """Write a ratio and its interval as signed percent; without an interval that is a dash."""
    value = 100 * (ratio - 1)
    if interval is None:
        places = 0 if round(abs(value)) >= 100 else 1
        return replace(NO_CHANGE, value=f"{number(value, places, sign=True)}%")
    interval = _scaled(interval, 100, offset=1)
    width, size = _reach(value, interval)
    return _change(value, interval, "%", 0 if round(size) >= 100 else 2 if 0 < width < 0.1 else 1)


def points_change(estimate: Estimate | None) -> Change | None:
    """Write the difference of two shares in percentage points."""
    if estimate is None or not _known(estimate.value):
        return None
    value, interval = 100 * estimate.value, _scaled(estimate.interval, 100)
    width, _ = _reach(value, interval)
    return _change(value, interval, " pp", max(2, decimals(width, 1, most=5)))


def margin(difference: Difference) -> str | None:
    """Write the margin of a guarded metric: "±5%", "±0.5 pp"."""
    if difference.margin is None:
        return None
    percent = 100 * difference.margin
    unit = " pp" if difference.unit == "share" else "%"
    return f"±{number(percent, _trim(round(percent, 9)))}{unit}"


def p_value(p: float | None) -> str:
    """Write a p-value: "0.96", "0.042", "< 0.001"."""
    if p is None or not math.isfinite(p):
        return DASH
    return "< 0.001" if p < 0.001 else number(p, decimals(p, 2))


def count(n: int | None) -> str:
    """Write a count with thousands separators."""
    return DASH if n is None else f"{n:,}".replace("-", MINUS)


def counted(n: int, noun: str, plural: str | None = None) -> str:
    """Write a count and its noun, in the plural unless it is one."""
    return f"{count(n)} {noun if n == 1 else plural or f'{noun}s'}"


def joined(names: Sequence[str]) -> str:
    """Write names as a list: "a, b and c"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def rate(rps: float | None) -> str:
    """Write a rate in requests a second."""
    return DASH if rps is None or not math.isfinite(rps) else f"{number(rps, _trim(rps))} req/s"


def duration(seconds: float | None) -> str:
    """Write a duration: "4.5 s", "45 s", "2 min 5 s", "1 h 5 min"."""
    if seconds is None or not math.isfinite(seconds):
        return DASH
    if seconds < 59.5:
        return f"{number(seconds, min(_trim(seconds), 1 if seconds < 9.95 else 0))} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min" + (f" {whole % 60} s" if whole % 60 else "")
    hours, minutes = divmod(round(whole / 60), 60)
    return f"{count(hours)} h" + (f" {minutes} min" if minutes else "")


def _trim(value: float) -> int:
    """Return the decimals for three significant digits, without trailing zeros."""
    places = decimals(value)
    while places and round(value, places) == round(value, places - 1):
        places -= 1
    return places


def quantile(q: float) -> str:
    """Write a quantile as a percentile: 0.999 is "p99.9"; 0 and 1 are "min" and "max"."""
    return {0.0: "min", 1.0: "max"}.get(q) or f"p{round(100 * q, 6):.10g}"


def call_word(difference: Difference) -> str:
    """Say what was found of one metric."""
    if difference.precision == "imprecise" and difference.call != "refused":
        return "? imprecise"
    return (_OUTCOME_WORDS if difference.measure == "outcome" else _LATENCY_WORDS)[difference.call]


def metric_word(metric: str) -> str:
    """Name a metric: "error_rate" is "error rate", and "ttfb_p50" "TTFB p50"."""
    return metric.replace("ttfb", "TTFB").replace("_", " ")


def check_words(check: Check) -> str:
    """Write what a check found, and what to do about it where there is something to do."""
    found = plain(check.finding, 600).rstrip(".") + "."
    return f"{found} {plain(check.next_step, 600)}" if check.next_step else found


def name(arm: str) -> str:
    """Write an arm's name within a sentence or a table."""
    return plain(arm, 40)


def plain(text: str, limit: int = 80) -> str:
    """Make foreign text safe to show in one line: no control or direction marks, no line breaks.

    What is longer than `limit` characters keeps its head and its tail.
    """
    clean = "".join(c if unicodedata.category(c)[0] != "C" else " " for c in text)
    clean = " ".join(clean.split())
    if len(clean) <= limit:
        return clean
    tail = (limit - 1) // 3
    return clean[: limit - 1 - tail].rstrip() + "…" + (clean[-tail:].lstrip() if tail else "")


def coefficient(value: float | None) -> str:
    """Write a coefficient between -1 and 1 with two decimals."""
    return DASH if value is None or not math.isfinite(value) else number(value, 2)
