"""A run in which instances came or went is not to be trusted, and says how to prevent it."""

import argparse
import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from analysis.read import read_run
from analysis.scaling import held_check, instances_of, unchanged_check
from tests.analysis.runs import record, write_run


def variant(instances, desired=None):
    return {"instances": instances, "desired_instances": desired or instances}


def endpoint(current, candidate=None):
    return {"variants": {"current": current, "candidate": candidate or variant(1)}}


@pytest.fixture
def run(tmp_path: Path):
    return read_run(write_run(tmp_path / "run", [record(0, "current", 11.0, 5.0)]))


def check(run, before, after):
    return held_check(replace(run, manifest={**run.manifest, "endpoint": before,
                                             "endpoint_after": after}))  # fmt: skip


def test_as_many_instances_before_as_after_are_held(run):
    found = check(run, endpoint(variant(2)), endpoint(variant(2)))
    assert found.state == "ok"
    assert "current 2" in found.finding


@pytest.mark.parametrize(
    ("before", "after"), [(variant(2), variant(3)), (variant(2), variant(2, 4)),
                          (variant(2, 3), variant(2, 3))],
)  # fmt: skip
def test_instances_that_moved_or_are_to_move_make_the_run_invalid(run, before, after):
    found = check(run, endpoint(before), endpoint(after))
    assert found.state == "fail"
    assert found.finding.startswith("current had 2 and ")


def test_the_next_step_is_a_command_of_the_aws_cli(run):
    said = check(run, endpoint(variant(1)), endpoint(variant(2))).next_step
    command = shlex.split(said[said.index("aws ") : said.index(" and resume")])
    assert command[:3] == ["aws", "application-autoscaling", "register-scalable-target"]
    parser = argparse.ArgumentParser()
    for option in ("service-namespace", "resource-id", "scalable-dimension", "suspended-state"):
        parser.add_argument(f"--{option}", required=True)
    given = parser.parse_args(command[3:])
    assert given.resource_id == "endpoint/digits/variant/current"
    assert given.suspended_state.count("=true") == 3
    assert len(said) <= 600  # what a report shows of a next step


def test_instances_that_are_known_before_and_not_after_are_suspect(run):
    found = check(run, endpoint(variant(2)), {"note": "not allowed"})
    assert found.state == "warn"
    assert "current, candidate had after the run is not known: not allowed" in found.finding


@pytest.mark.parametrize(
    ("status", "ended_at", "state"),
    [("Successful", "2026-01-31T12:00:00+00:00", "fail"), ("InProgress", None, "fail"),
     ("Successful", "2026-01-31T11:59:59+00:00", "ok"), ("Failed", None, "ok")],
)  # fmt: skip
def test_a_variant_that_was_scaled_and_back_makes_the_run_invalid(run, status, ended_at, state):
    activity = {
        "variant": "current", "status": status, "description": "Setting desired count to 3.",
        "started_at": "2026-01-31T11:50:00+00:00", "ended_at": ended_at,
    }  # fmt: skip
    scaled = replace(run, manifest={**run.manifest, "scaling": {"activities": [activity]}})
    found = check(scaled, endpoint(variant(2)), endpoint(variant(2)))
    assert found.state == state
    assert ("Setting desired count to 3." in found.finding) == (state == "fail")


def test_that_scaling_activity_may_not_be_read_is_said(run):
    without = replace(run, manifest={**run.manifest, "scaling": {"note": "AccessDenied"}})
    found = check(without, endpoint(variant(2)), endpoint(variant(2)))
    assert (found.state, "AccessDenied" in found.finding) == ("ok", True)


