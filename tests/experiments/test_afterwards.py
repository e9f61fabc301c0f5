"""What is done when a run has ended: Ctrl-C ends a reading, but not what puts weights back."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import child, restore, run_folder
from experiments.afterwards import CLOUDWATCH, finish_reading_cloudwatch, put_weights_back
from experiments.tables import Endpoint


class Interrupted(subprocess.Popen):
    """A process during whose first wait Ctrl-C is pressed."""

    pressed = False

    def wait(self, timeout: float | None = None) -> int:
        if not self.pressed:
            self.pressed = True
            raise KeyboardInterrupt
        return super().wait(timeout)


@pytest.mark.parametrize(
    ("kind", "code", "said"),
    [(Interrupted, "import time; time.sleep(600)", "that was stopped before"),
     (subprocess.Popen, "import sys; sys.exit(3)", "logs/cloudwatch.log")],
)  # fmt: skip
def test_a_reading_that_leaves_nothing_is_noted(
    tmp_path: Path, kind: type, code: str, said: str
) -> None:
    folder = run_folder.create(tmp_path, "plan", "")
    reading = kind([sys.executable, "-c", code], stdin=subprocess.PIPE)
    finish_reading_cloudwatch(folder, reading)
    assert reading.returncode is not None
    assert said in json.loads((folder.path / CLOUDWATCH).read_text())["note"]


LISTENS = """
import os, signal, socket, sys, time
with socket.create_server(("127.0.0.1", 0)) as server:
    print(server.getsockname()[1], flush=True)
    server.settimeout(20)
    with server.accept()[0] as called:
        for _ in range(2):
            os.kill(int(sys.argv[1]), signal.SIGINT)
            time.sleep(0.1)
        called.recv(65536)
        called.sendall(b"HTTP/1.1 400 Bad Request\\r\\nContent-Length: 2\\r\\n\\r\\n{}")
"""
"""A control plane that presses Ctrl-C twice before it refuses."""


def test_ctrl_c_does_not_end_what_puts_the_weights_back(tmp_path: Path) -> None:
    folder = run_folder.create(tmp_path, "plan", "")
    line = [sys.executable, "-c", LISTENS, str(os.getpid())]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        url = f"http://127.0.0.1:{server.stdout.readline().strip()}"
        journal = restore.Journal(
            endpoint=Endpoint(name="shop", target=url), region="us-east-1", arn="",
            before={"a": 3.0}, wanted={"a": 1.0}, state="set",
        )  # fmt: skip
        run_folder.write_manifest(folder, {"schema_version": 1})
        restore.write(folder, journal)
        told: list[str] = []
        keys = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local"}
        environment = child.environment() | keys
        put_weights_back(folder, environment, lambda message: told.append(message["text"]))
    assert told.count("The weights are being put back; that goes on.") == 2
    # It went on, and said why it could not.
    assert "cannot be described" in told[-1]
    assert restore.is_pending(folder)
