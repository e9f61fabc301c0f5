"""How the workers that a run started here end, and what is said of one that did not start."""

import signal
import subprocess
import time
from pathlib import Path

import pytest

from experiments import workers


def test_who_hangs_is_not_awaited_once_it_is_urgent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_QUITTING_S", 0.1)
    deaf = ["sh", "-c", "trap '' TERM; echo ready; exec sleep 30"]
    with subprocess.Popen(deaf, stdout=subprocess.PIPE) as hung:
        assert hung.stdout is not None
        hung.stdout.readline()
        workers._await_end([hung], lambda: True)
        assert hung.poll() is None
        hung.kill()


def test_many_that_hang_are_awaited_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_QUITTING_S", 0.5)
    hung = [subprocess.Popen(["sleep", "60"]) for _ in range(20)]
    began_s = time.monotonic()
    workers._await_end(hung, lambda: False)
    assert time.monotonic() - began_s < 5  # one by one: 10 s
    assert {each.returncode for each in hung} == {-signal.SIGTERM}


def test_a_signal_without_a_name_is_told_by_its_number(tmp_path: Path) -> None:
    log = tmp_path / "worker-0.log"
    log.touch()
    for number, name in ((signal.SIGRTMIN + 1, "signal 35"), (signal.SIGKILL, "SIGKILL")):
        assert f"was killed by {name} before" in str(workers._why_it_ended(0, -number, log))
