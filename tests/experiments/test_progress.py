"""The progress line: where the run is and how it goes, and never a word on significance."""

import io

from rich.console import Console

from experiments.progress import Progress, progress_line

MESSAGE = {
    "kind": "progress",
    "elapsed_s": 65.4,
    "length_s": 130.0,
    "due_rps": 40.0,
    "ended": 2000,
    "failed": 5,
    "achieved_rps": 39.62,
    "lateness_p99_ms": 1.234,
    "arms": {"current": {"p50_ms": 41.123, "p99_ms": 149.4}},
}


def test_a_line_says_time_rate_latency_errors_and_lateness() -> None:
    assert progress_line(MESSAGE) == (
        "01:05/02:10 ▇▇▇▇▇▁▁▁▁▁  39.6/40 req/s  current p50 41.1 p99 149 ms  "
        "errors 0.25%  p99 1.2 ms late"
    )


def test_before_the_first_answer_there_is_a_line_too() -> None:
    line = progress_line({**MESSAGE, "arms": {}, "ended": 0, "failed": 0, "lateness_p99_ms": None})
    assert line.startswith("01:05/02:10")
    assert line.endswith("errors 0.00%")


def test_without_a_terminal_a_plain_line_comes_every_half_minute() -> None:
    out = io.StringIO()
    progress = Progress(quiet=False)
    progress._console = Console(file=out, width=200)
    with progress:
        progress.tell({"kind": "note", "text": "Starting."})
        for _ in range(5):
            progress.tell(MESSAGE)
    assert out.getvalue().count("req/s") == 1
    assert out.getvalue().startswith("Starting.\n")
