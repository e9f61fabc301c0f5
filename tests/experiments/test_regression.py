"""Which runs a gate makes, and what each sets in the plan."""

from pathlib import Path

import pytest

from experiments.errors import PlanError
from experiments.plan import Plan
from experiments.plan_file import find, load
from experiments.regression import settings_of_runs

PLAN = find("regression")
GREEN = 'arms.candidate.request={ target_variant = "green-v2" }'


def plans_of(*overrides: str) -> list[Plan]:
    return [load(PLAN, [*overrides, *own]) for own in settings_of_runs(PLAN, overrides)]


def test_in_blocks_every_run_has_both_arms_and_a_seed_of_its_own() -> None:
    plans = plans_of("regression.runs_per_side=4", "seed=20")
    assert [plan.seed for plan in plans] == [20, 21, 22, 23]
    assert {tuple(plan.arms) for plan in plans} == {("current", "candidate")}


def test_abba_sends_to_one_arm_a_run_each_first_as_often() -> None:
    plans = plans_of("regression.runs_per_side=4", 'regression.order="abba"', GREEN)
    order = "".join({"current": "A", "candidate": "B"}[arm] for plan in plans for arm in plan.arms)
    assert order == "ABBAABBA"
    assert [plan.seed for plan in plans] == [7, 7, 8, 8, 9, 9, 10, 10]
    assert {plan.traffic.routing for plan in plans} == {"pinned"}
    assert plans[1].variant_of("candidate") == "green-v2"
    assert plans[0].variant_of("current") == "current"
    assert {plan.baseline for plan in plans} == {"current"}


def test_of_one_arm_runs_are_made_to_be_a_baseline() -> None:
    plans = plans_of("arms={ current = {} }", 'traffic.routing="pinned"')
    assert [tuple(plan.arms) for plan in plans] == [("current",)] * 5


def test_a_run_whose_plan_is_wrong_is_refused_before_the_first() -> None:
    with pytest.raises(PlanError, match=r'Run 2 of 10: .*slo\.arms names "current"'):
        plans_of('regression.order="abba"', 'slo={ arms = { current = { p99 = "300ms" } } }')


@pytest.mark.parametrize("table", ["compare", "regression"])
def test_without_a_regression_table_the_margins_are_those_of_compare(table, tmp_path) -> None:
    asked = f'[{table}]\nbaseline = "current"\nmargins = {{ p50 = "30%" }}\n'
    path = tmp_path / "plan.toml"
    path.write_text(PLAN.read_text().partition("[regression]")[0] + asked)
    assert load(path).gate.guarded == {"p50": 0.30, "error_rate": 0.005}


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("regression.baseline=other", 'it is "other", and the arms are current, candidate'),
        ("arms={ a = {}, b = {}, c = {} }", "needs one arm, or two"),
        ("regression.order=random", "regression.order"),
        ("regression.runs_per_side=0", "regression.runs_per_side"),
        ('regression.margins={ p500 = "5%" }', "p500"),
    ],
)
def test_a_plan_that_cannot_be_judged_is_refused(override: str, said: str) -> None:
    with pytest.raises(PlanError) as refused:
        load(PLAN, [override])
    assert said in str(refused.value)


def test_a_plan_without_margins_has_those_of_the_reference(tmp_path: Path) -> None:
    text = PLAN.read_text().partition("[regression]")[0]
    path = tmp_path / "bare.toml"
    path.write_text(text + '[regression]\nbaseline = "current"\n')
    asked = load(path).gate
    assert asked.guarded == {"p50": 0.05, "p90": 0.075, "p99": 0.10, "error_rate": 0.005}
    assert (asked.runs_per_side, asked.order) == (5, "blocks")
