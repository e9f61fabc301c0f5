"""Model processes that die, are started again, and end when they are asked to or not."""

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from experiments.local import http, model_processes
from experiments.local.backend import Asked
from experiments.local.model_processes import LONGEST_PAUSE_S, ModelProcess, next_pause_s

ASKED = Asked({"content-type": "application/json"}, json.dumps({"instances": [[0] * 64]}).encode())


def test_the_pause_doubles_up_to_its_longest_and_begins_anew_after_a_steady_time() -> None:
    pauses = [0.0]
    for _ in range(8):
        pauses.append(next_pause_s(pauses[-1], lived_s=1.0))
    assert pauses[1:] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, LONGEST_PAUSE_S, LONGEST_PAUSE_S]
    assert next_pause_s(LONGEST_PAUSE_S, lived_s=61.0) == 0.5


async def answers_again(server: ModelProcess) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            assert (await server.invoke(ASKED)).status == 200
        except OSError:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
        else:
            return


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.usefixtures("cache")
def test_a_model_that_dies_is_started_again_until_it_answers_and_says_so_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(model_processes, "FIRST_PAUSE_S", 0.1)
    speaks_nonsense = tmp_path / "python"
    speaks_nonsense.write_text("#!/bin/sh\necho nonsense\nexec sleep 60\n")
    speaks_nonsense.chmod(0o755)

    async def fails(program: Path, how: str) -> None:
        monkeypatch.setattr(sys, "executable", str(program))
        async with asyncio.timeout(20):
            while how not in caplog.text:
                await asyncio.sleep(0.01)

    async def main() -> None:
        python = sys.executable
        async with model_processes.started({"m-1": "digits-svm"}, tmp_path) as servers:
            server = servers["m-1"]
            assert (await server.invoke(ASKED)).status == 200
            first = server.process.pid
            os.kill(first, signal.SIGKILL)
            await fails(tmp_path / "none", "again failed: [Errno 2]")
            with pytest.raises(ConnectionError, match="is being started again"):
                await server.invoke(ASKED)
            await fails(speaks_nonsense, "again failed: Expecting value")
            monkeypatch.setattr(sys, "executable", python)
            await answers_again(server)
            assert server.process.pid != first

    http.run(main())
    said = caplog.records[0].getMessage()
    assert "m-1 ended with exit code -9; it is started again in 0.1 s" in said
    assert str(tmp_path / "m-1.log") in said


@pytest.mark.usefixtures("cache")
def test_a_model_that_does_not_heed_sigterm_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_processes, "_END_WITHIN_S", 0.2)

    async def main() -> int | None:
        async with model_processes.started({"m-1": "digits-svm"}, tmp_path) as servers:
            process = servers["m-1"].process
        return process.returncode

    heeded = signal.signal(signal.SIGTERM, signal.SIG_IGN)  # which a child inherits from asyncio
    try:
        assert asyncio.run(main()) == -signal.SIGKILL
    finally:
        signal.signal(signal.SIGTERM, heeded)
