"""What the documents say is there: commands, links, options and plans."""

import re
from pathlib import Path

import pytest

from analysis.power import foreseen
from experiments.cli.commands import app
from experiments.plan_file import BUILT_IN, load

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [
    ROOT / name
    for name in (
        "README.md",
        "CHANGELOG.md",
        "reports/README.md",
        "benchmarks/README.md",
        "docs/aws.md",
        "docs/ci.md",
        "docs/local-endpoint.md",
        "docs/method.md",
        "docs/reliability.md",
    )
]


def test_every_command_is_in_the_readme() -> None:
    for command in app.registered_commands:
        assert command.callback is not None
        assert f"`abreast {command.callback.__name__} " in README


def test_every_built_in_plan_is_in_the_readme() -> None:
    for path in BUILT_IN.glob("*.toml"):
        if not path.name.endswith(".endpoint.toml"):
            assert f"abreast run {path.stem}" in README


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (page.parent / target).exists(), target


def test_the_commands_named_in_the_makefile_are_those_of_the_readme() -> None:
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    for target in re.findall(r"^\$ make (\w+)", README, re.MULTILINE):
        assert target in targets


def test_the_plan_in_the_readme_is_whole(tmp_path: Path) -> None:
    (plan,) = re.findall(r"```toml\n(question.*?)```", README, re.DOTALL)
    path = tmp_path / "my-plan.toml"
    path.write_text(plan, encoding="utf-8")
    loaded = load(path)
    assert loaded.variant_of("green") == "green-v2"
    assert foreseen(loaded) == ()
