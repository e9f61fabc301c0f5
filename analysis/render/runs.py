"""What did each of several runs show, in the order of time: the runs of a gate, or the probes."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from analysis.render import capacity as capacities
from analysis.render import format as write
from analysis.render import tables
from analysis.render.tables import Table
from analysis.results.capacity import Capacity
from analysis.results.report import Report
from analysis.results.run import RunValues


class Point(NamedTuple):
    """One run's number; `place` counts the runs in the order of time, from 1."""

    place: int
    value: float
    is_counted: bool = True


class Course(NamedTuple):
    """One number of several runs, by side; `limit` is what the SLO allows.

    Latencies are for a log axis, and rates for one from 0.
    """

    title: str
    sides: dict[str, list[Point]]
    limit: float | None = None
    is_log: bool = True

    @property
    def points(self) -> list[Point]:
        """The numbers of all sides."""
        return [point for own in self.sides.values() for point in own]


def courses(report: Report) -> tuple[Course, ...]:
    """Give what is worth seeing over several runs: nothing where there are fewer than two."""
    found = _of_probes(report.capacity) if report.capacity else _of_runs(report)
    return tuple(each for each in found if len({p.place for p in each.points}) > 1)


def _of_runs(report: Report) -> tuple[Course, ...]:
    ordered = sorted(report.runs, key=lambda run: run.started_at)
    places = {run: i for i, run in enumerate(dict.fromkeys(each.run for each in ordered), 1)}
    return tuple(
        Course(
            f"{capacities.latency_word(metric, tables.judged(report))}, ms",
            {
                side: [
                    Point(places[run.run], value)
                    for run in ordered
                    if run.arm == side and (value := run.values[metric])
                ]
                for side in _sides(report)
            },
        )
        for metric in _metrics(report)
        if metric != "error_rate"
    )


def _of_probes(found: Capacity) -> tuple[Course, ...]:
    made = list(enumerate(found.probes, 1))
    limit = capacities.first_limit(found)
    rates = [Point(i, probe.rate_rps, probe.left_out is None) for i, probe in made]
    rate = Course("sent, req/s", {found.arm: rates}, is_log=False)
    if limit is None or limit.limit_ms is None:
        return (rate,)
    took = [Point(i, probe.value_ms, probe.left_out is None) for i, probe in made if probe.value_ms]
    title = f"{capacities.latency_word(limit.metric)}, ms"
    return rate, Course(title, {found.arm: took}, limit.limit_ms)


def sentence(report: Report) -> str:
    """Say how far the runs of each side lay apart, or what a rate gave that was probed again."""
    if report.capacity is not None:
        return _probed_again(report.capacity)
    said = []
    for course in courses(report):
        spans = {side: _span([p.value for p in own]) for side, own in course.sides.items() if own}
        ends = sorted((min(p.value for p in own), max(p.value for p in own))
                      for own in course.sides.values() if own)  # fmt: skip
        apart = all(high < low for (_, high), (low, _) in pairwise(ends))
        reach = "no run of one side reaches the other's" if apart else "the sides overlap"
        reach = f"; {reach}" if len(ends) > 1 else ""
        sides = "; ".join(f"{write.name(side)} {span}" for side, span in spans.items())
        said.append(f"{course.title.removesuffix(', ms')} of the runs: {sides}{reach}.")
    return " ".join(said)


def drifts(report: Report) -> tuple[str, ...]:
    """Say of each latency whether it drifted over the runs, and whether the sides share that."""
    of = [] if report.capacity else courses(report)
    pairs = tables.compared(report)
    level = 0.05 / max(2 * len(of) * len(pairs), 1)  # Bonferroni's, over both sides of each
    return tuple(_drift(course, pair, level) for course in of for pair in pairs)


def _drift(course: Course, pair: tuple[str, str], level: float) -> str:
    arm, baseline = ({p.place: p.value for p in course.sides.get(side, ())} for side in pair)
    what = course.title.removesuffix(", ms")
    if not any(_has_trend(list(side.values()), level) for side in (arm, baseline)):
        return f"{what}: no drift over the runs is shown."
    said = f"{what} drifted over the runs: {write.name(pair[1])} {_first_to_last(baseline)}, "
    said += f"{write.name(pair[0])} {_first_to_last(arm)}."
    ratios = [arm[place] / baseline[place] for place in sorted(arm.keys() & baseline.keys())]
    if not ratios:
        held = "Each run is of one side, so it does not cancel; it widens the interval."
    elif _has_trend(ratios):
        ends = " to ".join(write.percent_change(ratios[at], None).value for at in (0, -1))
        held = f"The sides do not share all of it: the change went from {ends}, which the interval "
        held += "takes as scatter between runs."
    else:
        held = f"The sides share it, as far as {len(ratios)} runs show, so the comparison within "
        held += "each run holds."
    return f"{said} {held}"


def _first_to_last(side: dict[int, float]) -> str:
    return " to ".join(write.latency(side[at(side)]) for at in (min, max)) if side else write.DASH


def _has_trend(values: Sequence[float], level: float = 0.05) -> bool:
    """Whether a line through the logarithms, in the order of time, has a slope at that level."""
    from scipy.stats import linregress  # slow to import, and few reports come here

    return len(values) > 2 and bool(linregress(range(len(values)), np.log(values)).pvalue < level)


def _probed_again(found: Capacity) -> str:
    rates_rps = [probe.rate_rps for probe in found.probes]
    said = [
        f"{write.counted(len(rates_rps), 'probe')}, of {write.rate(min(rates_rps))} to "
        f"{write.rate(max(rates_rps))}."
    ]
    for rate_rps in sorted(set(rates_rps)):
        values = [p.value_ms for p in found.probes if p.rate_rps == rate_rps and p.value_ms]
        if len(values) > 1:
            times = write.counted(len(values), "time")
            said.append(f"{write.rate(rate_rps)}, probed {times}: {_span(values)}.")
    return " ".join(said)


def _span(values: Sequence[float]) -> str:
    return f"{write.latency(min(values))} to {write.latency(max(values))}"


def listed(report: Report) -> tuple[str, ...]:
    """List each metric's numbers by run, but not noughts alone, and say what drifted."""
    by_run = (
        f"{write.metric_word(metric)}, run by run: "
        + "; ".join(
            f"{write.name(side)} "
            + ", ".join(_value(run, metric) for run in report.runs if run.arm == side)
            for side in _sides(report)
        )
        + "."
        for metric in _metrics(report)
        if any(run.values.get(metric) != 0 for run in report.runs)
    )
    return (*by_run, *drifts(report))


def table(report: Report) -> Table:
    """Line up the numbers of each of several runs."""
    if report.capacity is not None:
        return capacities.probes(report.capacity)
    metrics = _metrics(report)
    rows = tuple(
        (
            f"{write.plain(run.run)}\n{run.started_at}",
            write.plain(run.arm, 24),
            write.count(run.requests),
            *(_value(run, metric) for metric in metrics),
        )
        for run in report.runs
    )
    head = ("run", "arm", "requests", *map(write.metric_word, metrics))
    measure = tables.LATENCY[tables.judged(report)]
    caption = f"The numbers that each run gives: {measure}, and failures"
    return Table(caption, head, rows, ends_in_words=False, left=2)


def _sides(report: Report) -> tuple[str, ...]:
    return tuple(dict.fromkeys(run.arm for run in report.runs))


def _metrics(report: Report) -> tuple[str, ...]:
    return tuple(report.runs[0].values) if report.runs else ()


def _value(run: RunValues, metric: str) -> str:
    value = run.values.get(metric)
    return write.share(value) if metric == "error_rate" else write.latency(value)
