"""docs/ci.md: its workflow is one that GitHub takes, and its plan one that runs."""

import re
import subprocess
import sys
from pathlib import Path

from analysis.runs_needed import foreseen_runs
from experiments.launch import check_endpoint
from experiments.plan import load

PAGE = Path(__file__).parents[1] / "docs" / "ci.md"
TEXT = PAGE.read_text(encoding="utf-8")


def test_the_workflow_follows_the_schema_of_workflows(tmp_path: Path) -> None:
    (workflow,) = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    path = tmp_path / "gate.yml"
    check = (
        sys.executable,
        "-m",
        "check_jsonschema",
        "--builtin-schema",
        "vendor.github-workflows",
    )
    for text, code in ((workflow, 0), (workflow.replace("runs-on:", "run-on:"), 1)):
        path.write_text(text, encoding="utf-8")
        ended = subprocess.run(
            [*check, str(path)], capture_output=True, text=True, timeout=60, check=False
        )
        assert ended.returncode == code, ended.stdout + ended.stderr


def test_the_plan_and_its_endpoint_are_whole_and_can_decide(tmp_path: Path) -> None:
    plan, endpoint = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    (tmp_path / "gate.toml").write_text(plan, encoding="utf-8")
    (tmp_path / "shop.endpoint.toml").write_text(endpoint, encoding="utf-8")
    loaded = load(tmp_path / "gate.toml")
    check_endpoint(loaded, tmp_path / "gate.toml")
    assert foreseen_runs(loaded) == ()


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert (PAGE.parent / target).exists(), target
