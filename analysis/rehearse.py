"""What would a plan say of arms that are equal, and of arms that are not?

Runs of known truth are judged as real ones are: by the guarded metrics, their margins and Holm's
procedure. They are drawn from the streams of `analysis.simulate`, or from the records of a run by
splitting its baseline at random. The share of equal arms called better or worse is the rate of
false alarms; of arms that differ, the share called what they are is the power.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd
from numpy.random import Generator
from scipy.stats import binomtest

from analysis.differences import unknown, with_rates, with_ratio
from analysis.error_rates import error_rate_difference
from analysis.noise import Signs, draw_signs, memory_of
from analysis.power import require_comparison, stated_rates
from analysis.read import Run
from analysis.results.comparison import Difference
from analysis.results.values import Measure
from analysis.samples import Latencies, measured
from analysis.simulate import STREAMS, Arrivals
from analysis.verdict import classify, holm, judge
from analysis.windows import WINDOWS, Floats, Rates, Sample, windowed
from experiments.errors import AbreastError, PlanError
from experiments.plan import Plan
from experiments.units import is_of_first_byte

VERDICT = "verdict"
_FLIPS = 1000
"""Of the 10,000 sign flips of a verdict, the next thousand each run: as exact on average."""

Drawn = Callable[[float], tuple[Latencies, Rates]]
"""From the true ratio of the arms' latencies to those, and which requests failed."""
Draw = Callable[[Generator], Drawn]
Tell = Callable[[str, int], None]
"""Is told of which stream how many runs are done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How often a metric, or the verdict over all of them, was called what.

    `effect` is the true relative difference, 0 for equal arms. `hits` are false alarms where the
    arms are equal, and else the runs that called the difference what it is; `at_least` and
    `at_most` bound their share, each at 95 % (Clopper and Pearson, 1934). They are None for the
    error rate, which no effect changes.
    """

    stream: str
    metric: str
    effect: float
    runs: int
    better: int
    worse: int
    same: int
    undecided: int
    hits: int | None
    at_least: float | None
    at_most: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """What was rehearsed, and how it was called."""

    about: tuple[str, ...]
    tallies: tuple[Tally, ...]


def streams_of(names: str) -> list[str]:
    """Read the names of streams, with commas between them.

    Raises:
        AbreastError: there is no such stream.
    """
    streams = [name.strip() for name in names.split(",")]
    for name in streams:
        if name not in STREAMS:
            raise AbreastError(
                f'--stream: there is no stream "{name}".', f"Streams are {', '.join(STREAMS)}."
            )
    return streams


def rehearse_plan(
    plan: Plan,
    *,
    streams: Sequence[str],
    effect: float | None,
    runs: int,
    seed: int,
    tell: Tell = lambda *_: None,
) -> Rehearsal:
    """Make A/A runs of a plan on streams of known truth, and A/B runs where there is an effect.

    Raises:
        PlanError: the plan compares nothing, or does not say its rate.
    """
    baseline, arm = _arms(plan)
    traffic = plan.traffic
    by_arm = stated_rates(plan, "Simulate a run of it: abreast simulate RUN")
    rates = by_arm[baseline], by_arm[arm]
    draws = {name: partial(_draw_stream, plan, name, rates) for name in streams}
    about = [
        f"{runs:,} runs of each stream: {traffic.measured_s:g} s measured, {baseline} gets "
        f"{rates[0]:.3g} req/s and {arm} {rates[1]:.3g}, {traffic.routing}; seed {seed}.",
        "The streams are models and not your endpoint: independent requests (iid), slow noise "
        "(ar, drift), episodes of slow requests (burst), queues (queue2, queue). No request fails "
        "in them, and no payload is slower than another. abreast simulate RUN takes a run's own "
        "records.",
    ]
    if traffic.stages:
        about.append("The stages are taken at their mean rate.")
    if len(plan.arms) > 2:
        about.append(
            f"Of the arms {baseline} and {arm} take part; more share the 5% and find less."
        )
    return Rehearsal(
        about=tuple(about),
        tallies=tuple(_tallies(plan, traffic.measured_s, draws, effect, runs, seed, tell)),
    )


