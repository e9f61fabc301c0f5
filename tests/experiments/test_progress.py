"""The progress line: where the run is and how it goes, and never a word on significance."""

import io
from typing import Any

import pytest
from rich.console import Console

from experiments.progress import Progress, filled, progress_parts

SEEN = {"p50_ms": 41.123, "p99_ms": 149.4}
MESSAGE: dict[str, Any] = {
    "kind": "progress",
    "stage": "measure",
    "elapsed_s": 65.4,
    "length_s": 130.0,
    "due_rps": 40.0,
    "ended": 2000,
    "failed": 5,
    "in_flight": 3,
    "achieved_rps": 39.62,
    "lateness_p99_ms": 1.234,
    "arms": {"current": SEEN},
}


def line(**changed: object) -> str:
    return "  ".join(progress_parts({**MESSAGE, **changed}))


def test_a_line_says_time_rate_latency_errors_and_lateness() -> None:
    assert line() == (
        "01:05/02:10 ▇▇▇▇▇▁▁▁▁▁  39.6/40 req/s  current p50 41.1 p99 149 ms  "
        "errors 0.25%  p99 1.2 ms late"
    )


def test_before_the_first_answer_there_is_a_line_too() -> None:
    assert line(arms={}, ended=0, failed=0, lateness_p99_ms=None, elapsed_s=0.0) == (
        "00:00/02:10 ▁▁▁▁▁▁▁▁▁▁  39.6/40 req/s  errors 0.00%"
    )


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"due_rps": None}, "  39.6 req/s  "),
        (
            {"stage": "draining", "elapsed_s": 131.0},
            "02:10/02:10 ▇▇▇▇▇▇▇▇▇▇  draining, 3 in flight",
        ),
        ({"stage": "draining"}, "  39.6 req/s  "),
        ({"label": "probe 2 of 3, 80 req/s"}, "probe 2 of 3, 80 req/s  01:05/02:10 "),
        ({"arms": {"a": {"p50_ms": None, "p99_ms": None}}}, "  a no answer yet  "),
        ({"arms": {"a": {"p50_ms": 999.6, "p99_ms": 3390.4}}}, "  a p50 1,000 p99 3,390 ms  "),
        ({"due_rps": 1200.0, "achieved_rps": 1199.2}, "  1199.2/1,200 req/s  "),
    ],
)
def test_what_is_special_is_said(changed: dict[str, object], said: str) -> None:
    assert said in line(**changed)


@pytest.mark.parametrize("width", [40, 80, 120])
@pytest.mark.parametrize("arms", [1, 2, 4])
def test_nothing_is_cut_off_however_many_arms_and_however_long(width: int, arms: int) -> None:
    named = {f"candidate-{n}-{'x' * 40}-{n}": SEEN for n in range(arms)}
    parts = progress_parts({**MESSAGE, "arms": named, "label": "run 3 of 10"})
    lines = filled(parts, width)
    assert max(map(len, lines)) <= max(width, *map(len, parts))
    assert "  ".join(lines) == "  ".join(parts)
    assert all(f"-{n} p50 41.1" in "\n".join(lines) for n in range(arms))
    if width >= 80:
        assert max(map(len, lines)) <= width


def test_two_arms_of_ordinary_names_take_two_lines_of_80() -> None:
    parts = progress_parts({**MESSAGE, "arms": {"current": SEEN, "candidate": SEEN}})
    assert filled(parts, 80) == [
        "01:05/02:10 ▇▇▇▇▇▁▁▁▁▁  39.6/40 req/s  current p50 41.1 p99 149 ms",
        "candidate p50 41.1 p99 149 ms  errors 0.25%  p99 1.2 ms late",
    ]


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(out: io.StringIO, messages: int = 5) -> str:
    progress = Progress(quiet=False)
    progress._console = Console(file=out, width=200)
    with progress:
        progress.tell({"kind": "note", "text": "Starting."})
        for _ in range(messages):
            progress.tell(MESSAGE)
    return out.getvalue()


@pytest.mark.parametrize(
    ("out", "variables"),
    [
        (io.StringIO(), {}),
        (io.StringIO(), {"FORCE_COLOR": "1"}),
        (_Terminal(), {"TERM": "dumb"}),
    ],
)
def test_where_nothing_can_be_overwritten_a_plain_line_comes_every_half_minute(
    out: io.StringIO, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    text = shown(out)
    assert text.count("req/s") == 1
    assert text.startswith("Starting.\n")
    assert "\x1b" not in text


def test_on_a_terminal_the_line_is_overwritten_and_gone_at_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    text = shown(_Terminal())
    assert text.count("req/s") >= 5
    assert text.rstrip("\x1b[?25h").endswith("\x1b[2K")
