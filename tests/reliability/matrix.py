"""The faults that a run is put through, and what comes of each: the table of docs/reliability.md.

    python -m tests.reliability.matrix

writes it anew.
"""

import signal
from dataclasses import dataclass
from pathlib import Path

from tests.reliability import causes
from tests.reliability.kit import Cause, interrupted, killed

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- faults -->\n", "<!-- end of faults -->\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One row: what is done, what is lost by it, and what the user sees."""

    name: str
    done: str
    lost: str = "nothing"
    code: int
    said: str
    """A sentence that is printed."""
    cause: Cause

    @property
    def may_miss(self) -> bool:
        """Whether requests may have been sent that have no record."""
        return self.lost.startswith("records")

    @property
    def leaves_a_run(self) -> bool:
        """Whether anything was sent."""
        return not self.lost.startswith("no run")


UNFLUSHED = "records of the last second at most, counted as missing"
REFUSED = "no run: refused before the first request"
FAULTS = (
    Fault(
        name="locust-killed",
        done="SIGKILL to the Locust process",
        lost=UNFLUSHED,
        code=4,
        said="The Locust process was killed by SIGKILL.",
        cause=killed("experiments.traffic"),
    ),
    Fault(
        name="supervisor-killed",
        done="SIGKILL to `abreast run`; the others end by themselves, and `abreast report` judges",
        code=3,
        said="The supervising process ended.",
        cause=causes.supervisor_killed,
    ),
    Fault(
        name="endpoint-killed",
        done="SIGKILL to the local endpoint of the run",
        code=4,
        said="The local endpoint ended during the run; see logs/endpoint.log.",
        cause=killed("experiments.local.server"),
    ),
    Fault(
        name="endpoint-returns",
        done="an endpoint elsewhere is killed, and comes back on its port",
        code=3,
        said="requests failed",
        cause=causes.endpoint_returns,
    ),
    Fault(
        name="disk-full",
        done="the disk is full; `abreast report` judges when there is room again",
        lost="records that the disk refused, counted as missing",
        code=2,
        said="No space left on device.",
        cause=causes.disk_full,
    ),
    Fault(
        name="disk-full-at-start",
        done="the disk is full before the first request",
        lost=REFUSED,
        code=2,
        said="No space left on device",
        cause=causes.disk_full_at_start,
    ),
    Fault(
        name="names-lost",
        done="the endpoint's name is not resolved for a while",
        code=3,
        said="requests failed",
        cause=causes.names_lost,
    ),
    Fault(
        name="odd-answers",
        done="resets, half-closed sockets, a body that never ends, bodies shorter and longer than "
        "their Content-Length, what is not HTTP",
        code=3,
        said="requests failed",
        cause=causes.odd_answers,
    ),
    Fault(
        name="certificate",
        done="a certificate that has expired, is of another host, or of nobody that is trusted",
        lost=REFUSED,
        code=2,
        said="certificate verify failed: certificate has expired",
        cause=causes.expired_certificate,
    ),
    Fault(
        name="few-descriptors",
        done="more requests at once than file descriptors (`ulimit -n`), which `abreast doctor` "
        "foresees",
        code=4,
        said='Do not read on: this run fails the check "File descriptors".',
        cause=causes.few_descriptors,
    ),
    Fault(
        name="sigterm",
        done="SIGTERM",
        code=130,
        said="The run was stopped before its end.",
        cause=interrupted(signal.SIGTERM),
    ),
    Fault(
        name="sigint",
        done="SIGINT (Ctrl-C)",
        code=130,
        said="The run was stopped before its end.",
        cause=interrupted(signal.SIGINT),
    ),
    Fault(
        name="sigint-twice",
        done="SIGINT twice, while Locust hangs",
        lost="records of what was in flight, counted as missing",
        code=130,
        said="Stopped at once.",
        cause=interrupted(signal.SIGINT, signal.SIGINT),
    ),
    Fault(
        name="clock-stepped",
        done="the wall clock steps back by two minutes",
        code=3,
        said="below 1 min there is no verdict",
        cause=causes.clock_stepped,
    ),
    Fault(
        name="too-large",
        done="a plan whose records no memory holds: 1,000,000 req/s for ten days",
        lost=REFUSED,
        code=2,
        said="GiB of memory; this machine has",
        cause=causes.too_large,
    ),
    Fault(
        name="one-arm-fails",
        done="one arm fails, and `limits.abort_error_rate` stops the comparison",
        code=1,
        said="Don't ship candidate:",
        cause=causes.one_arm_fails,
    ),
    Fault(
        name="all-arms-fail",
        done="every arm fails, and `limits.abort_error_rate` stops the run",
        code=4,
        said='Do not read on: this run fails the check "Records complete".',
        cause=causes.all_arms_fail,
    ),
)


def table() -> str:
    """Give the faults as a Markdown table."""
    rows = ["| what happens | what is lost | exit code | what is said |", "|:--|:--|--:|:--|"]
    rows += [f"| {f.done} | {f.lost} | {f.code} | {f.said} |" for f in FAULTS]
    return "\n".join(rows) + "\n"


def page_with_table(text: str) -> str:
    """Put the table into the page's text."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + table() + END + after


if __name__ == "__main__":
    PAGE.write_text(page_with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
