"""A function of the user's makes bodies: it is named before it runs, and its faults are told."""

from pathlib import Path

import pytest

from experiments import payload_function, payloads
from experiments.errors import PlanError
from experiments.plan import Plan
from tests.experiments.test_payloads import plan_for

MAKING = """
import sys
print("running", file=sys.stderr)
def rows():
    yield b"\\x00"
    yield "text"
    yield {"x": [1, 2]}
def labelled():
    return ({"x": n, "label": str(n)} for n in range(3))
def endless():
    while True:
        yield b"x"
def none(): return []
def wrong(): return [1]
def failing(): raise KeyError("gone")
def no_iterable(): return 5
def one_text(): return "abc"
def one_body(): return b"abc"
def one_object(): return {"x": 1}
def leaving(): sys.exit(0)
needs_one = len
"""


def made(tmp_path: Path, source: str, label: str | None = None) -> list[tuple[bytes, str | None]]:
    plan: Plan = plan_for(source, label)
    return [(p.body, p.label) for p in payloads.load(plan, tmp_path / "plan.toml")]


@pytest.fixture
def module(tmp_path: Path) -> str:
    # A module is imported once in a process, by its name.
    name = f"bodies_{abs(hash(tmp_path))}"
    (tmp_path / f"{name}.py").write_text(MAKING)
    return name


def test_bytes_text_and_objects_are_bodies(
    module: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rows = [(b"\x00", None), (b"text", None), (b'{"x":[1,2]}', None)]
    assert made(tmp_path, f"{module}:rows") == rows
    said, ran = capfd.readouterr().err.splitlines()
    assert said == f"Making payloads: rows() of {tmp_path / module}.py."
    assert ran == "running"


def test_a_label_is_taken_out_of_what_a_function_gives(module: str, tmp_path: Path) -> None:
    bodies = [(b'{"x":0}', "0"), (b'{"x":1}', "1"), (b'{"x":2}', "2")]
    assert made(tmp_path, f"{module}:labelled", "label") == bodies


def test_an_installed_module_may_hold_it(tmp_path: Path) -> None:
    # It takes an argument, which it is not given.
    with pytest.raises(PlanError, match=r"json:dumps failed: TypeError"):
        made(tmp_path, "json:dumps")


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("none", "holds no payload"),
        ("wrong", "a body is a int"),
        ("failing", "failed: KeyError: 'gone'"),
        ("no_iterable", "failed: TypeError"),
        ("needs_one", "failed: TypeError"),
        ("one_text", "gives one str"),
        ("one_body", "gives one bytes"),
        ("one_object", "gives one dict"),
        ("leaving", "failed: SystemExit: 0"),
        ("missing", "has no attribute 'missing'"),
        ("endless", "gives more than 1,000 bodies"),
    ],
)
def test_what_gives_no_bodies_is_refused(
    function: str, said: str, module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(payload_function, "MOST", 1_000)
    with pytest.raises(PlanError, match=r"request\.payloads") as refused:
        made(tmp_path, f"{module}:{function}")
    assert said in str(refused.value)


def test_no_module_of_that_name(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="there is no such module"):
        made(tmp_path, "no_such_module_here:rows")


def test_a_module_beside_the_plan_takes_the_place_of_none_that_is_installed(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text(MAKING)
    with pytest.raises(PlanError, match=r"json: that is .*json/__init__\.py"):
        made(tmp_path, "json:rows")
