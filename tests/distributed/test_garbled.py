"""What comes over the wire may be anything, and costs neither the run nor a record."""

import subprocess
import sys

from tests.end_to_end.conftest import ROOT


def test_garbled_messages_kill_nobody_and_lose_nothing() -> None:
    line = [sys.executable, "-W", "error", "-m", "tests.distributed.garbled"]
    ran = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=90, check=False)
    assert ran.returncode == 0, ran.stderr
