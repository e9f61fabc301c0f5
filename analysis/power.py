"""How long must I run to see a difference of d? Said of a plan before its run, or of a run."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
from scipy.special import ndtri

from analysis.compare import LATENCY_METRICS
from analysis.noise import Refusal, draw_signs, memory_of, too_short
from analysis.read import Run
from analysis.results.values import Measure
from analysis.samples import Latencies, measure_of, measured
from analysis.scatter import (
    ALIKE,
    FOUND,
    INDEPENDENT,
    Needed,
    Rates,
    Scatter,
    fewest_requests,
    lognormal,
    lognormal_variance,
    memory_said,
    observed,
    shortest,
)
from analysis.swap import Swap
from experiments.errors import PlanError
from experiments.plan import Plan
from experiments.units import is_of_first_byte, quantile_of

DIFFERENCES = (0.02, 0.05, 0.10, 0.20)

_Ratio = Callable[[str], Swap | Refusal]
_BEST_SPREAD = 0.1
"""Of log latency at its evenest, a p99 a quarter above the median: one fixed computation on an idle
machine. Nearly every endpoint spreads more, so a margin out of reach at this is so everywhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricPower:
    """What can be found at one metric of one arm.

    `detectable` is the relative difference that four runs in five show at 5 %; `reason` says why it
    is None, or known roughly only. `needed` has an item for each of DIFFERENCES, none where the
    noise is not known. Of a guarded metric, `alike` is what it takes for four runs in five of equal
    arms to be called the same, and `margin_seen` for as many to show a difference of its margin.
    """

    arm: str
    metric: str
    design_effect: float | None
    detectable: float | None
    reason: str | None
    needed: tuple[Needed, ...]
    margin: float | None
    alike: Needed | None
    margin_seen: Needed | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Power:
    """What a plan can decide, or a run like one that was made, and what that rests on.

    `rates_rps` are the arms' requests a second. `error_rate` is what it takes to call the error
    rates the same within their margin where no request fails.
    """

    baseline: str
    measured_s: float
    rates_rps: dict[str, float]
    basis: str
    metrics: tuple[MetricPower, ...]
    error_rate_margin: float
    error_rate: Needed


def power_of_plan(plan: Plan, *, spread: float = 0.5, design_effect: float = INDEPENDENT) -> Power:
    """Say what a plan can decide where log latency is normal with this standard deviation.

    Raises:
        PlanError: the plan compares nothing, or does not say its rate.
    """
    return _power(
        plan,
        plan.traffic.measured_s,
        stated_rates(plan, "Give --like RUN, an earlier run of it."),
        f"It is taken that log latency is normal with a standard deviation of {spread:g}, and that "
        f"the design effect is {design_effect:g}. An earlier run knows better: --like RUN.",
        lambda pair, _, metric: lognormal(
            metric, pair, spread=spread, design_effect=design_effect, memory_s=memory_of(plan)
        ),
    )


def power_of_run(run: Run) -> Power:
    """Say what another run like this one would find.

    Raises:
        PlanError: the run's plan compares nothing.
    """
    ratios, measured_s = _ratios(run), run.end_s - run.start_s
    memory = memory_said([ratio("p50") for ratio in ratios.values()], measured_s)
    return _power(
        run.plan,
        measured_s,
        _measured_rates(run),
        f"It rests on the noise of this run. {memory}",
        lambda pair, arm, metric: observed(
            metric, ratios[arm](metric), pair, measured_s, memory_of(run.plan)
        ),
    )


def power_of_plan_like(plan: Plan, run: Run) -> Power:
    """Say what a plan can decide where requests are as noisy as in an earlier run.

    The noisiest of the run's arms counts. A higher rate than the run's lessens the noise that
    independent requests have, and no other.

    Raises:
        PlanError: the plan or the run's plan compares nothing, or the run is of no streams.
    """
    require_comparison(plan)
    if any(map(is_of_first_byte, plan.comparison.margins)) and not run.plan.is_streamed:
        raise PlanError(
            f"{run.path}: its answers came whole, so it says nothing of a stream's first byte.",
            "Give --like a run of streams, or leave out the margins of ttfb.",
        )
    ratios, rates, span_s = _ratios(run), _measured_rates(run), run.end_s - run.start_s
    pairs = {arm: Rates(rates[run.plan.comparison.baseline], rates[arm]) for arm in ratios}

    def noisiest(pair: Rates, _: str, metric: str) -> Scatter:
        memory_s = memory_of(run.plan)
        found = (observed(metric, ratios[a](metric), pairs[a], span_s, memory_s) for a in ratios)
        every = [one.at(pair) for one in found]
        return max(every, key=lambda one: math.inf if one.error_1s is None else one.error_1s)

    return _power(
        plan,
        plan.traffic.measured_s,
        planned_rates(plan) or rates,
        f"It is taken to be as noisy as {run.id}.",
        noisiest,
    )


