"""Runs that differ in a condition are not compared; what differs is named."""

from pathlib import Path

import pytest

from analysis import accepted, regression
from analysis.conditions import alike, conditions
from analysis.read import Run
from experiments.errors import RunFolderError
from tests.analysis.several import blocks, of_one_arm, written

CONDITIONS = {
    "region": "eu-west-1",
    "payload set": "0a1b",
    "transport": "fast",
    "retries": "off",
    "botocore": "1.44.5",
    "client CPU": "EPYC",
    "client cores": "4",
    "instances of current": "1 x ml.c6i.large",
    "instances of other": "9 x ml.c6i.large",
}
SUBJECT = {"model of current": "m-1", "image of current": "i-1"}


def runs_of(
    tmp_path: Path, *overrides: str, name: str = "a", medians=(20.0, 20.1, 20.2), **changed
):
    runs = of_one_arm(
        tmp_path / name, "current", medians, *overrides,
        conditions={**CONDITIONS, **changed}, subject={**SUBJECT, "image of current": name},
    )  # fmt: skip
    for n, run in enumerate(runs):
        run.manifest["run_id"] = f"{name}-{n}"
    return runs


def test_another_model_is_the_subject_and_no_condition(tmp_path: Path) -> None:
    report = regression(runs_of(tmp_path), runs_of(tmp_path, name="b"))
    assert report.verdict.state == "same"
    assert report.checks[1].finding.endswith("are the same in all runs")
    assert {run.subject["image of current"] for run in report.runs} == {"a", "b"}


@pytest.mark.parametrize("name", [key for key in CONDITIONS if key != "instances of other"])
def test_another_condition_is_refused_and_named(tmp_path: Path, name: str) -> None:
    shown = "instances" if name.startswith("instances") else name
    other = runs_of(tmp_path, name="b", **{name: "other"})
    with pytest.raises(RunFolderError) as refused:
        regression(runs_of(tmp_path), other)
    assert f"{shown} was {CONDITIONS[name]} in a-0 and other in b-0" in refused.value.message
    assert f"--allow-different '{shown}'" in refused.value.hint
    report = regression(runs_of(tmp_path, name="c"), other, allowed=[shown])
    assert report.checks[1].state == "warn"
    assert shown in report.checks[1].finding
    assert report.checks[1].finding.endswith("this was allowed")


@pytest.mark.parametrize(
    ("override", "name"),
    [
        ("traffic.rate=41", "traffic.rate"),
        ("traffic.slots=7", "traffic.slots"),
        ('traffic.duration="121s"', "traffic.duration"),
        ('request.content_type="text/csv"', "request.content_type"),
    ],
)
def test_other_traffic_is_refused(tmp_path: Path, override: str, name: str) -> None:
    other = runs_of(tmp_path, override, name="b", medians=(20.0,))
    with pytest.raises(RunFolderError, match=name):
        alike([[(run, "current") for run in (*runs_of(tmp_path), *other)]])


def test_a_condition_that_one_run_lacks_differs(tmp_path: Path) -> None:
    (lacking,) = runs_of(tmp_path, name="b", medians=(20.0,))
    del lacking.manifest["conditions"]["region"]
    with pytest.raises(RunFolderError, match="region was eu-west-1 in a-0 and not recorded in b-0"):
        alike([[(run, "current") for run in (*runs_of(tmp_path), lacking)]])


def test_the_arms_of_a_block_must_be_on_one_type_of_instance(tmp_path: Path) -> None:
    pairs = [(20.0, 20.1), (21.0, 20.9), (22.0, 22.1)]

    def runs(name: str, instances: str) -> list[Run]:
        of = {"instances of current": "2 x ml.c6i.large", "instances of candidate": instances}
        return blocks(tmp_path / name, pairs, conditions=of)

    assert regression(runs("alike", "1 x ml.c6i.large")).checks[1].state == "ok"
    other = runs("other", "2 x ml.c6i.4xlarge")
    name = "instance type of the arms"
    with pytest.raises(
        RunFolderError, match=f"{name} was ml.c6i.large in current and ml.c6i.4xlarge in candidate"
    ):
        regression(other)
    assert regression(other, allowed=[name]).checks[1].state == "warn"


def test_a_share_of_traffic_is_the_arms_own(tmp_path: Path) -> None:
    shares = ('traffic.routing="pinned"', "arms.candidate.share=0.25")
    runs = [
        written(tmp_path / f"run-{n}", {"current": ms, "candidate": ms + n / 10}, *shares)
        for n, ms in enumerate((20.0, 21.0, 22.0))
    ]
    assert regression(runs).checks[1].state == "ok"


def test_an_allowed_name_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match='"regoin" is no condition') as refused:
        alike([[(run, "current") for run in runs_of(tmp_path)]], ["regoin"])
    assert "region" in refused.value.hint


def test_of_the_instances_those_of_the_arm_count(tmp_path: Path) -> None:
    (run,) = runs_of(tmp_path, medians=(20.0,))
    found = conditions(run, "current")
    assert found["instances"] == "1 x ml.c6i.large"
    assert not [key for key in found if "other" in key]
    assert found["share of traffic"] == "1"


def test_a_baseline_takes_trusted_runs_made_alike(tmp_path: Path) -> None:
    kept = runs_of(tmp_path)
    (fine,) = runs_of(tmp_path, name="b", medians=(20.0,))
    accepted(fine, kept)
    (elsewhere,) = runs_of(tmp_path, name="c", medians=(20.0,), region="us-east-1")
    with pytest.raises(RunFolderError, match="region"):
        accepted(elsewhere, kept)
    accepted(elsewhere, kept, ["region"])
    fine.requests["lateness_ms"] += 50
    with pytest.raises(RunFolderError, match="fails the check"):
        accepted(fine, kept)
