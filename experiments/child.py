"""How a module of this project runs as a child process that does not outlive its parent."""

import os
import signal
import site
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def command(module: str, *arguments: str) -> list[str]:
    """Return the command line that runs `module`; -P keeps the current folder from shadowing it."""
    return [sys.executable, "-P", "-m", module, *arguments]


def environment() -> dict[str, str]:
    """Return this process's environment, with which a child finds this project uninstalled too."""
    variables = dict(os.environ)
    if str(ROOT) not in [*site.getsitepackages(), site.getusersitepackages()]:
        paths = [str(ROOT), *filter(None, [variables.get("PYTHONPATH")])]
        variables["PYTHONPATH"] = os.pathsep.join(paths)
    return variables


def end_with_parent() -> None:
    """In the child: get SIGTERM when stdin, whose other end the parent holds, comes to its end."""

    def watch() -> None:
        # Not sys.stdin: its lock, held by a waiting thread, breaks the interpreter's shutdown.
        while os.read(0, 4096):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def interrupts_call(handler: Callable[[], object]) -> Iterator[None]:
    """At Ctrl-C and SIGTERM, call a function instead of ending."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda *_: handler()) for number in numbers}
    try:
        yield
    finally:
        for number, usual in before.items():
            signal.signal(number, usual)


def killer(exit_code: int) -> str:
    """Name the signal that ended a child; those of real time have no names."""
    try:
        return signal.Signals(-exit_code).name
    except ValueError:
        return f"signal {-exit_code}"


def tail(log: Path, lines: int = 20) -> str:
    """Return the last lines of a log file, for an error message."""
    text = log.read_text(encoding="utf-8", errors="replace").strip()
    return "\n".join(text.splitlines()[-lines:])
