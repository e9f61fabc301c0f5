"""How a run goes, on stderr: what refreshes on a terminal, a plain line elsewhere.

It never shows significance: a test that is looked at while it runs is another test.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Self

from rich.cells import cell_len
from rich.console import Console
from rich.live import Live
from rich.text import Text

_PLAIN_EVERY_S = 30.0
_BAR = 10
_LONGEST_ARM = 24


class Progress:
    """Shows the messages that `launch.run` tells. Use it as a context manager."""

    def __init__(self, *, quiet: bool) -> None:
        self._console = Console(stderr=True, quiet=quiet, highlight=False)
        self._live: Live | None = None
        self._next_plain_s = 0.0

    def __enter__(self) -> Self:
        # FORCE_COLOR makes a terminal of anything, and a log is no place for what refreshes.
        if self._console.is_interactive and self._console.file.isatty():
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def tell(self, message: Mapping[str, Any]) -> None:
        """Show one message."""
        if message["kind"] == "note":
            self._console.print(Text(message["text"]))
        elif message["kind"] == "progress":
            parts = progress_parts(message)
            if self._live is not None:
                lines = "\n".join(filled(parts, self._console.width))
                self._live.update(Text(lines, no_wrap=True, overflow="ellipsis"), refresh=True)
            elif time.monotonic() >= self._next_plain_s:
                self._next_plain_s = time.monotonic() + _PLAIN_EVERY_S
                self._console.print(Text("  ".join(parts)), soft_wrap=True)


def progress_parts(message: Mapping[str, Any]) -> list[str]:
    """Say where the run is and how it goes, in parts that each stay together."""
    elapsed_s, length_s = message["elapsed_s"], message["length_s"]
    done = min(int(_BAR * elapsed_s / length_s), _BAR)
    failed = message["failed"] / max(message["ended"], 1)
    is_draining, in_flight = message["stage"] == "draining", message["in_flight"]
    # A closed loop has no rate that is due, and nothing is due after the end.
    due_rps = None if is_draining else message["due_rps"]
    due = "" if due_rps is None else f"/{_short(due_rps)}"
    late_ms = message["lateness_p99_ms"]
    return [
        *([message["label"]] if "label" in message else []),
        f"{_clock(min(elapsed_s, length_s))}/{_clock(length_s)} {'▇' * done}{'▁' * (_BAR - done)}",
        *([f"draining, {in_flight:,} in flight"] if is_draining and in_flight else []),
        f"{message['achieved_rps']:.1f}{due} req/s",
        *(_of_arm(arm, seen) for arm, seen in message["arms"].items()),
        f"errors {failed:.2%}",
        *([] if late_ms is None else [f"p99 {late_ms:.1f} ms late"]),
    ]


def filled(parts: Sequence[str], width: int) -> list[str]:
    """Put parts on as few lines as they need, whole and in order."""
    lines: list[str] = []
    for part in parts:
        if lines and cell_len(f"{lines[-1]}  {part}") <= width:
            lines[-1] += f"  {part}"
        else:
            lines.append(part)
    return lines


def _of_arm(arm: str, seen: Mapping[str, float | None]) -> str:
    # The middle of a long name tells least.
    half = _LONGEST_ARM // 2
    name = arm if len(arm) <= _LONGEST_ARM else f"{arm[: half - 1]}…{arm[-half:]}"
    if seen["p50_ms"] is None or seen["p99_ms"] is None:
        return f"{name} no answer yet"
    return f"{name} p50 {_short(seen['p50_ms'])} p99 {_short(seen['p99_ms'])} ms"


def _short(value: float) -> str:
    return f"{value:.3g}" if value < 999.5 else f"{value:,.0f}"


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60:02d}:{int(seconds) % 60:02d}"
