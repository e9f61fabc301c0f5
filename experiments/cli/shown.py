"""What `show` and `--dry-run` say of a plan and of a run, without judging it."""

from pathlib import Path
from typing import TYPE_CHECKING

from experiments.errors import AbreastError

if TYPE_CHECKING:
    from experiments.plan import Plan
    from experiments.slo import Threshold


def summary(plan: "Plan", payloads: int) -> str:
    """Say what a plan would do, a line for each part of it."""
    traffic = plan.traffic
    expected = traffic.expected_requests
    arms = ", ".join(
        f"{arm} ({plan.variant_of(arm) or 'told apart otherwise'})" for arm in plan.arms
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
            f"requests   {requests}, from {payloads:,} payloads, "
            f"{traffic.concurrency:,} in flight at most",
        ]
    if plan.question == "regression":
        lines.append(_of_several_runs(plan))
    if asked := plan.gate if plan.question == "regression" else plan.compare:
        margins = (f"{metric} {margin:.2%}" for metric, margin in asked.margins.items())
        lines.append(f"guarded    {', '.join(margins)}")
    lines += [f"slo        {_asked(threshold)}" for threshold in plan.thresholds]
    return "\n".join(lines)


def _of_a_search(plan: "Plan", payloads: int) -> str:
    search = plan.capacity_asked
    rates = f"at {search.ladder} req/s" if search.ladder else "for the highest rate, about twenty"
    return (
        f"probes     {rates}, from {payloads:,} payloads: "
        f"each {plan.traffic.warmup:g} s warm-up and {search.probe:g} s or more measured"
    )


def _of_several_runs(plan: "Plan") -> str:
    asked, expected = plan.gate, plan.traffic.expected_requests
    runs = asked.runs_per_side * (2 if asked.order == "abba" else 1)
    requests = "" if expected is None else f"about {runs * expected:,.0f} requests in "
    return (
        f"runs       {asked.runs_per_side} a side, in {asked.order}: {runs} of the above, "
        f"{requests}{runs * plan.traffic.planned_s / 60:.1f} minutes"
    )


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
        f"run        {run.id}, started {run.manifest['started_at']}, ended as "
        f"{run.manifest['ended_as']}",
        "requests   " + ", ".join(f"{n:,} {name}" for name, n in run.counts.items()),
        "outcomes   " + (", ".join(f"{n:,} {o}" for o, n in outcomes.items()) or "none"),
        f"folder     {size / 1e6:.1f} MB: "
        + ", ".join(sorted(file.name for file in path.iterdir())),
    ]
    return summary(run.plan, run.requests["payload"].nunique()) + "\n" + "\n".join(lines)


def capture_summary(path: Path, capture: Path) -> str:
    """Say how many of a run's requests the endpoint's data capture holds.

    Raises:
        AbreastError: the run's requests carry no InferenceId, or there is no capture in the folder.
    """
    from analysis import read_run
    from experiments.captured import captured_ids, join
    from experiments.invocation import inference_id

    run = read_run(path)
    if not run.plan.request.inference_id:
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
