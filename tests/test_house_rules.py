"""What may import what, held by reading the imports of every module."""

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in ("analysis", "experiments")
    for path in (ROOT / package).rglob("*.py")
}


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def importers_of(*names: str) -> set[str]:
    return {
        module
        for module, path in MODULES.items()
        if any(found == n or found.startswith(f"{n}.") for found in imports(path) for n in names)
    }


def test_analysis_knows_of_experiments_only_what_a_run_folder_holds() -> None:
    allowed = {"record", "run_folder", "plan", "plan_file", "tables", "units", "slo", "errors"}
    for module, path in MODULES.items():
        if module.startswith("analysis"):
            used = {name.split(".")[1] for name in imports(path) if name.startswith("experiments.")}
            assert used <= allowed, module


def test_only_the_command_line_imports_analysis() -> None:
    outside = {module for module in importers_of("analysis") if module.startswith("experiments")}
    assert {module.rpartition(".")[0] for module in outside} == {"experiments.cli"}


def test_locust_and_gevent_stay_in_the_process_that_sends() -> None:
    assert all(m.startswith("experiments.traffic.") for m in importers_of("locust", "gevent"))


def test_boto3_stays_where_aws_is_spoken_to() -> None:
    places = ("experiments.sagemaker.", "experiments.local.")
    assert all(m.startswith(places) for m in importers_of("boto3", "botocore"))


def test_matplotlib_is_used_by_the_figures_only() -> None:
    drawing = "analysis.render.figures"  # and its parts: figures_canvas, figures_time
    assert all(m.startswith(drawing) for m in importers_of("matplotlib"))


def test_the_client_and_the_local_endpoint_meet_over_http_only() -> None:
    for module in importers_of("experiments.local"):
        assert not module.startswith("experiments.sagemaker")
    for module in importers_of("experiments.sagemaker"):
        assert not module.startswith("experiments.local")


def test_no_module_imports_itself_through_others() -> None:
    graph = {m: {n for n in MODULES if n in reached(p)} - {m} for m, p in MODULES.items()}
    seen: dict[str, bool] = {}

    def visit(module: str) -> None:
        seen[module] = True
        for other in graph[module]:
            assert not seen.get(other, False), f"{module} and {other} import each other"
            if other not in seen:
                visit(other)
        seen[module] = False

    for module in graph:
        if module not in seen:
            visit(module)


@functools.cache
def reached(path: Path) -> set[str]:
    """Give the modules that a file imports when it is imported, with names taken off."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{a.name}" for a in node.names} | {node.module}
    return names


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import analysis", "locust gevent boto3 botocore matplotlib"),
        ("import experiments.cli, experiments.launch", "locust gevent boto3 botocore analysis"),
        ("import experiments.cli.checks", "locust gevent"),
    ],
)
def test_an_import_brings_along_no_more_than_it_should(statement: str, absent: str) -> None:
    code = f"import sys; {statement}; print([n for n in {absent.split()!r} if n in sys.modules])"
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert ended.stdout.strip() == "[]"
    assert ended.stderr == ""
