"""Interim looks at a run: judged aside, while it goes on."""

import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from experiments import run_folder
from experiments.reach import Tell
from experiments.run_folder import RunFolder

Judge = Callable[[RunFolder, float], Mapping[str, Any] | None]
"""Looks at the records so far, so many seconds into the run, where a look is due.

It gives the event for the timeline, of which `said` is shown and `decided` stops the run.
"""

_GIVING_WAY = 19
"""The lowest weight that a thread can have."""


@contextmanager
def looks(
    judge: Judge | None, folder: RunFolder, tell: Tell
) -> Iterator[Callable[[float], Mapping[str, Any] | None]]:
    """Give a function to call each second; once the run is decided it gives the event that says so.

    What is judged is judged aside, so that Ctrl-C and the end of the run are noticed meanwhile. A
    look that fails is said, once, and the run goes on; one that ends after the run is said too.
    """
    # On Linux nice(2) is a thread's own: the generator has the CPU first, whatever is judged.
    with ThreadPoolExecutor(1, initializer=os.nice, initargs=(_GIVING_WAY,)) as aside:
        pending: Future[Mapping[str, Any] | None] | None = None
        failed = ""

        def taken(late: str = "") -> Mapping[str, Any] | None:
            nonlocal failed
            try:
                found = None if pending is None else pending.result()
            except Exception as error:  # noqa: BLE001 - a run must not end for how it is judged
                said = f"This look could not be taken: {error or type(error).__name__}"
                found = None if said == failed else {"kind": "look", "said": said, "decided": False}
                failed = said
            if found is None:
                return None
            found = {**found, "said": f"{found['said']}{late}"}
            tell({"kind": "note", "text": found["said"]})
            run_folder.append_event(folder, **found)
            return found if found["decided"] else None

        def look(elapsed_s: float) -> Mapping[str, Any] | None:
            nonlocal pending
            if judge is None or (pending is not None and not pending.done()):
                return None
            found = taken()
            pending = None if found else aside.submit(judge, folder, elapsed_s)
            return found

        yield look
        taken(late=" The run had ended by then.")