def _power(
    plan: Plan,
    measured_s: float,
    rates: dict[str, float],
    basis: str,
    scatter: Callable[[Rates, str, str], Scatter],
) -> Power:
    require_comparison(plan)
    guarded, baseline = plan.comparison.guarded, plan.comparison.baseline
    latency_metrics = dict.fromkeys((*LATENCY_METRICS, *plan.comparison.margins))
    latency_metrics.pop("error_rate", None)
    fewest_rps = min(rates.values())
    without_a_failure = _without_a_failure(guarded["error_rate"])
    return Power(
        baseline=baseline,
        measured_s=measured_s,
        rates_rps=rates,
        basis=basis,
        metrics=tuple(
            _metric_power(
                scatter(Rates(rates[baseline], rates[arm]), arm, metric),
                arm,
                measured_s,
                guarded.get(metric),
            )
            for arm in plan.arms
            if arm != baseline
            for metric in latency_metrics
        ),
        error_rate_margin=guarded["error_rate"],
        error_rate=shortest(
            lambda length_s: fewest_rps * length_s >= without_a_failure,
            fewest_rps,
            memory_of(plan),
        ),
    )


def _metric_power(
    scatter: Scatter, arm: str, measured_s: float, margin: float | None
) -> MetricPower:
    is_known = scatter.error_1s is not None
    detectable = scatter.reach(measured_s, FOUND)
    alike = margin_seen = None
    if is_known and margin is not None:
        alike, margin_seen = scatter.needed(margin, ALIKE), scatter.needed(margin, FOUND)
    return MetricPower(
        arm=arm,
        metric=scatter.metric,
        design_effect=scatter.design_effect,
        detectable=detectable,
        reason=scatter.reason if detectable is not None else scatter.why_not(measured_s),
        needed=tuple(scatter.needed(size, FOUND) for size in DIFFERENCES) if is_known else (),
        margin=margin,
        alike=alike,
        margin_seen=margin_seen,
    )


def _ratios(run: Run) -> dict[str, _Ratio]:
    """Give for each arm but the baseline what finds the ratio of a metric."""
    require_comparison(run.plan, f"{run.path}: ")
    signs = draw_signs(np.random.default_rng(0))
    baseline, memory_s = run.plan.comparison.baseline, memory_of(run.plan)
    if refusal := too_short(run.end_s - run.start_s, memory_s):
        raise PlanError(
            f"{run.path}: too short to show how noisy it is. {refusal.reason}",
            "Give a longer run, or abreast power PLAN without --like.",
        )
    taken = measured(run, run.measured)

    @cache
    def sample(arm: str, measure: Measure) -> Latencies:
        return taken.latencies(baseline, arm, measure)

    def ratio(arm: str, metric: str) -> Swap | Refusal:
        timed = sample(arm, measure_of(run.plan, metric))
        return timed.ratio(metric, signs=signs, memory_s=memory_s)

    return {arm: partial(ratio, arm) for arm in run.plan.arms if arm != baseline}


def require_comparison(plan: Plan, where: str = "") -> None:
    """Raise PlanError where a plan compares nothing."""
    if plan.compare is None:
        raise PlanError(
            f"{where}The plan compares nothing: it has no [compare].",
            "How many runs a gate takes, its own --dry-run says: abreast run PLAN --dry-run"
            if plan.question == "regression"
            else "Give one whose [compare] names a baseline and margins.",
        )


def planned_rates(plan: Plan) -> dict[str, float] | None:
    """Give each arm's requests a second; `None`: the plan does not say."""
    if (total_rps := plan.traffic.rate_rps) is None:
        return None
    shares = sum(arm.share for arm in plan.arms.values())
    return {name: total_rps * arm.share / shares for name, arm in plan.arms.items()}


def stated_rates(plan: Plan, otherwise: str) -> dict[str, float]:
    """Give the planned rates; raise PlanError, with what to do instead, where there are none."""
    if rates := planned_rates(plan):
        return rates
    said = "The plan does not say its rate: requests arrive as in a trace, or when users send."
    raise PlanError(said, otherwise)


def _measured_rates(run: Run) -> dict[str, float]:
    rows = run.measured
    counts = rows.loc[rows["outcome"] == "ok", "arm"].value_counts()
    length_s = run.end_s - run.start_s
    # An arm without requests has no rate to divide by; one request is as good as none.
    return {arm: max(int(counts.get(arm, 0)), 1) / length_s for arm in run.plan.arms}


