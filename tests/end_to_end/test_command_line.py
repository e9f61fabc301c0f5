"""Bad input gets one clear message and exit code 2, never a traceback; our own faults get 70."""

import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.analysis.runs import record, write_run
from tests.end_to_end.conftest import LOCAL, Command, environment

KEYS = {
    "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_PROFILE": None,
}  # fmt: skip


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("traffic.rat=5", ["--set", "traffic.rat", "no such key"]),
        ("request.payloads=gone.jsonl", ["shop.toml", "request.payloads", "gone.jsonl"]),
        ("endpoint.config=gone.toml", ["gone.toml"]),
        ("arms.candidate.request.target_variant=green", ["shop.toml", '"green"']),
        ("endpoint.name=other", ["endpoint.name", '"other"', '"shop"']),
        ("answers.prediction='a[['", ["shop.toml", "answers.prediction", "a[["]),
        ("question=load", ['question = "load" needs [slo]']),
        ('slo={ arms = { shop = { p99 = "1s" } } }', ['slo.arms names "shop"']),
        ('slo={ phases = { peak = { p99 = "1s" } } }', ['slo.phases names "peak"']),
        ('slo={ p99 = "1s", window = "1h" }', ["slo.window is 3600 s"]),
        ("arms={ current = {} }", ["needs two arms or more"]),
    ],
)
def test_a_plan_that_cannot_be_run_is_refused(
    inside: Command, plan: Path, override: str, parts: list[str]
) -> None:
    assert_refused(inside("run", str(plan), "--set", override), plan, parts)


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        (["answers.prediction='nothing'"], ["answers.prediction", "first answer"]),
        (
            ["traffic.routing=weighted", "arms.current.share=3"],
            ["arms.current.share", "75.0%", "50.0%"],
        ),
    ],
)
def test_a_plan_that_the_endpoint_does_not_suit_is_refused(
    abreast: Command, plan: Path, overrides: list[str], parts: list[str]
) -> None:
    sets = [part for override in overrides for part in ("--set", override)]
    assert_refused(abreast("run", str(plan), *sets), plan, parts)


def assert_refused(
    ended: subprocess.CompletedProcess[str], plan: Path, parts: Sequence[str]
) -> None:
    assert ended.returncode == 2, ended.stderr
    assert ended.stdout == ""
    for part in parts:
        assert part in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not list((plan.parent / "reports").glob("*"))  # nothing was recorded, nothing is left


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("run nothing", 'There is no built-in plan "nothing"'),
        ("run nothing.toml", "no such file"),
        ("run ab --fail-on ugly", '"ugly" is not known'),
        ("run load --until-decided", "the question of"),
        ("run ab --processes 9999 --dry-run", "--processes 9999: this machine has"),
        ("run ab --processes 3 --set traffic.slots=2 --dry-run", "3 processes would share 2 slots"),
        ("run ab --expect-workers 99 --dry-run", "99 processes would share 64 slots"),
        ("run ab --out made/manifest.json", "made/manifest.json is a file"),
        ("run made", 'no built-in plan "made", and made is a folder'),
        ("export made --as xml", "Invalid value for '--as': 'xml' is not one of"),
        ("compare nowhere", "no run folder"),
        ("compare nowhere nowhere", "no run folder"),
        ("report .", "no run folder"),
        ("show nothing", "no built-in plan"),
        ("serve nothing.toml", "nothing.toml"),
        ("run", "Missing argument"),
        ("fly", "No such command"),
        ("run ab --fly", "No such option"),
        ("power nothing", "no built-in plan"),
        ("power .", "no run folder"),
        ("power load", "compares nothing"),
        ("power ab --like nowhere", "no run folder"),
        ("power ab --like . --deff 2", "Give either"),
        ("power ab --spread 0", "--spread"),
        ("power made --spread 1", "Leave them out for a run"),
        ("simulate made --stream iid", "Leave them out for a run"),
        ("simulate ab --stream sea", 'no stream "sea"'),
        ("simulate ab --effect 10", '"10" is no change'),
        ("simulate ab --effect -100%", '"-100%" is no change'),
        ("simulate ab --runs 1000000", "--runs"),
        ("simulate load", "compares nothing"),
        ("regression", "Give the baseline's runs, or --baseline-store"),
        ("regression nowhere", "no run folder"),
        ("regression a --against", "requires an argument"),
        ("regression a --last 3", "--last goes with --baseline-store"),
        ("regression --baseline-store none", "Give the baseline's runs"),
        ("regression --baseline-store none --against a b", "none: holds no runs"),
        ("baseline drop nothing", "is no run of reports/baselines"),
        ("baseline add nowhere", "no run folder"),
    ],
)
def test_a_wrong_command_is_refused(inside: Command, tmp_path: Path, line: str, said: str) -> None:
    write_run(tmp_path / "made", [record(0, "current", 0.0, 20.0)])
    ended = inside(*line.split())
    assert ended.returncode == 2, ended.stderr
    assert said in " ".join(ended.stderr.split())
    assert ended.stdout == ""
    assert "Traceback" not in ended.stderr


def test_a_url_that_does_not_answer_is_refused(abreast: Command, plan: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        plan.write_text(plan.read_text().replace(LOCAL, f'target = "{url}"'))
        ended = [abreast("run", str(plan), **KEYS)]
    ended.append(abreast("run", str(plan), **KEYS))  # now nothing listens
    for each in ended:
        assert_refused(each, plan, [f"{url} does not answer"])


def test_a_port_in_use_is_named(abreast: Command, plan: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        ended = abreast("serve", str(plan.parent / "shop.endpoint.toml"), "--port", str(port))
    assert ended.returncode == 2
    assert str(port) in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_dry_run_says_what_would_be_sent_and_sends_nothing(
    inside: Command, plan: Path, tmp_path: Path
) -> None:
    ended = inside("run", str(plan), "--dry-run")
    assert ended.returncode == 0
    assert "about 180, from 10 payloads" in ended.stdout
    assert not (tmp_path / "reports").exists()


def test_show_gives_the_plan_as_it_is_understood(inside: Command) -> None:
    ended = inside("show", "ab")
    assert ended.returncode == 0
    assert "from 719 payloads" in ended.stdout
    assert '"routing": "paired"' in ended.stdout


FAULTY = """
import experiments.plan_file
experiments.plan_file.find = lambda _: 1 / 0
from experiments.cli import main
main()
"""


INTERRUPTED = """
import os, sys
class Interrupting:
    @staticmethod
    def find_spec(name, *_):
        if name == "pyarrow":
            os.kill(os.getpid(), int(sys.argv.pop()))
sys.meta_path.insert(0, Interrupting)
from experiments.cli import main
main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_modules_are_imported_ends_it_without_a_word(number: int) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, "show", "ab", str(int(number))],
        env=environment(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")


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


@pytest.mark.parametrize(
    "command", ["run", "compare", "report", "show", "serve", "power", "simulate"]
)
def test_every_command_has_help_with_two_examples(inside: Command, command: str) -> None:
    ended = inside(command, "--help")
    assert ended.returncode == 0
    assert ended.stdout.count(f"  abreast {command} ") == 2
