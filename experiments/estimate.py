"""How many requests, minutes and instance-hours does a plan take, as far as it says?"""

from collections.abc import Mapping
from dataclasses import dataclass

from experiments.errors import PlanError
from experiments.plan import Plan
from experiments.search import least_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a plan takes over all its runs; `None` where the plan does not say."""

    runs: int
    requests: float | None
    minutes: float | None
    is_a_bound: bool = False
    """Whether these are the plan's [limits], which it stays below."""


def estimate(plan: Plan, firsts: int = 0) -> Estimate:
    """Reckon what a plan takes; of a search, whose probes depend on their outcome, its [limits].

    `firsts` counts the requests to each target that every run sends before its clock starts.
    """
    traffic, limits = plan.traffic, plan.limits
    if plan.question == "capacity":
        return Estimate(
            runs=1,
            requests=limits.max_requests if limits else None,
            minutes=limits.max_minutes if limits else None,
            is_a_bound=True,
        )
    runs = 1
    if plan.question == "regression":
        is_of_one = plan.gate.order == "blocks" or len(plan.arms) == 1
        runs = plan.gate.runs_per_side * (1 if is_of_one else 2)
        firsts *= plan.gate.runs_per_side  # also in abba, where a run is of one arm
    requests = traffic.expected_requests
    return Estimate(
        runs=runs,
        requests=None if requests is None else runs * requests + firsts,
        minutes=runs * traffic.planned_s / 60,
    )


def refuse_beyond_limits(plan: Plan, where: object, firsts: int) -> None:
    """Refuse a plan whose runs, with their `firsts`, send more or last longer than they may."""
    found, limits = estimate(plan, firsts), plan.limits
    requests, minutes = found.requests or firsts, found.minutes or 0.0
    if limits and (requests > limits.max_requests or minutes > limits.max_minutes):
        of_runs = "the plan" if found.runs == 1 else f"its {found.runs} runs"
        raise PlanError(
            f"{where}: {of_runs} would send about {requests:,.0f} requests, with {firsts:,} before "
            f"each run's clock starts, in {minutes:.1f} minutes; limits.max_requests is "
            f"{limits.max_requests:,} and limits.max_minutes {limits.max_minutes:g}, for all.",
            "Raise the limits, or send less: each TargetModel of the payloads is asked once.",
        )


def takes(plan: Plan, instances: Mapping[str, int], firsts: int = 0) -> str:
    """Say the requests, the minutes and the cost of a plan; `instances` as for `cost`."""
    found = estimate(plan, firsts)
    least = ""
    if plan.question == "capacity":
        common = "" if plan.capacity_asked.ladder else ", commonly four times that"
        least = f"at least {least_s(plan) / 60:.1f} minutes{common}; "
    if found.minutes is None:
        return f"{least}how long depends on what it finds"
    about = "at most" if found.is_a_bound else "about"
    requests = "" if found.requests is None else f"{found.requests:,.0f} requests in "
    return f"{least}{about} {requests}{found.minutes:.1f} minutes: {cost(plan, instances)}"


def cost(plan: Plan, instances: Mapping[str, int]) -> str:
    """Say the instance-hours that a plan takes, and the dollars where every arm has a price.

    `instances` counts those of each arm, as far as they are known; dollars are those of the
    instances while the plan runs, and an endpoint costs the same while nothing runs.
    """
    hours = (estimate(plan).minutes or 0.0) / 60
    prices = {name: arm.instance_price_usd_per_hour for name, arm in plan.arms.items()}
    known = {name: instances[name] for name in plan.arms if name in instances}
    if len(known) < len(plan.arms):
        each = (f", ${hours * usd:.2f} for one of {name}" for name, usd in prices.items() if usd)
        return f"{hours:.3g} hours of each instance{''.join(each)}"
    of_each = ", ".join(f"{name} {count}" for name, count in known.items())
    said = f"{hours * sum(known.values()):.3g} instance-hours (instances: {of_each})"
    if None in prices.values():
        return said
    return f"{said}, ${sum(hours * known[name] * (prices[name] or 0.0) for name in known):.2f}"
