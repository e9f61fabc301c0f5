"""What do the tables and sentences of a capacity report say, in whichever renderer."""

from typing import NamedTuple

from analysis.render import format as write
from analysis.results.capacity import (
    Capacity,
    LimitAtRate,
    LimitNeed,
    PeakNeed,
    RateCall,
    RateFound,
    Sizing,
)

CALL_WORDS: dict[RateCall, str] = {
    "pass": "✓ keeps the SLO",
    "fail": "✗ breaks it",
    "unresolved": "? cannot be told",
    "client": "! the generator's limit",
    "invalid": "! cannot be trusted",
}
STATES = {
    "met": ("✓", "Capacity found"),
    "broken": ("✗", "No rate keeps the SLO"),
    "undecided": ("?", "Cannot tell yet"),
    "untrusted": ("✗", "Cannot be trusted"),
}
_BEYOND = "extrapolated"


class Table(NamedTuple):
    """Words in rows: the first `left` columns name the row, and the last may say what was found.

    A line break in a word begins a second, smaller line. `calls` colour the second column.
    """

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    ends_in_words: bool = True
    left: int = 1
    calls: tuple[str, ...] = ()


def drawn_limit(found: RateFound) -> LimitAtRate | None:
    """Give the limit that the curve is of: the first latency, else the first; `None`: no data."""
    return next((each for each in found.limits if each.limit_ms), next(iter(found.limits), None))


def rates(capacity: Capacity) -> Table:
    """Word what was found at each rate."""
    metrics = next((found.limits for found in capacity.rates if found.limits), ())
    head = tuple(_asks(limit) for limit in metrics)
    rows = tuple(
        (
            write.rate(found.rate_rps),
            write.count(found.probes),
            write.duration(found.measured_s),
            *(_value(limit) for limit in found.limits or (None,) * len(head)),
            CALL_WORDS[found.call] + (", saturated" if found.saturated else ""),
        )
        for found in capacity.rates
    )
    caption = "What all probes at a rate show together: each limit's value, and how many missed it"
    return Table(caption, ("rate", "probes", "measured", *head, "finding"), rows)


def _asks(limit: LimitAtRate) -> str:
    if limit.limit_ms is None:
        return f"failures ≤ {write.share(limit.allowed)}"
    return f"{write.metric_word(limit.metric)} ≤ {write.latency(limit.limit_ms)}"


def _value(limit: LimitAtRate | None) -> str:
    if limit is None:
        return write.DASH
    missed = write.share(limit.missed / limit.requests)
    return missed if limit.limit_ms is None else f"{write.latency(limit.value_ms)} ({missed})"


def probes(capacity: Capacity) -> Table:
    """Word every probe, in the order in which they were made."""
    rows = tuple(
        (
            probe.run,
            write.rate(probe.rate_rps),
            write.rate(probe.achieved_rps),
            write.duration(probe.measured_s),
            write.count(probe.requests),
            "" if probe.left_out is None else f"left out: {probe.left_out}",
        )
        for probe in capacity.probes
    )
    caption = "Each probe is a run in this folder's runs/, and can be judged alone"
    return Table(caption, ("run", "sent", "achieved", "measured", "requests", ""), rows)


def peaks(capacity: Capacity) -> Table | None:
    """Word what each peak takes; `None` without a sizing or a peak."""
    sizing = capacity.sizing
    if sizing is None or not sizing.peaks:
        return None
    head = ("peak", "instances", "one zone lost", "an hour", "a million", "")
    caption = (
        f"Instances at {write.share(sizing.utilisation)} of the lower bound; as many that can lose "
        f"one of {sizing.zones} zones, and what these cost while they carry the peak"
    )
    return Table(caption, head, tuple(_peak(need) for need in sizing.peaks))


def _peak(need: PeakNeed) -> tuple[str, ...]:
    return (
        write.rate(need.peak_rps),
        write.count(need.instances),
        write.count(need.with_zone_lost),
        dollars(need.usd_per_hour),
        dollars(need.usd_per_million),
        _BEYOND if need.beyond_measured else "",
    )


def limits(capacity: Capacity) -> Table | None:
    """Word what other latency limits would take; `None` without a sizing or a latency limit."""
    sizing = capacity.sizing
    if sizing is None or not sizing.limits:
        return None
    for_peak = "" if sizing.peak_rps is None else f" for {write.rate(sizing.peak_rps)}"
    head = ("limit", "carries", f"instances{for_peak}", "one zone lost", "an hour", "")
    caption = (
        "What other limits would take, from the rates that were tried; the search went to the "
        "plan's, so the others are known in coarser steps"
    )
    return Table(caption, head, tuple(_limit(need) for need in sizing.limits))


def _limit(need: LimitNeed) -> tuple[str, ...]:
    return (
        f"{write.metric_word(need.metric)} ≤ {write.latency(need.limit_ms)}",
        write.DASH if need.rate_rps is None else write.rate(need.rate_rps),
        write.DASH if need.instances is None else write.count(need.instances),
        write.DASH if need.with_zone_lost is None else write.count(need.with_zone_lost),
        dollars(need.usd_per_hour),
        "the plan's" if need.is_asked else "" if need.rate_rps else "no rate was shown to keep it",
    )


def dollars(amount: float | None) -> str:
    """Write an amount of US dollars."""
    return write.DASH if amount is None else f"${write.number(amount, 2)}"


def sizing_sentences(capacity: Capacity) -> tuple[str, ...]:
    """Say what to give an instance, or why nothing is said of that."""
    sizing = capacity.sizing
    if sizing is None:
        return () if capacity.no_sizing is None else (capacity.no_sizing,)
    kind = f" ({capacity.instance_type})" if capacity.instance_type else ""
    said = (
        f"One instance{kind} was shown to carry {write.rate(sizing.instance_rps)}; at "
        f"{write.share(sizing.utilisation)} of that it is given {write.rate(sizing.planned_rps)}, "
        f"or {_target(sizing.invocations_per_instance)} invocations a minute: the target "
        "of SageMakerVariantInvocationsPerInstance.",
        "Scaled by that target, the instances that a lost zone leaves are given more than that "
        "until others start. For those left to be given no more, use the target "
        f"{_target(sizing.with_zone_lost)}{_or_as_many(sizing)}.",
    )
    if sizing.usd_per_hour is None:
        return said
    return (
        *said,
        f"What was measured costs {dollars(sizing.usd_per_hour)} an hour, and "
        f"{dollars(sizing.usd_per_million)} a million inferences when given that.",
    )


def _target(invocations: float) -> str:
    return write.number(invocations, 0 if invocations >= 10 else 2)


def _or_as_many(sizing: Sizing) -> str:
    kept = [need.with_zone_lost for need in sizing.peaks if need.peak_rps == sizing.peak_rps]
    return "".join(f", or a min_capacity of {write.count(n)} for the peak" for n in kept)


def curve_sentence(capacity: Capacity) -> str:
    """Say what the curve shows, for who cannot see it."""
    said = []
    for found in capacity.rates:
        limit = drawn_limit(found)
        if limit is not None:
            said.append(f"{write.rate(found.rate_rps)}: {_value(limit)}")
    asks = next((_asks(each) for f in capacity.rates if (each := drawn_limit(f))), "")
    return f"Load against {asks}. {'; '.join(said)}."
