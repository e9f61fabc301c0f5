"""How a module of this project runs as a child process that does not outlive its parent."""

import os
import signal
import site
import sys
import threading
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


def tail(log: Path, lines: int = 20) -> str:
    """Return the last lines of a log file, for an error message."""
    text = log.read_text(encoding="utf-8", errors="replace").strip()
    return "\n".join(text.splitlines()[-lines:])
