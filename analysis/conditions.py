"""May these runs be compared? Their subject may differ, as a model; a condition may not."""

from collections.abc import Collection, Sequence

from analysis.read import Run
from analysis.results import Check
from analysis.validity import check_run
from analysis.verdict import untrusted
from experiments.errors import RunFolderError

_NONE = "not recorded"


def conditions(run: Run, arm: str) -> dict[str, str]:
    """Give all that an arm of a run must share with what it is compared with, by name."""
    variant = run.plan.variant_of(arm)
    shares = {name: each.share for name, each in run.plan.arms.items()}
    found = {"share of traffic": f"{shares[arm] / sum(shares.values()):.3g}"}
    for key, value in run.manifest.get("conditions", {}).items():
        if not key.startswith("instances of "):
            found[key] = value
        elif key == f"instances of {variant}":
            found["instances"] = value
    for table in (run.plan.traffic, run.plan.request):
        name = type(table).__name__.lower()
        for key, value in table.model_dump(mode="json", exclude_none=True).items():
            if key != "payloads":  # a path; their hash is a condition already
                found[f"{name}.{key}"] = str(value)
    return found


def accepted(run: Run, kept: Sequence[Run], allowed: Collection[str] = ()) -> None:
    """Take a run as a baseline's beside those that are kept.

    Raises:
        RunFolderError: it cannot be trusted, or differs from one of them in a condition.
    """
    if refusal := untrusted(check_run(run)):
        raise RunFolderError(f"{run.path}: {refusal.sentence}", " ".join(refusal.context))
    for arm in run.plan.arms:
        alike([(each, arm) for each in (*kept, run) if arm in each.plan.arms], allowed)


def alike(sides: Sequence[tuple[Run, str]], allowed: Collection[str] = ()) -> Check:
    """Check that runs, each with the arm in question, share their conditions but for the allowed.

    Raises:
        RunFolderError: they do not, naming what differs; or no condition has an allowed name.
    """
    described = [(run.id, conditions(run, arm)) for run, arm in sides]
    names = list(dict.fromkeys(key for _, each in described for key in each))
    for name in allowed:
        if name not in names:
            raise RunFolderError(
                f'--allow-different: "{name}" is no condition of these runs.',
                f"They are: {', '.join(names)}.",
            )
    first_id, first = described[0]
    differing: dict[str, str] = {}
    for run_id, other in described[1:]:
        for name in names:
            here, there = first.get(name, _NONE), other.get(name, _NONE)
            if here != there:
                differing.setdefault(
                    name, f"{name} was {here} in {first_id} and {there} in {run_id}"
                )
    refused = [name for name in differing if name not in allowed]
    if refused:
        flags = " ".join(f"--allow-different '{name}'" for name in refused)
        raise RunFolderError(
            f"These runs cannot be compared: {'; '.join(differing[name] for name in refused)}.",
            f"Make runs that are alike in this. If it does not matter here: {flags}",
        )
    title = "Same conditions"
    if differing:
        return Check(
            "conditions", title, "warn", f"{'; '.join(differing.values())}; this was allowed"
        )
    return Check("conditions", title, "ok", f"{len(names)} conditions are alike in all runs")