def foreseen(plan: Plan) -> tuple[str, ...]:
    """Say which guarded metrics cannot reach a verdict at the planned rate and duration."""
    measured_s, said = plan.traffic.measured_s, []
    if plan.question not in ("compare", "load"):  # others judge many runs together
        return ()
    shortest_s, short = 6 * memory_of(plan), f"Note: {measured_s:g} s are measured"
    if measured_s < shortest_s:
        said.append(f"{short}; below {shortest_s:g} s there is no verdict, only estimates.")
    elif measured_s < 2 * shortest_s:
        said.append(
            f"{short}; a verdict from less than {2 * shortest_s:g} s is marked as that of a short "
            "run."
        )
    said += _foreseen_of_slo(plan)
    rates = planned_rates(plan)
    if rates is None or plan.question != "compare":
        return tuple(said)
    smallest, next_rps = sorted(rates.values())[:2]
    for metric, margin in plan.comparison.guarded.items():
        if note := _note(metric, margin, Rates(next_rps, smallest), measured_s):
            said.append(f"Note: compare.margins guards {metric}{note}")
    return tuple(said)


def _note(metric: str, margin: float, rates: Rates, measured_s: float) -> str | None:
    """Say why a metric cannot be decided, however well the run goes."""
    requests = rates.smaller * measured_s
    is_latency = metric != "error_rate"
    needed = fewest_requests(metric) if is_latency else _without_a_failure(margin)
    if requests < needed * (1 - 1e-9):
        at = "" if is_latency else f" at ±{100 * margin:g} pp"
        return (
            f"{at}, which needs {needed:,.0f} requests an arm; the smallest arm gets about "
            f"{requests:,.0f}. It will end in cannot tell."
        )
    if not is_latency:
        return None
    variance = lognormal_variance(quantile_of(metric), _BEST_SPREAD) * rates.inverse / measured_s
    # Not Student's t: by chance an interval is as narrow as if its noise were known.
    half, room = float(ndtri(0.95)) * math.sqrt(variance), math.log1p(margin)
    if half <= room:
        return None
    return (
        f" at ±{100 * margin:g}%. Were all requests independent, and p99 only a quarter above the "
        f"median, its 90% interval would still reach ±{100 * math.expm1(half):.2g}%: below "
        f"{measured_s * (half / room) ** 2:,.0f} s at this rate, equal arms end in cannot tell."
    )


def _without_a_failure(margin: float) -> int:
    """How many requests, none of which fails, bound an error rate by the margin at 95 %."""
    return math.ceil(math.log(0.05) / math.log1p(-margin))


def _foreseen_of_slo(plan: Plan) -> list[str]:
    """Say which limits cannot be met, whatever comes: too short a stage, or too few requests."""
    said, shortest_s = [], 6 * memory_of(plan)
    share = {name: arm.share for name, arm in plan.arms.items()}
    spans = {phase.name: phase.end_s - phase.start_s for phase in plan.traffic.phases}
    for asked in plan.thresholds:
        limit = f"Note: the {asked.metric} limit of {asked.arm}"
        limit += f" in {asked.phase}" if asked.phase else ""
        length_s = spans[asked.phase] if asked.phase else plan.traffic.measured_s
        if asked.phase and asked.window_s is None and length_s < shortest_s:
            short = f"{length_s:g} s are fewer than {shortest_s:g} s"
            said.append(f"{limit} will end in cannot tell: {short}.")
        elif (rate_rps := _rate_rps(plan, asked.phase)) is not None:
            sent = rate_rps * (asked.window_s or length_s)
            requests = sent * share[asked.arm] / sum(share.values())
            needed = 3 / asked.allowed  # -ln 5 %: so many without a miss show the share
            if requests < needed:
                each = f" in {asked.window_s:g} s" if asked.window_s else ""
                said.append(
                    f"{limit} needs {needed:,.0f} requests{each}, and gets about "
                    f"{requests:,.0f}. It will end in cannot tell unless it is broken."
                )
    return said


def _rate_rps(plan: Plan, phase: str | None) -> float | None:
    """Give the mean rate of a phase, or of all that is measured; `None`: the plan does not say."""
    stages = plan.traffic.stages or []
    measured = plan.traffic.phases[-len(stages) :] if stages else ()
    for span, stage in zip(measured, stages, strict=True):
        if span.name == phase:
            return stage.expected_requests / stage.length
    return plan.traffic.rate_rps
