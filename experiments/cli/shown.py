"""What `show` and `--dry-run` say of a plan and of a run, without judging it."""

from pathlib import Path
from typing import TYPE_CHECKING

from experiments.errors import AbreastError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from experiments.plan import Plan
    from experiments.slo import Threshold
    from experiments.tables import Arm


def _told_by(arm: "Arm") -> list[str]:
    asked = arm.request.model_dump(exclude_none=True)
    return [f"{key.replace('_', ' ')} {value}" for key, value in asked.items()]


def summary(
    plan: "Plan", payloads: int, instances: "Mapping[str, int] | None" = None, firsts: int = 0
) -> str:
    """Say what a plan would do, a line for each part of it.

    With the `instances` of each arm, as far as they are known, it says what that takes of them;
    `firsts` are the requests before each run's clock starts.
    """
    from analysis.render.format import counted
    from experiments.estimate import estimate, takes

    traffic = plan.traffic
    expected = traffic.expected_requests
    arms = ", ".join(
        f"{arm} ({plan.variant_of(arm) or ', '.join(_told_by(each))})"
        for arm, each in plan.arms.items()
    )
    lines = [
        f"question   {plan.question}"
        + (f": {plan.baseline} is the baseline" if plan.baseline else ""),
        f"endpoint   {plan.endpoint.name} at {plan.endpoint.target}",
        f"arms       {arms}",
    ]
    if plan.question == "capacity":
        lines.append(_of_a_search(plan, payloads))
    else:
        requests = "as many as it gives" if expected is None else f"about {expected:,.0f}"
        lines += [
            f"traffic    {traffic.routing}, {traffic.summary}, "
            f"{traffic.warmup:g} s warm-up, {traffic.measured_s:g} s measured",
            f"requests   {requests}, from {counted(payloads, 'payload')}, "
            f"{traffic.concurrency:,} in flight at most",
        ]
    if firsts:
        lines.append(f"first      {firsts:,} before the clock starts, one to each target")
    if traffic.set_weights:
        shares = ", ".join(f"{arm} {own.share:g}" for arm, own in plan.arms.items())
        lines.append(f"weights    the endpoint's are set to {shares}, and put back afterwards")
    if plan.question == "regression":
        runs = f"{plan.gate.runs_per_side} a side, in {plan.gate.order}"
        lines.append(f"runs       {runs}: {estimate(plan).runs} of the above")
    if instances is not None:
        lines.append(f"takes      {takes(plan, instances, firsts)}")
    if asked := plan.gate if plan.question == "regression" else plan.compare:
        lines.append(f"guarded    {', '.join(_margin(*each) for each in asked.guarded.items())}")
    lines += [f"slo        {_asked(threshold)}" for threshold in plan.thresholds]
    return "\n".join(lines)


def _margin(metric: str, margin: float) -> str:
    unit = " pp" if metric == "error_rate" else "%"
    return f"{metric} ±{round(100 * margin, 9):g}{unit}"


def _of_a_search(plan: "Plan", payloads: int) -> str:
    from analysis.render.format import counted

    search = plan.capacity_asked
    rates = f"at {search.ladder} req/s" if search.ladder else "for the highest rate, about twenty"
    return (
        f"probes     {rates}, from {counted(payloads, 'payload')}: "
        f"each {plan.traffic.warmup:g} s warm-up and {search.probe:g} s or more measured"
    )


def local_instances(plan: "Plan", path: Path) -> dict[str, int]:
    """Count the instances of each arm that is a variant of one of the plan's local endpoints."""
    from experiments.local import config

    if plan.endpoint.config is None:
        return {}
    described = {each.name: each for each in config.load_all(path.parent / plan.endpoint.config)}
    counts = {}
    for arm in plan.arms:
        at = described.get(plan.endpoint_of(arm))
        if at and (variant := at.variants.get(plan.variant_of(arm) or "")):
            counts[arm] = variant.instances
    return counts


def _asked(threshold: "Threshold") -> str:
    where = f" in {threshold.phase}" if threshold.phase else ""
    each = f" in every {threshold.window_s:g} s" if threshold.window_s else ""
    if threshold.limit_ms is None:
        return f"{threshold.arm}: at most {100 * threshold.allowed:g}% fail{where}{each}"
    return f"{threshold.arm}: {threshold.metric} within {threshold.limit_ms:g} ms{where}{each}"


def run_summary(path: Path) -> str:
    """Say what a run folder holds, without judging it; of a folder of several, what each holds."""
    from analysis import read_run
    from experiments import run_folder, series

    if several := series.runs(run_folder.open_folder(path)):
        return "\n\n".join(run_summary(each.path) for each in several)
    run = read_run(path)
    outcomes = run.requests["outcome"].value_counts()
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    lines = [
        f"run        {run.id}, started {run.manifest['started_at']}, {run.manifest['ended_as']}",
        "requests   " + ", ".join(f"{n:,} {name}" for name, n in run.counts.items()),
        "outcomes   " + (", ".join(f"{n:,} {o}" for o, n in outcomes.items()) or "none"),
        f"folder     {size / 1e6:.1f} MB: "
        + ", ".join(sorted(file.name for file in path.iterdir())),
    ]
    return summary(run.plan, run.requests["payload"].nunique()) + "\n" + "\n".join(lines)


def capture_summary(path: Path, capture: Path) -> str:
    """Say how many of a run's requests the endpoint's data capture holds."""
    from analysis import read_run
    from experiments.captured import captured_ids, join
    from experiments.invocation import inference_id

    run = read_run(path)
    if run.plan.request.inference_id is not True:
        raise AbreastError(
            f"{path}: its requests carried no InferenceId, by which capture is joined to records.",
            "Set request.inference_id = true in the plan, and run again.",
        )
    rows = zip(run.requests["seq"], run.requests["outcome"], strict=True)
    asked = ((inference_id(run.id, int(seq)), outcome == "ok") for seq, outcome in rows)
    found = join(asked, captured_ids(capture))
    return (
        f"capture    {found.matched:,} matched, {found.missing:,} missing, "
        f"{found.doubled:,} doubled; {found.foreign:,} events of other requests"
        + ("; a sampled capture leaves requests out" if found.missing else "")
    )
