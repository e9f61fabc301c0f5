"""docs/distributed.md and its manifests: of their schemas, and as the program has it."""

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from typer.testing import CliRunner

from experiments.cli.commands import app
from experiments.sagemaker.invoke import READ_TIMEOUT_S
from experiments.workers import LOOPBACK, PORT

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "distributed.md").read_text(encoding="utf-8")
KUBERNETES = "1.37"
SHIPPING_S = 30
"""How long a worker that is told to end still brings its records."""


def objects() -> dict[tuple[str, str], Any]:
    found = yaml.safe_load_all((DOCS / "workers.yaml").read_text(encoding="utf-8"))
    return {(each["kind"], each["metadata"]["name"]): each for each in found}


def options_of(arguments: list[str]) -> dict[str, str]:
    return dict(zip(arguments[-4::2], arguments[-3::2], strict=True))


@pytest.mark.parametrize("key", objects(), ids="-".join)
def test_each_object_follows_the_schema_of_kubernetes(key: tuple[str, str]) -> None:
    kubernetes_validate.validate(objects()[key], KUBERNETES, strict=True)


def test_workers_find_the_master_and_nobody_else_does() -> None:
    service = objects()["Service", "abreast-master"]["spec"]
    policy = objects()["NetworkPolicy", "abreast-master"]["spec"]
    master = objects()["Job", "abreast-master"]["spec"]
    worker = objects()["Job", "abreast-worker"]["spec"]
    label = master["template"]["metadata"]["labels"]
    assert service["selector"] == policy["podSelector"]["matchLabels"] == label
    (rule,) = policy["ingress"]
    assert [each["podSelector"]["matchLabels"] for each in rule["from"]] == [
        worker["template"]["metadata"]["labels"]
    ]
    ports = {service["ports"][0]["port"], rule["ports"][0]["port"]}
    assert ports == {PORT}
    (leads,) = master["template"]["spec"]["containers"]
    (sends,) = worker["template"]["spec"]["containers"]
    options = options_of(leads["args"])
    assert options == {"--expect-workers": "4", "--master-bind-host": "0.0.0.0"}
    assert worker["parallelism"] == worker["completions"] == 4
    assert sends["args"][:3] == ["worker", "--master-host", "abreast-master"]
    for job in (master, worker):
        pod = job["template"]["spec"]
        assert (job["backoffLimit"], pod["restartPolicy"]) == (0, "Never")
        assert pod["terminationGracePeriodSeconds"] > READ_TIMEOUT_S + 5 + SHIPPING_S
        mounts = {each["name"] for each in pod["containers"][0]["volumeMounts"]}
        assert mounts == {each["name"] for each in pod["volumes"]}


def test_compose_starts_as_many_workers_as_are_expected_and_publishes_nothing() -> None:
    services = yaml.safe_load((DOCS / "docker-compose.yml").read_text())["services"]
    master, worker = services["master"], services["worker"]
    options = options_of(master["command"])
    assert options["--expect-workers"] == str(worker["deploy"]["replicas"])
    assert worker["command"][:3] == ["worker", "--master-host", "master"]
    assert master["networks"] == worker["networks"]
    assert "ports" not in master
    assert {master["restart"], worker["restart"]} == {"no"}


def test_every_option_of_the_page_is_one() -> None:
    ours = "".join(
        CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "200"}).output
        for name in ("run", "worker")
    )
    of_locust = {"--headless", "--master", "--worker", "--plan", "--expect-workers-max-wait"}
    named = set(re.findall(r"(--[a-z][a-z-]+)", PAGE)) - of_locust
    assert named
    assert all(option in ours for option in named), named
    assert LOOPBACK in PAGE
