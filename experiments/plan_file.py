"""A plan's file: found, read with what the command line sets, and checked whole.

Every error names the file, the key, the value and the rule, and comes before the first request.
"""

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from experiments.errors import PlanError, naming
from experiments.plan import Plan
from experiments.trace import read_trace, span_s
from experiments.validation import explain, read_toml

BUILT_IN = Path(__file__).parent / "plans"


def find(plan: str) -> Path:
    """Find a plan's file: a path, or the name of a built-in plan."""
    if plan.endswith(".toml") or "/" in plan:
        path = Path(plan)
        if not path.is_file():
            why = "is a folder, and a plan is a file" if path.is_dir() else "no such file"
            raise PlanError(f"{plan}: {why}.", f"Built-in plans are {_built_in_names()}.")
        return path
    path = BUILT_IN / f"{plan}.toml"
    if plan.endswith(".endpoint") or not path.is_file():
        also = f", and {plan} is a folder" if Path(plan).is_dir() else ""
        raise PlanError(
            f'There is no built-in plan "{plan}"{also}.',
            f"Built-in plans are {_built_in_names()}; a plan of your own is given as FILE.toml.",
        )
    return path


def _built_in_names() -> str:
    stems = (path.stem for path in sorted(BUILT_IN.glob("*.toml")))
    return ", ".join(stem for stem in stems if not stem.endswith(".endpoint"))


def load(path: Path, overrides: Sequence[str] = (), copy: Path | None = None) -> Plan:
    """Read a plan and check it; `overrides` are "key.path=value" with TOML values or bare words.

    One without a value leaves its key out. A `copy` of the file, which may have been edited since,
    is read in its place; other files are still those beside `path`.
    """
    table = read_toml(copy or path)
    if "variants" in table and "question" not in table:
        raise PlanError(f"{path}: is an endpoint file, not a plan.", "`abreast serve` takes it.")
    overridden = {_apply(table, override) for override in overrides}
    try:
        return _with_trace(Plan.model_validate(table, context={"is_a_users": True}), path)
    except ValidationError as error:
        raise explain(error, str(path), Plan, overridden) from None


def _with_trace(plan: Plan, path: Path) -> Plan:
    """Say how long the plan's trace measures, so that the plan as run can be read without it."""
    traffic = plan.traffic
    if traffic.trace is None:
        return plan
    with naming(path):
        times_s = read_trace(path.parent / traffic.trace)
    planned_s = traffic.planned_s if traffic.duration else span_s(times_s)
    if planned_s <= traffic.warmup:
        raise PlanError(
            f"{path}: traffic.trace lasts {planned_s:.3g} s, no longer than traffic.warmup = "
            f"{traffic.warmup:g} s.",
            "Give a longer trace, or a shorter warm-up.",
        )
    expected = int((times_s < planned_s).sum())
    if plan.limits is not None and expected > plan.limits.max_requests:
        raise PlanError(
            f"{path}: traffic.trace holds {expected:,} requests; limits.max_requests is "
            f"{plan.limits.max_requests:,}.",
            "Raise the limit, or shorten the run with traffic.duration.",
        )
    table = plan.model_dump(mode="json", exclude_none=True)
    table["traffic"]["duration"] = planned_s - traffic.warmup
    return Plan.model_validate(table)


def text_as_run(path: Path, overrides: Sequence[str]) -> str:
    """Give the plan's text, with what the command line set as comments, each once."""
    text = path.read_text(encoding="utf-8")
    # It is read again, where a line break in a value would end the comment.
    shown = ("".join(c if c.isprintable() else " " for c in each) for each in overrides)
    lines = (f"# set on the command line: {each}\n" for each in shown)
    notes = "".join(line for line in lines if line not in text)
    return text + (f"\n{notes}" if notes else "")


def inline(value: object) -> str:
    """Write a value as TOML on one line, which reads JSON's texts and numbers as they are."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(k)} = {inline(v)}" for k, v in value.items()) + "}"
    return json.dumps(value)


def _apply(table: dict[str, Any], override: str) -> str:
    key, equals, text = override.partition("=")
    names = [name.strip() for name in key.split(".")]
    if not equals or not all(names):
        raise PlanError(f"--set {override}: not of the form key=value.", "Example: traffic.rate=50")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    for name in names[:-1]:
        if not text.strip() and name not in table:
            return ".".join(names)  # which is left out already
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            raise PlanError(f"--set {override}: {name} is not a table.", "See the plan's keys.")
    table[names[-1]] = value
    if not text.strip():
        del table[names[-1]]
    return ".".join(names)
