"""The faults that a run is put through, and what comes of each: the table of docs/reliability.md.

    python -m tests.reliability.matrix

writes it anew.
"""

import signal
from dataclasses import dataclass
from pathlib import Path

from tests.reliability import stops, surroundings
from tests.reliability.kit import ENDPOINT, LOCUST, Cause

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
STOPS = (
    Fault(
        name="locust-killed",
        done="SIGKILL to the Locust process",
        lost=UNFLUSHED,
        code=4,
        said="The Locust process was killed by SIGKILL.",
        cause=stops.killed(LOCUST),
    ),
    Fault(
        name="plain-locust-killed",
        done="SIGKILL to plain `locust -f locustfile.py`; `abreast report` judges",
        lost=UNFLUSHED,
        code=4,
        said="The process that made the run was killed.",
        cause=stops.plain_locust_killed,
    ),
    Fault(
        name="supervisor-killed",
        done="SIGKILL to `abreast run`; the others end by themselves, and `abreast report` judges",
        code=3,
        said="The supervising process ended.",
        cause=stops.supervisor_killed,
    ),
    Fault(
        name="endpoint-killed",
        done="SIGKILL to the local endpoint of the run",
        code=4,
        said="The local endpoint ended during the run; see logs/endpoint.log.",
        cause=stops.killed(ENDPOINT),
    ),
    Fault(
        name="killed-late",
        done="SIGKILL to `abreast run` while it compacts the records, and to the `abreast report` "
        "after it while that judges; the next `abreast report` judges",
        code=3,
        said="below 1 min there is no verdict",
        cause=stops.killed_late,
    ),
    Fault(
        name="sigint",
        done="SIGINT (Ctrl-C)",
        code=130,
        said="The run was stopped before its end.",
        cause=stops.interrupted(signal.SIGINT),
    ),
    Fault(
        name="sigint-twice",
        done="SIGINT twice, while Locust hangs",
        lost="records of what was in flight, counted as missing",
        code=130,
        said="Stopped at once.",
        cause=stops.interrupted(signal.SIGINT, signal.SIGINT),
    ),
    Fault(
        name="sigint-compacting",
        done="SIGINT while the records are compacted; `abreast report` judges",
        code=130,
        said="The records are kept;",
        cause=stops.interrupted_late(signal.SIGINT, stops.COMPACTS),
    ),
    Fault(
        name="sigterm-judging",
        done="SIGTERM while the run is judged; `abreast report` judges",
        code=130,
        said="The records are kept;",
        cause=stops.interrupted_late(signal.SIGTERM, stops.JUDGES),
    ),
)
SURROUNDINGS = (
    Fault(
        name="endpoint-returns",
        done="an endpoint elsewhere is killed, and another comes up on its port",
        code=3,
        said="requests failed",
        cause=surroundings.endpoint_returns,
    ),
    Fault(
        name="names-lost",
        done="the endpoint's name is not known for a while; later the name server never answers "
        "again",
        code=4,
        said='Do not read on: this run fails the check "Few failures".',
        cause=surroundings.names_lost,
    ),
    Fault(
        name="odd-answers-fast",
        done="resets, half-closed sockets, a body that never ends, bodies shorter and longer than "
        "their Content-Length, what is not HTTP",
        code=3,
        said="requests failed",
        cause=surroundings.odd_answers("fast"),
    ),
    Fault(
        name="odd-answers-boto3",
        done='the same, with `traffic.transport = "boto3"`',
        code=3,
        said="requests failed",
        cause=surroundings.odd_answers("boto3"),
    ),
    Fault(
        name="certificate-expired",
        done="a certificate that has expired",
        lost=REFUSED,
        code=2,
        said="certificate verify failed: certificate has expired",
        cause=surroundings.refused_certificate("expired", "localhost", "expired"),
    ),
    Fault(
        name="certificate-of-another",
        done="a certificate of another host",
        lost=REFUSED,
        code=2,
        said="hostname 'localhost' doesn't match 'other.test'",
        cause=surroundings.refused_certificate("another", "other.test", "another"),
    ),
    Fault(
        name="certificate-self-signed",
        done="a certificate that its server signed itself",
        lost=REFUSED,
        code=2,
        said="certificate verify failed: self-signed certificate",
        cause=surroundings.refused_certificate("unknown", "localhost", "known"),
    ),
    Fault(
        name="certificate-changes",
        done="a server's certificate is replaced for a while by one that nobody trusts",
        code=3,
        said="requests failed",
        cause=surroundings.certificate_changes,
    ),
    Fault(
        name="disk-full",
        done="the disk is full; `abreast report` judges when there is room again",
        lost="records that the disk refused, counted as missing",
        code=2,
        said="No space left on device.",
        cause=surroundings.disk_full,
    ),
    Fault(
        name="disk-full-at-start",
        done="the disk is full before the first request",
        lost=REFUSED,
        code=2,
        said="No space left on device",
        cause=surroundings.disk_full_at_start,
    ),
    Fault(
        name="few-descriptors",
        done="more requests at once than file descriptors (`ulimit -n`), which `abreast doctor` "
        "foresees",
        code=4,
        said='Do not read on: this run fails the check "File descriptors".',
        cause=surroundings.few_descriptors,
    ),
    Fault(
        name="clock-stepped",
        done="the wall clock steps an hour on, and two back; then SIGTERM",
        code=130,
        said="The run was stopped before its end.",
        cause=surroundings.clock_stepped,
    ),
    Fault(
        name="too-large",
        done="a plan whose records no memory holds: 1,000,000 req/s for ten days",
        lost=REFUSED,
        code=2,
        said="GiB of memory; this machine has",
        cause=surroundings.too_large,
    ),
    Fault(
        name="one-arm-fails",
        done="one arm fails, and `limits.abort_error_rate` stops the comparison",
        code=1,
        said="Don't ship candidate:",
        cause=surroundings.stalled("candidate"),
    ),
    Fault(
        name="all-arms-fail",
        done="every arm fails, and `limits.abort_error_rate` stops the run",
        code=4,
        said='Do not read on: this run fails the check "Records complete".',
        cause=surroundings.stalled("current", "candidate"),
    ),
)


def table() -> str:
    """Give the faults as a Markdown table."""
    rows = ["| what happens | what is lost | exit code | what is said |", "|:--|:--|--:|:--|"]
    rows += [f"| {f.done} | {f.lost} | {f.code} | {f.said} |" for f in (*STOPS, *SURROUNDINGS)]
    return "\n".join(rows) + "\n"


def page_with_table(text: str) -> str:
    """Put the table into the page's text."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + table() + END + after


if __name__ == "__main__":
    PAGE.write_text(page_with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
