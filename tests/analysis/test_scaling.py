"""A run in which instances came or went is not to be trusted, and says how to prevent it."""

import argparse
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from analysis.read import read_run
from analysis.scaling import held_check, instances_of
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


def test_without_a_description_nothing_is_said(run):
    assert held_check(run) is None
    unknown = endpoint(variant(None), variant(None))
    assert check(run, unknown, unknown) is None


def test_instances_are_those_of_the_arms_variant(run):
    described = replace(run, manifest={**run.manifest, "endpoint": endpoint(variant(3))})
    assert instances_of(described, "current") == 3
    assert instances_of(run, "current") is None
