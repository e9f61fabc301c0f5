"""Request bodies that a function of the user's makes: the only code that a plan can name."""

import importlib.util
import json
import re
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from experiments.errors import PlanError

MOST = 1_000_000
"""A function may give bodies without end; a run sends the same ones again and again."""

_FUNCTION = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):([A-Za-z_]\w*)")


def is_function(payloads: str) -> bool:
    """Whether `request.payloads` is "module:function", and not a file or a folder."""
    return _FUNCTION.fullmatch(payloads) is not None


def bodies(payloads: str, folder: Path, where: str) -> Iterator[bytes]:
    """Call the function, without arguments, and give the bytes, texts or JSON objects it gives.

    Its module is one beside the plan, in `folder`, or an installed one. What is about to run is
    said on stderr first.
    """
    module_name, _, name = payloads.partition(":")
    if str(folder.resolve()) not in sys.path:
        sys.path.append(str(folder.resolve()))  # last, so that it shadows nothing installed
    file = folder.resolve() / f"{module_name}.py"
    sys.stderr.write(f"Making payloads: {name}() of {file if file.is_file() else module_name}.\n")
    try:
        spec = importlib.util.find_spec(module_name)
        if spec is None or (file.is_file() and spec.origin != str(file)):
            there = "there is no such module" if spec is None else f"that is {spec.origin}"
            raise PlanError(
                f"{where}: {module_name}: {there}.",
                f"Give a module beside the plan ({file.name}), of a name that no other has, or an "
                "installed one.",
            )
        made = getattr(importlib.import_module(module_name), name)()
        if isinstance(made, str | bytes | dict):
            raise TypeError(f"it gives one {type(made).__name__}, and not a body after another")
        for number, body in enumerate(islice(made, MOST + 1), start=1):
            if number > MOST:
                raise PlanError(f"{where} gives more than {MOST:,} bodies.", "Give fewer.")
            yield _as_bytes(body)
    except PlanError:
        raise
    except (Exception, SystemExit) as error:
        raise PlanError(
            f"{where} failed: {type(error).__name__}: {error}.",
            "Give a function that takes no argument and gives an iterable of bytes, str or dict.",
        ) from error


def _as_bytes(body: object) -> bytes:
    if isinstance(body, dict):
        body = json.dumps(body, separators=(",", ":"), ensure_ascii=False)
    if isinstance(body, str):
        body = body.encode()
    if not isinstance(body, bytes):
        raise TypeError(f"a body is a {type(body).__name__}")
    return body
