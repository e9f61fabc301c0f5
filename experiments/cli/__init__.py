"""The one command line, `abreast`. Commands import what they need when they run.

stdout carries the result, stderr everything else. Exit codes: 0 good, 1 the verdict is bad,
2 usage or plan error, 3 cannot tell yet, 4 the run cannot be trusted, 70 a fault in abreast itself,
130 interrupted.
"""

import os
import signal

from experiments.errors import INTERRUPTED


def main() -> None:
    """Run the command line; Ctrl-C and SIGTERM end it without a word while it is imported."""
    for number in (signal.SIGINT, signal.SIGTERM):
        # Not by an exception: what is raised in the midst of an import may come out as any other.
        signal.signal(number, lambda *_: os._exit(INTERRUPTED))
    from experiments.cli import commands

    commands.main()