def rehearse_run(
    run: Run,
    *,
    effect: float | None,
    runs: int,
    seed: int,
    tell: Tell = lambda *_: None,
) -> Rehearsal:
    """Split the baseline of a run at random into two arms, again and again.

    Raises:
        PlanError: the run's plan compares nothing.
    """
    baseline, _ = _arms(run.plan)
    rows = run.measured
    own = rows[(rows["arm"] == baseline) & (rows["outcome"] != "dropped")]
    draws = {baseline: partial(_draw_split, run, own.assign(group=np.nan))}
    measured_s = run.end_s - run.start_s
    return Rehearsal(
        about=(
            f"{runs:,} random splits of the {len(own):,} requests of {baseline} in {run.id} into "
            f"two arms, {measured_s:.4g} s measured; seed {seed}.",
            "A random split removes what sets two real arms apart: each arm's own noise that "
            "lasts. So few false alarms here show no more than that the records are judged "
            "rightly; the real A/A is two identical variants (abreast run aa). With a part of the "
            "requests each, these arms find less than a run does.",
        ),
        tallies=tuple(_tallies(run.plan, measured_s, draws, effect, runs, seed, tell)),
    )


def called(
    plan: Plan, timed: Latencies, failed: Rates, measured_s: float, signs: Signs
) -> list[Difference]:
    """Call the guarded metrics of one run, in the plan's order."""
    _, arm = _arms(plan)
    memory_s = memory_of(plan)
    found = []
    for metric, margin in plan.comparison.guarded.items():
        if metric == "error_rate":
            errors = error_rate_difference(failed, signs=signs, memory_s=memory_s)
            found.append(with_rates(unknown(plan, arm, metric, "outcome", margin), errors))
        else:
            ratio = timed.ratio(metric, signs, memory_s)
            found.append(with_ratio(unknown(plan, arm, metric, "response", margin), ratio))
    return [replace(item, call=classify(item, measured_s)[0]) for item in holm(found)]


def _tallies(
    plan: Plan,
    measured_s: float,
    draws: Mapping[str, Draw],
    effect: float | None,
    runs: int,
    seed: int,
    tell: Tell,
) -> Iterator[Tally]:
    signs = draw_signs(np.random.default_rng(seed))
    effects = (0.0,) if effect is None else (0.0, effect)
    for stream, draw in draws.items():
        # A generator of its own, so that a stream's runs do not depend on which others are asked.
        rng = np.random.default_rng([seed, *stream.encode()])
        calls: dict[tuple[float, str], Counter[str]] = {}
        for number in range(runs):
            drawn = draw(rng)
            flips = signs[number * _FLIPS % len(signs) :][:_FLIPS]
            for true in effects:
                items = called(plan, *drawn(1 + true), measured_s, flips)
                names = {item.metric: item.call for item in items}
                for metric, call in {**names, VERDICT: judge(items, (), None).state}.items():
                    calls.setdefault((true, metric), Counter())[call] += 1
            tell(stream, number + 1)
        for (true, metric), counted in sorted(calls.items(), key=lambda item: item[0][0] != 0):
            yield _tally(stream, metric, true, counted)


def _tally(stream: str, metric: str, effect: float, calls: Counter[str]) -> Tally:
    runs = calls.total()
    hits = None
    if effect == 0:
        hits = calls["better"] + calls["worse"]
    elif metric != "error_rate":  # the effect is on latency alone
        hits = calls["worse" if effect > 0 else "better"]
    bounds = None if hits is None else binomtest(hits, runs).proportion_ci(confidence_level=0.9)
    return Tally(
        stream=stream,
        metric=metric,
        effect=effect,
        runs=runs,
        better=calls["better"],
        worse=calls["worse"],
        same=calls["same"],
        undecided=calls["undecided"] + calls["refused"],
        hits=hits,
        at_least=None if bounds is None else float(bounds.low),
        at_most=None if bounds is None else float(bounds.high),
    )


