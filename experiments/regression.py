"""Makes the runs of a regression gate: both arms in each run, or one arm a run in ABBA order.

Each run starts the local endpoint anew, where it is local, and has a seed of its own, so that what
differs between deployments and between schedules is part of the noise that the gate sees.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from experiments import run_folder
from experiments.errors import PlanError, naming
from experiments.plan import Plan
from experiments.plan_file import load
from experiments.reach import Tell
from experiments.run_folder import RunFolder
from experiments.series import make, runs, series
from experiments.workers import Workers


def make_runs(
    settings: Sequence[Sequence[str]],
    plan_path: Path,
    overrides: Sequence[str],
    out: Path,
    tell: Tell,
    web: bool = False,
    workers: Workers | None = None,
) -> RunFolder:
    """Make a run with each of the settings, and give the folder that holds them.

    After Ctrl-C it is given with the runs that were made; its manifest's `ended_as` says so.

    Raises:
        AbreastError: a run could not start. What was made before it is kept.
        KeyboardInterrupt: no run came to its end.
    """
    folder = None
    try:
        with series(plan_path, overrides, out) as folder:
            for number, own in enumerate(settings, start=1):
                tell({"kind": "note", "text": f"Run {number} of {len(settings)}."})
                label = f"run {number} of {len(settings)}"
                made = make(
                    folder, plan_path, [*overrides, *own], tell, label, web=web, workers=workers
                )
                if _ended_as(made) == "interrupted":
                    raise KeyboardInterrupt
    except KeyboardInterrupt:
        if folder is None or all(_ended_as(made) != "complete" for made in runs(folder)):
            raise
    return folder


def settings_of_runs(plan_path: Path, overrides: Sequence[str] = ()) -> list[list[str]]:
    """Give what each run sets in the plan, in the order of the runs.

    Raises:
        PlanError: the plan of one of them is wrong, or all together go beyond the plan's limits.
    """
    plan = load(plan_path, overrides)
    asked = plan.gate
    seeds = [f"seed={plan.seed + block}" for block in range(asked.runs_per_side)]
    if asked.order == "blocks" or len(plan.arms) == 1:
        settings = [[seed] for seed in seeds]
    else:
        first, second = (_one_arm(plan, arm) for arm in plan.arms)
        settings = [
            [seed, 'traffic.routing="pinned"', only]
            for block, seed in enumerate(seeds)
            for only in ((second, first) if block % 2 else (first, second))
        ]
    _check_limits(plan, len(settings))
    for number, own in enumerate(settings, start=1):
        with naming(f"Run {number} of {len(settings)}"):
            load(plan_path, [*overrides, *own])
    return settings


def _one_arm(plan: Plan, arm: str) -> str:
    """Set one arm in place of all; TOML reads JSON's texts and numbers as they are."""
    table = plan.arms[arm].model_dump(mode="json", exclude_none=True)
    return f"arms={_inline({arm: table})}"


def _inline(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {_inline(v)}" for k, v in value.items()) + "}"
    return json.dumps(value)


def _check_limits(plan: Plan, count: int) -> None:
    if plan.limits is None:
        return
    requests = (plan.traffic.expected_requests or 0) * count
    minutes = plan.traffic.planned_s * count / 60
    if requests > plan.limits.max_requests or minutes > plan.limits.max_minutes:
        raise PlanError(
            f"The {count} runs send about {requests:,.0f} requests in {minutes:.1f} minutes; "
            f"limits.max_requests is {plan.limits.max_requests:,} and limits.max_minutes "
            f"{plan.limits.max_minutes:g}, for all of them together.",
            "Raise the limits, or make fewer or shorter runs.",
        )


def _ended_as(made: RunFolder) -> str:
    return str(run_folder.read_manifest(made)["ended_as"])
