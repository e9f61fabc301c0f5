"""Locust tells its supervisor how the run goes, and waits for nobody who does not listen."""

import subprocess
import sys

TELLING = """
import os, posix, time
from types import SimpleNamespace
from experiments.traffic import telling

read_fd, write_fd = os.pipe()
options = SimpleNamespace(progress_fd=write_fd)
telling._TELLING_S = 0.3

def took(kind):
    began_s = time.monotonic()
    telling.tell(options, {"kind": kind, "text": "x" * 500})
    return time.monotonic() - began_s

assert max(took("progress") for _ in range(1000)) < 0.2
assert took("note") < 0.2
assert 0.3 <= took("end") < 2
os.read(read_fd, 65536)
assert took("end") < 0.2
posix.close(read_fd)  # gevent closes later
took("progress")
assert options.progress_fd == -1
os.dup2(os.open("/dev/full", os.O_WRONLY), 2)
telling.say("there is no room for this")
telling.give_up(options, OSError(28, "No space left on device", "somewhere"))
"""


def test_who_does_not_listen_holds_up_nothing_and_a_full_disk_ends_it() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", TELLING], check=False, capture_output=True, timeout=60, text=True
    )
    assert ended.returncode == 2, ended.stderr
