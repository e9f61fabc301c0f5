"""What the Locust process tells: to the process that supervises it, if any, and on stderr."""

import json
import os
import sys
import time
import traceback
from contextlib import suppress
from typing import Any, NoReturn

import gevent

from experiments.errors import FAULT, AbreastError
from experiments.sagemaker.redacted import without_secrets

_TELLING_S = 5.0


def give_up(options: Any, error: Exception) -> NoReturn:
    """End the process with a message: Locust swallows what a listener of its events raises."""
    if isinstance(error, AbreastError | OSError):
        message, hint = getattr(error, "message", str(error)), getattr(error, "hint", "")
        code, shown = AbreastError.exit_code, f"{message}\n{hint}"
    else:
        message, hint, code = f"{type(error).__name__}: {error}", "", FAULT
        shown = without_secrets("".join(traceback.format_exception(error)))
    # Told first: the log may lie on the disk whose end this is.
    tell(options, {"kind": "error", "message": message, "hint": hint, "exit_code": code})
    say(shown)
    os._exit(code)


def tell(options: Any, message: dict[str, object]) -> None:
    """Tell the process that supervises this one, if any; one that does not listen holds up nothing.

    The end and an error alone are worth some seconds.
    """
    if options.progress_fd < 0:
        return
    # The line before may have been taken in part.
    left = b"\n" + json.dumps(message).encode() + b"\n"
    until_s = time.monotonic() + (_TELLING_S if message["kind"] in ("end", "error") else 0.0)
    try:
        os.set_blocking(options.progress_fd, False)
        while left:
            try:
                left = left[os.write(options.progress_fd, left) :]
            except BlockingIOError:
                if time.monotonic() >= until_s:
                    return
                gevent.sleep(0.05)
    except OSError:
        options.progress_fd = -1  # the supervisor is gone; its end of our stdin ends us


def note(options: Any, text: str) -> None:
    """Tell both the supervisor and whoever reads stderr."""
    tell(options, {"kind": "note", "text": text})
    say(text)


def say(line: str) -> None:
    """Write a line to stderr, where it takes one."""
    with suppress(OSError):  # a log may be on a full disk
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()
