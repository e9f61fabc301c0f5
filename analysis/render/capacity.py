"""What do the tables and sentences of a capacity report say, in whichever renderer."""

from analysis.render import format as write
from analysis.render.tables import Table
from analysis.results.capacity import Capacity, LimitAtRate, RateCall, RateFound, Sizing
from analysis.results.values import Measure
from experiments.units import is_of_first_byte

CALL_WORDS: dict[RateCall, str] = {
    "pass": "✓ keeps the SLO",
    "fail": "✗ breaks it",
    "unresolved": "? cannot be told",
    "client": "! the generator's limit",
    "invalid": "! cannot be trusted",
}


def first_limit(capacity: Capacity) -> LimitAtRate | None:
    """Give what the curve is of, as the first rate that has it shows it."""
    return next((at for found in capacity.rates if (at := drawn_limit(found))), None)


def drawn_limit(found: RateFound) -> LimitAtRate | None:
    """Give the limit that the curve is of: the first latency, else the first; `None`: no data."""
    return next((each for each in found.limits if each.limit_ms), next(iter(found.limits), None))


def latency_word(metric: str, measure: Measure = "response") -> str:
    """Name a latency by what it is of: "p99 response time", "TTFB p99"."""
    return write.metric_word(metric) + ("" if is_of_first_byte(metric) else f" {measure} time")


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
    limit = first_limit(capacity)
    metric = write.metric_word(limit.metric) if limit and limit.limit_ms else ""
    rows = tuple(
        (
            probe.run,
            write.rate(probe.rate_rps),
            write.rate(probe.achieved_rps),
            write.duration(probe.measured_s),
            write.count(probe.requests),
            *([write.latency(probe.value_ms)] if metric else []),
            "" if probe.left_out is None else f"left out: {probe.left_out}",
        )
        for probe in capacity.probes
    )
    head = ("run", "sent", "achieved", "measured", "requests", *([metric] if metric else []), "")
    return Table("Each probe is a run in this folder's runs/, and can be judged alone", head, rows)


def peaks(capacity: Capacity) -> Table | None:
    """Word what each peak takes; `None` without a sizing or a peak."""
    sizing = capacity.sizing
    if sizing is None or not sizing.peaks:
        return None
    rows = tuple(
        (
            write.rate(need.peak_rps),
            write.count(need.instances),
            write.count(need.with_zone_lost),
            dollars(need.usd_per_hour),
            dollars(need.usd_per_million),
            "extrapolated" if need.beyond_measured else "",
        )
        for need in sizing.peaks
    )
    caption = (
        f"Instances at {write.share(sizing.utilisation)} of the lower bound; how many may lose one "
        f"of {sizing.zones} zones and still carry the peak, and what these cost meanwhile"
    )
    head = ("peak", "instances", "one zone lost", "an hour", "a million", "")
    return Table(caption, head, rows)


def limits(capacity: Capacity) -> Table | None:
    """Word what other latency limits would take; `None` without a sizing or a latency limit."""
    sizing = capacity.sizing
    if sizing is None or not sizing.limits:
        return None
    peak_rps = sizing.peak_rps

    def of_peak(*words: str) -> tuple[str, ...]:
        return () if peak_rps is None else words

    rows = tuple(
        (
            f"{write.metric_word(need.metric)} ≤ {write.latency(need.limit_ms)}",
            write.rate(need.rate_rps),
            *of_peak(
                write.count(need.instances),
                write.count(need.with_zone_lost),
                dollars(need.usd_per_hour),
            ),
            "the plan's" if need.is_asked else "" if need.rate_rps else "not shown at any rate",
        )
        for need in sizing.limits
    )
    instances = of_peak(f"for {write.rate(peak_rps)}", "one zone lost", "an hour")
    caption = (
        "What other limits would take in instances, from the rates that were tried; the search "
        "went to the plan's, so the others are known in coarser steps"
    )
    return Table(caption, ("limit", "carries", *instances, ""), rows)


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
        "Scaled by that target, the instances that remain when a zone is lost carry more than that "
        f"until others start. So that they do not, use {_target(sizing.with_zone_lost)} as the "
        f"target{_or_as_many(sizing)}.",
    )
    if sizing.usd_per_hour is None:
        return said
    return (
        *said,
        f"The instances that were measured cost {dollars(sizing.usd_per_hour)} an hour: "
        f"{dollars(sizing.usd_per_million)} a million inferences at that load.",
    )


def _target(invocations: float) -> str:
    return write.number(invocations, 0 if invocations >= 10 else 2)


def _or_as_many(sizing: Sizing) -> str:
    kept = [need.with_zone_lost for need in sizing.peaks if need.peak_rps == sizing.peak_rps]
    return "".join(f", or a min_capacity of {write.count(n)} for the peak" for n in kept)


def curve_sentence(capacity: Capacity) -> str:
    """Say what the curve shows, for who cannot see it."""
    limit = first_limit(capacity)
    said = (
        f"{write.rate(found.rate_rps)}: {_value(at)}"
        for found in capacity.rates
        if (at := drawn_limit(found))
    )
    return f"Load against {_asks(limit)}. {'; '.join(said)}." if limit else ""