def _draw_stream(plan: Plan, name: str, rates: tuple[float, float], rng: Generator) -> Drawn:
    """Draw equal arms at the higher rate of the two, and keep of each the part that is its own."""
    measured_s = plan.traffic.measured_s
    arms = STREAMS[name](rng, duration_s=measured_s, rate_rps=max(rates), arrivals=_arrivals(plan))
    at_s = [arms.baseline_at_s, arms.arm_at_s]
    if plan.traffic.routing == "paired":  # both belong to one window, that of the pair's first
        at_s = [np.minimum(*at_s)] * 2
    kept = [rng.random(t.size) < own / max(rates) for t, own in zip(at_s, rates, strict=True)]
    baseline_at_s, arm_at_s = (t[k] for t, k in zip(at_s, kept, strict=True))
    baseline_ms, arm_ms = arms.baseline_ms[kept[0]], arms.arm_ms[kept[1]]

    def sample(baseline: Floats, arm: Floats) -> Sample:
        return windowed(baseline, baseline_at_s, arm, arm_at_s, start_s=0.0, end_s=measured_s)

    failed = sample(np.zeros(baseline_ms.size), np.zeros(arm_ms.size))

    def at(ratio: float) -> tuple[Latencies, Rates]:
        timed = sample(baseline_ms, ratio * arm_ms)
        return Latencies(sample=timed, known_to_ms=math.inf, timed_out="", unnamed=0), failed

    return at


def _arrivals(plan: Plan) -> Arrivals:
    """Give one schedule for both arms, dealt as the plan routes: in pairs, or each by chance."""

    def draw(rng: Generator, duration_s: float, rate_rps: float) -> tuple[Floats, Floats]:
        pairs = duration_s * rate_rps
        if plan.traffic.arrivals == "constant":
            at_s = np.asarray((np.arange(2 * round(pairs)) + 0.5) / (2 * rate_rps))
        else:
            at_s = np.sort(rng.uniform(0.0, duration_s, 2 * rng.poisson(pairs)))
        if plan.traffic.routing == "weighted":
            to_arm = rng.random(at_s.size) < 0.5
        else:
            first = rng.random(at_s.size // 2) < 0.5
            to_arm = np.column_stack([first, ~first]).reshape(-1)
        return at_s[~to_arm], at_s[to_arm]

    return draw


def _draw_split(run: Run, own: pd.DataFrame, rng: Generator) -> Drawn:
    """Split one arm's requests by the plan's shares, within each window of time."""
    baseline, arm = _arms(run.plan)
    measure: Measure = "service" if run.plan.traffic.is_closed else "response"
    shares = [run.plan.arms[name].share for name in (baseline, arm)]
    length_ms = (run.end_s - run.start_s) * 1e3
    place = (own["scheduled_ms"].to_numpy() - run.start_s * 1e3) * (WINDOWS / length_ms)
    window = place.astype(np.int64).clip(0, WINDOWS - 1)
    order = np.lexsort((rng.random(len(own)), window))
    counts = np.bincount(window, minlength=WINDOWS)
    rank = np.arange(len(own)) - np.repeat(np.cumsum(counts) - counts, counts)
    wanted = np.floor(counts * shares[1] / sum(shares) + rng.random(WINDOWS))
    to_arm = np.empty(len(own), dtype=bool)
    to_arm[order] = rank < np.repeat(wanted, counts)
    split = own.assign(arm=np.where(to_arm, arm, baseline))
    taken = measured(run, split)
    failed = taken.failures(baseline, arm, None)
    values, of_arm = split[f"{measure}_ms"], split["arm"] == arm

    def at(ratio: float) -> tuple[Latencies, Rates]:
        rows = split.assign(**{f"{measure}_ms": values.where(~of_arm, ratio * values)})
        return replace(taken, rows=rows).latencies(baseline, arm, measure), failed

    return at


def _arms(plan: Plan) -> tuple[str, str]:
    """Give the baseline and the first other arm."""
    require_comparison(plan)
    if of_streams := [name for name in plan.comparison.margins if is_of_first_byte(name)]:
        raise PlanError(
            f"compare.margins.{of_streams[0]}: what is simulated is the time of whole answers.",
            "Leave that margin out here: --set compare.margins={...}, without ttfb.",
        )
    baseline = plan.comparison.baseline
    return baseline, next(arm for arm in plan.arms if arm != baseline)
