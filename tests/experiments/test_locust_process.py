"""What a supervisor hears of Locust."""

import json
import os
import signal
import subprocess
from collections.abc import Mapping
from typing import Any

import pytest

from experiments import locust_process
from experiments.errors import AbreastError
from experiments.locust_process import _interrupts_go_to, listen

Event = Mapping[str, Any]


def heard(said: bytes, monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], int, Exception | None]:
    """Give the kinds of messages that came of what Locust said, before it hung or was asked to."""
    monkeypatch.setattr(locust_process, "_SILENT_S", 0.1)
    read_fd, write_fd = os.pipe()
    kinds, ended = list[str](), list[int]()

    def end_it() -> None:
        ended.append(write_fd)
        os.close(write_fd)

    def tell(message: Event) -> None:
        kinds.append(message["kind"])
        if message["kind"] == "end":
            os.close(write_fd)

    os.write(write_fd, said)
    error = listen(read_fd, tell, end_it)
    os.close(read_fd)
    return kinds, len(ended), error


def test_a_locust_that_hangs_between_its_first_second_and_its_end_is_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert heard(b'{"kind": "progress"}\n', monkeypatch) == (["progress"], 1, None)
    ended = b'{"kind": "progress"}\n\n{"kind": "end"}\n'
    assert heard(ended, monkeypatch) == (["progress", "end"], 0, None)


def test_a_message_that_was_cut_short_costs_itself_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    error = {"kind": "error", "message": "m", "hint": "h", "exit_code": 2}
    said = ['{"kind": "pro', '{"kind": "note"}', json.dumps(error), '{"kind": "end"}']
    kinds, _, found = heard("".join(f"\n{line}\n" for line in said).encode(), monkeypatch)
    assert kinds == ["note", "end"]
    assert isinstance(found, AbreastError)


def test_ctrl_c_reaches_locust_also_where_nothing_can_be_told() -> None:
    told: list[str] = []
    locust = subprocess.Popen(["sleep", "60"])

    def tell(message: Event) -> None:
        told.append(message["text"])
        locust.wait(timeout=20)  # it was told before
        raise RuntimeError("reentrant call")

    with _interrupts_go_to(locust, tell) as interrupts:
        signal.raise_signal(signal.SIGINT)
    assert locust.returncode == -signal.SIGTERM
    assert (len(interrupts), len(told)) == (1, 1)
