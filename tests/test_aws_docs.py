"""docs/aws.md and what lies beside it: a policy, a Dockerfile and a Job that are what they say."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from experiments.plan_file import load
from experiments.policy import minimal_policy
from experiments.sagemaker.invoke import READ_TIMEOUT_S
from tests.end_to_end.test_doctor import ALL

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGE = (DOCS / "aws.md").read_text(encoding="utf-8")
KUBERNETES = "1.37"


def test_the_policy_is_that_of_the_readmes_plan(tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```toml\n(question.*?)```", readme, re.DOTALL)
    (tmp_path / "my-plan.toml").write_text(text, encoding="utf-8")
    plan = load(tmp_path / "my-plan.toml")
    (printed,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    policy = minimal_policy(plan, region="eu-west-1", account="123456789012")
    assert json.loads(printed) == policy


def test_every_check_is_explained_in_its_order() -> None:
    (table,) = re.findall(r"\| check \|.*?\n\n", PAGE, re.DOTALL)
    assert re.findall(r"^\| ([A-Z][a-z ]+) \|", table, re.MULTILINE) == ALL


def job() -> Any:
    return yaml.safe_load((DOCS / "job.yaml").read_text(encoding="utf-8"))


def test_the_job_follows_the_schema_of_kubernetes() -> None:
    assert f"Kubernetes {KUBERNETES} in kubernetes-validate" in PAGE
    kubernetes_validate.validate(job(), KUBERNETES, strict=True)
    wrong = job()
    wrong["spec"]["template"]["spec"]["restartPolcy"] = "Never"
    with pytest.raises(kubernetes_validate.ValidationError, match="restartPolcy"):
        kubernetes_validate.validate(wrong, KUBERNETES, strict=True)


def test_the_job_sends_once_and_waits_for_what_it_sent() -> None:
    spec = job()["spec"]
    pod = spec["template"]["spec"]
    assert (spec["backoffLimit"], pod["restartPolicy"]) == (0, "Never")
    assert pod["terminationGracePeriodSeconds"] > READ_TIMEOUT_S + 5
    mounts = {each["name"]: each["mountPath"] for each in pod["containers"][0]["volumeMounts"]}
    assert mounts.keys() == {each["name"] for each in pod["volumes"]}
    for container, command in (("initContainers", "doctor"), ("containers", "run")):
        (only,) = pod[container]
        assert only["args"][:2] == [command, f"{mounts['plan']}/my-plan.toml"]
        assert "cpu" not in only["resources"]["limits"]


def test_the_image_holds_all_that_is_installed() -> None:
    lines = (DOCS / "Dockerfile").read_text(encoding="utf-8").splitlines()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    copied = [word for line in lines if line.startswith("COPY ") for word in line.split()[1:-1]]
    assert all((ROOT / name).exists() for name in copied)
    needed = project["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]
    about = [project["project"]["readme"], *project["project"]["license-files"]]
    assert {*needed, *about, "pyproject.toml", "constraints.txt"} == set(copied)
    (version,) = re.findall(r"^FROM python:3\.(\d+)-slim$", "\n".join(lines), re.MULTILINE)
    assert f">=3.{version}" >= project["project"]["requires-python"]
    (entry,) = [line for line in lines if line.startswith("ENTRYPOINT ")]
    assert json.loads(entry.removeprefix("ENTRYPOINT "))[0] in project["project"]["scripts"]
