"""What do `abreast power` and `abreast simulate` print?"""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from itertools import chain, groupby, repeat

from analysis.power import DIFFERENCES, MetricPower, Power
from analysis.rehearse import Rehearsal, Tally
from analysis.render import format as write
from analysis.render import text
from analysis.scatter import INDEPENDENT, Needed


def as_json(found: Power | Rehearsal) -> str:
    """Write a result as JSON; what is missing is null."""
    return json.dumps(asdict(found), indent=2, ensure_ascii=False, allow_nan=False)


def power(found: Power) -> str:
    """Write what can be found, how long it takes, and whether the margins can be met."""
    rates = ", ".join(f"{arm} {write.rate(rps)}" for arm, rps in found.rates_rps.items())
    parts = [text.wrapped([f"{write.duration(found.measured_s)} measured: {rates}. {found.basis}"])]
    for arm in dict.fromkeys(each.arm for each in found.metrics):
        own = [each for each in found.metrics if each.arm == arm]
        title = f"{write.plain(arm, 30)} against {write.plain(found.baseline, 30)}"
        parts.append([title, *_power_table(own)])
        reasons = dict.fromkeys(each.reason for each in own if each.reason)
        parts.append(text.wrapped(_reason(why, own) for why in reasons))
        if any(each.margin is not None for each in own):
            parts.append(_margins_table(found, own))
    return _joined([*parts, text.wrapped(_power_notes(found))])


def rehearsal(found: Rehearsal) -> str:
    """Write how often equal arms, and arms that differ, were called what."""
    parts = []
    for effect in dict.fromkeys(tally.effect for tally in found.tallies):
        change = f"{100 * effect:+g}%".replace("-", write.MINUS)
        title = f"A/B: one arm's latencies {change}" if effect else "A/A: equal arms"
        rows = [["", "better", "worse", "same", "open", "found" if effect else "false alarms"]]
        own = [tally for tally in found.tallies if tally.effect == effect]
        longest = max(len(write.plain(tally.stream, 20)) for tally in own)
        for stream, tallies in groupby(own, key=lambda tally: write.plain(tally.stream, 20)):
            for name, tally in zip(chain([stream], repeat("")), tallies, strict=False):
                metric = write.metric_word(tally.metric)
                rows.append([f"{name:{longest}}  {metric}", *_shares(tally)])
        parts.append([title, *_table(rows)])
    return _joined([*parts, text.wrapped(found.about)])


def _power_table(own: Sequence[MetricPower]) -> list[str]:
    rows = [["", "finds", *(f"{d:.0%}" for d in DIFFERENCES), "deff"]]
    for each in own:
        needed = each.needed or [None] * len(DIFFERENCES)
        factor = each.design_effect
        deff = write.DASH if factor is None else write.number(factor, write.decimals(factor, 2))
        rows.append([each.metric, write.share(each.detectable), *map(_time, needed), deff])
        if any(needed.requests for needed in each.needed):
            counts = ("" if n.requests is None else write.count(n.requests) for n in each.needed)
            rows.append(["", "", *counts, ""])
    return _table(rows)


def _margins_table(found: Power, own: Sequence[MetricPower]) -> list[str]:
    def marked(needed: Needed | None) -> str:
        takes_s = needed.measured_s if needed else None
        is_met = takes_s is not None and takes_s <= found.measured_s * 1.001
        return _time(needed) + (" ✓" if is_met else "  ")

    rows = [["guarded", "margin", "equal arms are same  ", "margin is found  "]]
    rows += [
        [each.metric, f"±{100 * each.margin:g}%", marked(each.alike), marked(each.margin_seen)]
        for each in own
        if each.margin is not None
    ]
    margin = f"±{100 * found.error_rate_margin:g} pp"
    rows.append(["error rate", margin, marked(found.error_rate), f"{write.DASH}  "])
    return _table(rows)


def _power_notes(found: Power) -> Iterable[str]:
    yield (
        "finds: the smallest difference that four such runs in five show at 5%. Then how long to "
        "measure at this rate, and the requests of the smaller arm, to find 2, 5, 10 or 20%; where "
        "that is over 24 h, a longer run of a sensible length does not settle it."
    )
    yield (
        "deff, the design effect: how many times the noise of independent requests it is, measured "
        f"so that theirs is about {INDEPENDENT:g}. A higher rate lessens those {INDEPENDENT:g} and "
        "no more of it; a longer run lessens all."
    )
    guarded = [each for each in found.metrics if each.margin is not None]
    if guarded:
        yield (
            "✓: within what is measured, four times in five; error rates, where nothing fails. A "
            "difference of just its margin is called in half of the runs, since the estimate must "
            "reach it too."
        )
    if len(guarded) > 1:
        yield (
            f"The {len(guarded)} guarded latencies share their 5% by Holm's procedure: where one "
            "alone differs, it takes a larger difference, or longer. abreast simulate shows it."
        )


def _shares(tally: Tally) -> list[str]:
    calls = tally.better, tally.worse, tally.same, tally.undecided
    shares = [write.share(n / tally.runs) for n in calls]
    if tally.hits is None:
        return [*shares, write.DASH]
    at = f"at least {write.share(tally.at_least)}"
    bound = at if tally.effect else f"at most {write.share(tally.at_most)}"
    return [*shares, f"{write.share(tally.hits / tally.runs)} ({bound})"]


def _time(needed: Needed | None) -> str:
    if needed is None:
        return write.DASH
    if needed.measured_s is None:
        return "over 24 h"
    return write.duration(60 * math.ceil(needed.measured_s / 60 - 1e-3))


def _reason(why: str, own: Sequence[MetricPower]) -> str:
    metrics = ", ".join(each.metric for each in own if each.reason == why)
    return f"{metrics}: {why[:1].upper()}{why[1:].rstrip('.')}."


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Line up columns: the first to the left, the others to the right."""
    return text.aligned([[*row, ""] for row in rows])


def _joined(parts: Iterable[Sequence[str]]) -> str:
    return "\n\n".join("\n".join(part) for part in parts if part)
