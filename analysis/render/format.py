"""How is a number written for a person? The only place that rounds.

Latency is in milliseconds below ten seconds and in seconds above. A lone value has at least three
significant digits and whole digits are never zeroed; a value with an interval has the decimals
that give the interval's width two digits. The minus sign is U+2212, nothing is ever minus zero,
and what is missing or not finite is an en dash.
"""

import math
import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

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
_OUTCOME_WORDS = {**_LATENCY_WORDS, "worse": "▲ more errors", "better": "▼ fewer errors"}
STATE_WORDS = {
    "better": "✓ Better",
    "worse": "✗ Worse",
    "same": "≈ No difference that matters",
    "met": "✓ The SLO is kept",
    "broken": "✗ The SLO is broken",
    "undecided": "? Cannot tell yet",
    "untrusted": "✗ Cannot be trusted",
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


class Change(NamedTuple):
    """A difference as words: its value with the unit, its interval without and with it."""

    value: str
    interval: str
    interval_unit: str


NO_CHANGE = Change(DASH, DASH, DASH)


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


def _change(value: float, ends: Sequence[float | None], unit: str, places: int) -> Change:
    words = [UNBOUNDED if end is None else number(end, places, sign=True) for end in ends]
    said = UNBOUNDED if words == [UNBOUNDED] * 2 else " to ".join(words)
    # The unit stands behind the last number.
    with_unit = re.sub(r"(\d)(\D*)$", rf"\g<1>{unit}\2", said)
    return Change(number(value, places, sign=True) + unit, said, with_unit)


def _percents(interval: Interval, none: float) -> list[float | None]:
    """Give the ends of an interval in percent; one that is not known is open."""
    ends = interval.low, interval.high
    return [None if e is None or not math.isfinite(e) else 100 * (e - none) for e in ends]


def ratio_change(estimate: Estimate | None) -> Change:
    """Write the ratio of two latencies as signed percent: 0.918 is minus 8.2 %."""
    if estimate is None or not math.isfinite(estimate.value):
        return NO_CHANGE
    return percent_change(estimate.value, estimate.interval)


def percent_change(ratio: float, interval: Interval | None) -> Change:
    """Write a ratio and its interval as signed percent; without an interval that is a dash."""
    value = 100 * (ratio - 1)
    ends = _percents(interval, 1) if interval else ()
    known = [value, *(end for end in ends if end is not None)]
    # A latency that is nearly nothing of what it was did not fall by 100 %.
    places = max(2 if 0 < max(known) - min(known) < 0.1 else 1, decimals(100 + min(known), 1))
    written = _change(value, ends, "%", 0 if round(max(known)) >= 100 else places)
    return written if interval else NO_CHANGE._replace(value=written.value)


def points_change(estimate: Estimate | None) -> Change:
    """Write the difference of two shares in percentage points."""
    if estimate is None or not math.isfinite(estimate.value):
        return NO_CHANGE
    value, ends = 100 * estimate.value, _percents(estimate.interval, 0)
    known = [value, *(end for end in ends if end is not None)]
    return _change(value, ends, " pp", max(2, decimals(max(known) - min(known), 1, most=5)))


def change(item: Difference) -> Change:
    """Write by how much a metric differs."""
    return points_change(item.difference) if item.unit == "share" else ratio_change(item.ratio)


def changes(items: Sequence[Difference]) -> str:
    """List metrics, each with its change and interval: "p90 +8.2% (+7.3 to +9.1%)"."""
    found = [(metric_word(item.metric), change(item)) for item in items]
    return ", ".join(
        f"{metric} without an interval"
        if by is NO_CHANGE
        else f"{metric} {by.value} ({by.interval_unit})"
        for metric, by in found
    )


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


def p_equals(p: float | None) -> str:
    """Write a p-value within a sentence: "p = 0.042", "p < 0.001"."""
    said = p_value(p)
    return f"p {said}" if said.startswith("<") else f"p = {said}"


def count(n: int | None) -> str:
    """Write a count with thousands separators."""
    return DASH if n is None else f"{n:,}".replace("-", MINUS)


def counted(n: int, noun: str, plural: str | None = None) -> str:
    """Write a count and its noun, in the plural unless it is one."""
    return f"{count(n)} {noun if n == 1 else plural or f'{noun}s'}"


def few(n: int, noun: str) -> str:
    """Begin a sentence with a count that is too small: "Only 9 requests", "No request"."""
    return f"Only {counted(n, noun)}" if n else f"No {noun}"


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
