"""How the words of `abreast regression` are read."""

import json
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from experiments.cli.commands import app
from experiments.errors import AbreastError
from tests.analysis.several import of_one_arm


def sides(*words: str) -> tuple[list[str], list[str]]:
    commands = get_command(app).commands  # type: ignore[attr-defined]
    read = commands["regression"].make_context("regression", list(words)).params
    before, after = (read[name] or () for name in ("runs", "against"))
    return [str(Path(path)) for path in before], [str(Path(path)) for path in after]


@pytest.mark.parametrize(
    "words",
    [
        "a b --against x y z",
        "a b --against=x y z",
        "--quiet a b --arm new --against x y z --last 3",
        "--arm=new a b --against x --against y z -q",
        "a b --against x y --quiet --against z",
    ],
)
def test_each_word_after_against_is_the_candidates(words: str) -> None:
    assert sides(*words.split()) == (["a", "b"], ["x", "y", "z"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("a --against x --quiet y", "y: stands behind another option"),
        ("a --against=x --arm new y", "y: stands behind another option"),
        ("--against x --last=3 a", "a: stands behind another option"),
        ("a --against", "requires an argument"),
        ("a --against --quiet", "requires an argument"),
        ("a --against=", "requires an argument"),
    ],
)
def test_words_of_either_side_are_refused(words: str, said: str) -> None:
    with pytest.raises(AbreastError, match=said):
        sides(*words.split())


@pytest.fixture
def in_abba_order(tmp_path: Path) -> list[Path]:
    """Runs of one arm each, two of either."""
    runs = [run for arm in ("current", "candidate") for run in of_one_arm(tmp_path, arm, [20, 21])]
    for run in runs:
        (run.path / "plan.toml").write_text("")
    return [run.path for run in runs]


@pytest.mark.parametrize(
    ("options", "arm"), [([], "current"), (["--arm", "candidate"], "candidate")]
)
def test_of_runs_of_one_arm_each_the_baselines_are_kept(
    options: list[str], arm: str, in_abba_order: list[Path], tmp_path: Path
) -> None:
    store = tmp_path / "store"
    words = ["baseline", "add", *map(str, in_abba_order), "--store", str(store), *options]
    ended = CliRunner().invoke(app, words)
    assert ended.exit_code == 0, ended.exception
    assert sorted(path.name for path in store.iterdir()) == [f"{arm}-00", f"{arm}-01"]
    assert ended.stdout.count(f"(arm {arm})") == 2


def test_a_bad_verdict_of_what_is_kept_is_said(in_abba_order: list[Path], tmp_path: Path) -> None:
    verdict = {"sentence": "Don't ship it.", "exit_code": 1}
    (in_abba_order[0] / "report.json").write_text(json.dumps({"verdict": verdict}))
    words = ["baseline", "add", *map(str, in_abba_order[:2]), "--store", str(tmp_path / "store")]
    ended = CliRunner().invoke(app, words)
    assert ended.exit_code == 0, ended.exception
    assert ended.output.count("Note: its verdict was: Don't ship it.") == 1


def test_an_empty_store_says_how_to_fill_it(tmp_path: Path) -> None:
    ended = CliRunner().invoke(app, ["baseline", "list", "--store", str(tmp_path)])
    assert (ended.exit_code, ended.stdout) == (0, "")
    assert "keeps no runs; `abreast baseline add RUN` keeps one" in ended.stderr


@pytest.mark.parametrize("command", ["compare", "regression", "baseline add"])
def test_a_capacity_search_is_no_run_at_one_rate(command: str, in_abba_order: list[Path]) -> None:
    manifest = in_abba_order[0] / "manifest.json"
    asked = json.loads(manifest.read_text())
    asked["plan"]["question"] = "capacity"
    manifest.write_text(json.dumps(asked))
    ended = CliRunner().invoke(app, [*command.split(), *map(str, in_abba_order)])
    assert "is a capacity search, whose probes are made at many rates" in str(ended.exception)


def test_where_one_run_is_refused_none_is_kept(in_abba_order: list[Path], tmp_path: Path) -> None:
    manifest = in_abba_order[1] / "manifest.json"
    asked = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**asked, "conditions": {"region": "elsewhere"}}))
    store = tmp_path / "store"
    words = ["baseline", "add", *map(str, in_abba_order), "--store", str(store)]
    ended = CliRunner().invoke(app, words)
    assert "region was not recorded in current-00" in str(ended.exception)
    assert not store.exists()