SERVED = {"weight": 1.0, "desired_weight": 1.0, "model": "m1", "image": "i1", **variant(1)}
STOOD = {"config": "c1", "status": "InService", "pending": None,
         "variants": {"current": SERVED, "candidate": SERVED, "other": SERVED}}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "routing", "state", "said"),
    [({}, "paired", "ok", "as read 5 times"),
     ({"current": {"model": "m2"}}, "paired", "fail", "the model of current was m1 and is m2"),
     ({"other": {"image": "i2"}}, "paired", "warn", "the image of other was i1 and is i2"),
     ({"other": {"weight": 2.5}}, "paired", "warn", "the weight of other was 1.0 and is 2.5"),
     ({"other": {"weight": 2.5}}, "weighted", "fail", "the weight of other was 1.0 and is 2.5"),
     ({"current": {"weight": None}}, "paired", "warn", "was 1.0 and is None"),
     ({"status": "Updating"}, "paired", "warn", "the status was InService and is Updating"),
     ({"pending": "c2"}, "paired", "warn", "the config that is being deployed was None and is c2"),
     ({"config": "c2"}, "paired", "fail", "the config was c1 and is c2 (12:01:30)")],
)  # fmt: skip
def test_what_changed_in_mid_run_is_named_with_its_time(
    tmp_path: Path, change, routing, state, said
):
    variants = {name: {**own, **change.get(name, {})} for name, own in STOOD["variants"].items()}
    whole = {key: value for key, value in change.items() if key not in variants}
    during = {**STOOD, **whole, "variants": variants}
    readings = {"every_s": 60.0, "taken": 4, "failed": 1}
    rows = [record(0, "current", 11.0, 5.0)]
    folder = write_run(
        tmp_path / "run", rows, [f"traffic.routing={routing}"],
        endpoint=STOOD, endpoint_after=STOOD, endpoint_readings=readings,
    )  # fmt: skip
    events = [("2026-01-31T12:00:00.000+00:00", STOOD), ("2026-01-31T12:01:30.000+00:00", during)]
    lines = [json.dumps({"at": at, "kind": "endpoint", **seen}) for at, seen in events]
    (folder / "timeline.jsonl").write_text("\n".join([*lines, '{"at": "2026-01-31T12:0']))
    found = unchanged_check(read_run(folder))
    assert (found.state, said in found.finding) == (state, True), found.finding
    assert (found.next_step is None) == (state == "ok")


@pytest.mark.parametrize("damage", [lambda text: text.replace("12:01", "\0"), lambda _: ""])
def test_a_timeline_that_is_not_whole_vouches_for_nothing(tmp_path: Path, damage):
    folder = write_run(
        tmp_path / "run", [record(0, "current", 11.0, 5.0)],
        endpoint=STOOD, endpoint_after=STOOD, endpoint_readings={"taken": 2, "failed": 0},
    )  # fmt: skip
    moments = ("2026-01-31T12:00:00.000+00:00", "2026-01-31T12:01:30.000+00:00")
    text = "".join(json.dumps({"at": at, "kind": "endpoint", **STOOD}) + "\n" for at in moments)
    (folder / "timeline.jsonl").write_text(text)
    assert unchanged_check(read_run(folder)).state == "ok"
    (folder / "timeline.jsonl").write_text(damage(text))
    assert unchanged_check(read_run(folder)).state == "warn"


def test_instances_that_came_and_went_in_mid_run_make_it_invalid(tmp_path: Path):
    folder = write_run(
        tmp_path / "run", [record(0, "current", 11.0, 5.0)], endpoint=STOOD, endpoint_after=STOOD
    )
    more = {"current": SERVED | variant(1, 3), "candidate": SERVED, "other": SERVED}
    event = {"at": "2026-01-31T12:01:30.000+00:00", "kind": "endpoint", **STOOD, "variants": more}
    (folder / "timeline.jsonl").write_text(json.dumps(event))
    found = held_check(read_run(folder))
    assert (found.state, found.finding[:26]) == ("fail", "current had 1 and 3 instan")


ONE_ENDPOINT = ['arms.current.request.target_model="a.tar.gz"',
                'arms.candidate.request.target_model="b.tar.gz"']  # fmt: skip


def test_arms_of_one_variant_that_is_scaled_or_changed_cannot_be_trusted(tmp_path: Path):
    after = STOOD | {"variants": {"AllTraffic": SERVED | {"image": "i2", **variant(3)}}}
    before = STOOD | {"variants": {"AllTraffic": SERVED}}
    activity = {
        "variant": "AllTraffic", "status": "Successful", "description": "Setting to 3.",
        "started_at": "2026-01-31T12:01:00+00:00", "ended_at": "2026-01-31T12:02:00+00:00",
    }  # fmt: skip
    readings = {"every_s": 60.0, "taken": 2, "failed": 0}
    rows = [record(0, "current", 11.0, 5.0)]
    known = {"endpoint": before, "endpoint_readings": readings}
    moved = write_run(tmp_path / "m", rows, ONE_ENDPOINT, **known, endpoint_after=after)
    found = held_check(read_run(moved))
    assert (found.state, "AllTraffic had 1 and 3 instances" in found.finding) == ("fail", True)
    assert unchanged_check(read_run(moved)).state == "fail"
    back = write_run(tmp_path / "b", rows, ONE_ENDPOINT, **known, endpoint_after=before,
                     scaling={"activities": [activity]})  # fmt: skip
    assert "AllTraffic was scaled: Setting to 3." in held_check(read_run(back)).finding


def test_without_a_description_nothing_is_said(run):
    assert held_check(run) is None
    unknown = endpoint(variant(None), variant(None))
    assert check(run, unknown, unknown) is None


def test_instances_are_those_of_the_arms_variant(run):
    described = replace(run, manifest={**run.manifest, "endpoint": endpoint(variant(3))})
    assert instances_of(described, "current") == 3
    assert instances_of(run, "current") is None
