"""May these runs be compared? Their subject may differ, as a model; a condition may not."""

from collections.abc import Collection, Sequence

from analysis.read import Run
from analysis.results.run import Check
from analysis.scaling import described_as
from analysis.validity import check_run
from analysis.verdict import untrusted
from experiments.errors import RunFolderError

_NONE = "not recorded"
INSTANCE_TYPE = "instance type of the arms"


def conditions(run: Run, arm: str) -> dict[str, str]:
    """Give all that an arm of a run must share with what it is compared with, by name."""
    variant = described_as(run, arm)
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
    alike([[(k, a) for k in (*kept, run) if a in k.plan.arms] for a in run.plan.arms], allowed)


def alike(
    groups: Sequence[Sequence[tuple[Run, str]]],
    allowed: Collection[str] = (),
    *,
    beside: bool = False,
) -> Check:
    """Check that the runs of each group share their conditions but for the allowed.

    A run stands with the arm in question. `beside` are groups of arms that are compared within a
    run: they must be on one type of instance.

    Raises:
        RunFolderError: they do not, naming what differs; or no condition has an allowed name.
    """
    described = [[(run.id, conditions(run, arm)) for run, arm in group] for group in groups]
    names = list(dict.fromkeys(key for group in described for _, each in group for key in each))
    if beside:
        names.append(INSTANCE_TYPE)
        described.append([(arm, _instance_type(run, arm)) for (run, arm), *_ in groups])
    for name in allowed:
        if name not in names:
            raise RunFolderError(
                f'--allow-different: "{name}" is no condition of these runs.',
                f"They are: {', '.join(names)}.",
            )
    differing: dict[str, str] = {}
    for (first_id, first), *others in described:
        for other_id, other in others:
            for name in names:
                here, there = first.get(name, _NONE), other.get(name, _NONE)
                if here != there:
                    said = f"{name} was {here} in {first_id} and {there} in {other_id}"
                    differing.setdefault(name, said)
    refused = [name for name in differing if name not in allowed]
    if refused:
        flags = " ".join(f"--allow-different '{name}'" for name in refused)
        raise RunFolderError(
            f"These runs cannot be compared: {'; '.join(differing[name] for name in refused)}.",
            "Make runs that are alike in this. If it does not matter here, abreast regression, "
            f"compare and baseline add take {flags}",
        )
    title = "Same conditions"
    if differing:
        said = f"{'; '.join(differing.values())}; this was allowed"
        return Check("conditions", title, "warn", said)
    said = f"instances, payloads, versions and the like: all {len(names)} are the same in all runs"
    return Check("conditions", title, "ok", said)


def _instance_type(run: Run, arm: str) -> dict[str, str]:
    instances = conditions(run, arm).get("instances", _NONE)
    return {INSTANCE_TYPE: instances.rpartition(" x ")[2]}
