"""Makes the runs of a regression gate: both arms in each run, or one arm a run in ABBA order.

Each run starts the local endpoint anew, where it is local, and has a seed of its own, so that what
differs between deployments and between schedules is part of the noise that the gate sees.
"""

from collections.abc import Sequence
from pathlib import Path

from experiments.errors import naming
from experiments.locust_process import Rig
from experiments.plan import Plan
from experiments.plan_file import inline, load
from experiments.run_folder import RunFolder
from experiments.series import ended_as, make, series


def make_runs(
    settings: Sequence[Sequence[str]], plan_path: Path, overrides: Sequence[str], rig: Rig
) -> RunFolder:
    """Make a run with each of the settings, and give the folder that holds them.

    After Ctrl-C it is given with the runs that were made; its manifest's `ended_as` says so.

    Raises:
        AbreastError: a run could not start. What was made before it is kept.
        KeyboardInterrupt: no run came to its end.
    """
    with series(plan_path, overrides, rig.out, lambda run: ended_as(run) == "complete") as folder:
        for number, own in enumerate(settings, start=1):
            label = f"run {number} of {len(settings)}"
            rig.tell({"kind": "note", "text": f"{label.capitalize()}."})
            make(folder, plan_path, [*overrides, *own], label, rig)
    return folder


def settings_of_runs(plan_path: Path, overrides: Sequence[str] = ()) -> list[list[str]]:
    """Give what each run sets in the plan, in the order of the runs."""
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
    for number, own in enumerate(settings, start=1):
        with naming(f"Run {number} of {len(settings)}"):
            load(plan_path, [*overrides, *own])
    return settings


def _one_arm(plan: Plan, arm: str) -> str:
    """Set one arm in place of all."""
    table = plan.arms[arm].model_dump(mode="json", exclude_none=True)
    return f"arms={inline({arm: table})}"
