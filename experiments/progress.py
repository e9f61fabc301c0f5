"""How a run goes, on stderr: one line that refreshes on a terminal, a plain line elsewhere.

It never shows significance: a test that is looked at while it runs is another test.
"""

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

_PLAIN_EVERY_S = 30.0
_BAR = 10


class Progress:
    """Shows the messages that `launch.run` tells. Use it as a context manager."""

    def __init__(self, *, quiet: bool) -> None:
        self._console = Console(stderr=True, quiet=quiet, highlight=False)
        self._live: Live | None = None
        self._next_plain_s = 0.0

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def tell(self, message: Mapping[str, Any]) -> None:
        """Show one message."""
        if message["kind"] == "note":
            self._console.print(Text(message["text"]))
        elif message["kind"] == "progress":
            line = progress_line(message)
            if self._live is not None:
                self._live.update(Text(line, no_wrap=True, overflow="ellipsis"), refresh=True)
            elif time.monotonic() >= self._next_plain_s:
                self._next_plain_s = time.monotonic() + _PLAIN_EVERY_S
                self._console.print(Text(line), soft_wrap=True)


def progress_line(message: Mapping[str, Any]) -> str:
    """Say in one line where the run is and how it goes."""
    elapsed_s, length_s = message["elapsed_s"], message["length_s"]
    done = min(int(_BAR * elapsed_s / length_s), _BAR)
    arms = "  ".join(
        f"{arm} p50 {seen['p50_ms']:.3g} p99 {seen['p99_ms']:.3g} ms"
        for arm, seen in message["arms"].items()
    )
    failed = message["failed"] / max(message["ended"], 1)
    # A closed loop has no rate that is due.
    due = "" if message["due_rps"] is None else f"/{message['due_rps']:.3g}"
    late_ms = message["lateness_p99_ms"]
    late = "" if late_ms is None else f"  p99 {late_ms:.1f} ms late"
    return (
        f"{_clock(min(elapsed_s, length_s))}/{_clock(length_s)} {'▇' * done}{'▁' * (_BAR - done)}  "
        f"{message['achieved_rps']:.1f}{due} req/s  {arms}  "
        f"errors {failed:.2%}{late}"
    )


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60:02d}:{int(seconds) % 60:02d}"
