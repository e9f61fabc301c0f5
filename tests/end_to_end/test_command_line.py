"""Bad input gets one clear message and exit code 2, never a traceback; our own faults get 70."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.conftest import Command, environment


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        (["traffic.rat=5"], ["shop.toml", "traffic.rat", "no such key"]),
        (["traffic.rate=fast"], ["shop.toml", "traffic.rate", '"fast"']),
        (["request.payloads=gone.jsonl"], ["shop.toml", "request.payloads", "gone.jsonl"]),
        (["endpoint.config=gone.toml"], ["gone.toml"]),
        (
            ["arms.candidate.request.target_variant=green"],
            ["shop.toml", '"green"'],
        ),
        (
            ["traffic.routing=weighted", "arms.current.share=3"],
            ["arms.current.share", "75.0%", "50.0%"],
        ),
        (["endpoint.name=other"], ["endpoint.name", '"other"', '"shop"']),
        (["answers.prediction='a[['"], ["shop.toml", "answers.prediction", "a[["]),
        (["answers.prediction='nothing'"], ["answers.prediction", "first answer"]),
    ],
)
def test_a_plan_that_cannot_be_run_is_refused(
    abreast: Command, plan: Path, tmp_path: Path, overrides: list[str], parts: list[str]
) -> None:
    sets = [part for override in overrides for part in ("--set", override)]
    ended = abreast("run", str(plan), *sets)
    assert ended.returncode == 2, ended.stderr
    assert ended.stdout == ""
    for part in parts:
        assert part in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not list((tmp_path / "reports").glob("*"))  # nothing was recorded, nothing is left


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "nothing"], 'There is no built-in plan "nothing"'),
        (["run", "nothing.toml"], "no such file"),
        (["run", "ab", "--fail-on", "ugly"], '"ugly" is not known'),
        (["compare", "nowhere"], "no run folder"),
        (["report", "."], "no run folder"),
        (["show", "nothing"], "no built-in plan"),
        (["serve", "nothing.toml"], "nothing.toml"),
        (["run"], "Missing argument"),
        (["fly"], "No such command"),
        (["run", "ab", "--fly"], "No such option"),
    ],
)
def test_a_wrong_command_is_refused(abreast: Command, arguments: list[str], said: str) -> None:
    ended = abreast(*arguments)
    assert ended.returncode == 2, ended.stderr
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_url_where_nothing_listens_is_refused(abreast: Command, plan: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    ended = run_against(abreast, plan, f"http://127.0.0.1:{port}")
    assert ended.returncode == 2
    assert f"http://127.0.0.1:{port} does not answer" in ended.stderr


def test_an_endpoint_that_never_answers_is_refused(abreast: Command, plan: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        ended = run_against(abreast, plan, url)
    assert ended.returncode == 2
    assert f"{url} does not answer" in ended.stderr
    assert "Traceback" not in ended.stderr


def run_against(abreast: Command, plan: Path, url: str) -> subprocess.CompletedProcess[str]:
    text = plan.read_text().replace(
        'target = "local"\nconfig = "shop.endpoint.toml"', f'target = "{url}"'
    )
    plan.write_text(text)
    keys = {
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    return subprocess.run(
        [sys.executable, "-P", "-m", "experiments", "run", str(plan)],
        cwd=plan.parent,
        env={k: v for k, v in environment().items() if k != "AWS_PROFILE"} | keys,
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_a_port_in_use_is_named(abreast: Command, plan: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        ended = abreast("serve", str(plan.parent / "shop.endpoint.toml"), "--port", str(port))
    assert ended.returncode == 2
    assert str(port) in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_dry_run_says_what_would_be_sent_and_sends_nothing(
    abreast: Command, plan: Path, tmp_path: Path
) -> None:
    ended = abreast("run", str(plan), "--dry-run")
    assert ended.returncode == 0
    assert "about 180, from 10 payloads" in ended.stdout
    assert not (tmp_path / "reports").exists()


def test_show_gives_the_plan_as_it_is_understood(abreast: Command) -> None:
    ended = abreast("show", "ab")
    assert ended.returncode == 0
    assert "from 719 payloads" in ended.stdout
    assert '"routing": "paired"' in ended.stdout


FAULTY = """
import experiments.plan_file
experiments.plan_file.find = lambda _: 1 / 0
from experiments.cli import main
main()
"""


@pytest.mark.parametrize("debug", [[], ["--debug"]])
def test_a_fault_of_our_own_exits_70_and_shows_its_traceback_only_when_asked(
    debug: list[str],
) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", FAULTY, "show", "ab", *debug],
        env=environment(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ended.returncode == 70
    assert "ZeroDivisionError" in ended.stderr
    assert ("Traceback" in ended.stderr) == bool(debug)


@pytest.mark.parametrize("command", ["run", "compare", "report", "show", "serve"])
def test_every_command_has_help_with_two_examples(abreast: Command, command: str) -> None:
    ended = abreast(command, "--help")
    assert ended.returncode == 0
    assert ended.stdout.count(f"  abreast {command} ") == 2
