"""Has a run judged that nobody supervises, in a process that has neither Locust nor its patches."""

import subprocess
import sys

from experiments import afterwards, child
from experiments.accounts import kept
from experiments.errors import INTERRUPTED
from experiments.plan import Plan
from experiments.run_folder import RunFolder
from experiments.traffic.telling import say


class Judging:
    """The processes of it, of which Ctrl-C ends one after the other."""

    def __init__(self) -> None:
        self._reading: subprocess.Popen[bytes] | None = None
        self._report: subprocess.Popen[bytes] | None = None

    def judge(self, plan: Plan, folder: RunFolder) -> int:
        """Read CloudWatch where the plan says so, render the report, and give its exit code."""
        sys.stdout.flush()
        self._reading = afterwards.start_reading_cloudwatch(plan, folder, child.environment(), say)
        afterwards.finish_reading_cloudwatch(folder, self._reading)
        command = child.command("experiments", "report", str(folder.path))
        # In a process group of its own, Ctrl-C does not reach it.
        self._report = subprocess.Popen(command, env=child.environment(), process_group=0)
        if (code := self._report.wait()) < 0:
            say(kept(folder.path))
            return INTERRUPTED
        return code

    def stop_waiting(self) -> bool:
        """End the reading of CloudWatch, where it is under way, and say whether it was."""
        if self._reading is None or self._reading.poll() is not None:
            return False
        self._reading.kill()
        return True

    def stop(self) -> None:
        """End the rendering of the report, where it is under way."""
        if self._report is not None and self._report.poll() is None:
            self._report.kill()
