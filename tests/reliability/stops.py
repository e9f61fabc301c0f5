"""Processes of a run that are killed, interrupted, or end while they finish it."""

import os
import signal
import time

from tests.reliability.kit import ENDPOINT, LOCUST, LONG, Cause, Ended, Kit, child_of, struck

SHORT = ("traffic.warmup=200ms", "traffic.duration=1500ms")
COMPACTS, JUDGES = "pyarrow.parquet.write_table", "analysis.judge"


def killed(module: str) -> Cause:
    """Kill a child of the run with SIGKILL, in the midst of it."""

    def cause(kit: Kit) -> Ended:
        if module == ENDPOINT:
            kit.keep_endpoint()
        run = kit.start(LONG)
        kit.wait_for_requests(run)
        child_of(run, module).kill()
        return kit.end(run)

    return cause


def supervisor_killed(kit: Kit) -> Ended:
    run = kit.start(LONG)
    kit.wait_for_requests(run)
    locust = child_of(run, LOCUST)
    run.kill()
    run.communicate(timeout=60)
    locust.wait(timeout=20)
    return kit.report()


def plain_locust_killed(kit: Kit) -> Ended:
    run = kit.start_locust(LONG)
    kit.wait_for_requests(run)
    run.kill()
    run.communicate(timeout=60)
    return kit.report()


def interrupted(*numbers: signal.Signals) -> Cause:
    """Send signals to the run; at a second one Locust hangs, so that only force ends it."""

    def cause(kit: Kit) -> Ended:
        run = kit.start(LONG)
        kit.wait_for_requests(run)
        if len(numbers) > 1:
            child_of(run, LOCUST).suspend()
        for number in numbers:
            run.send_signal(number)
            time.sleep(0.3)
        return kit.end(run)

    return cause


def interrupted_late(number: signal.Signals, at: str) -> Cause:
    """Interrupt `abreast run` when the load is over; what it said is judged, and then the run."""

    def cause(kit: Kit) -> Ended:
        ended = kit.end(kit.start(*SHORT, by=struck(number, at, "run", str(kit.plan))))
        assert kit.report().code in (3, 4)
        return ended

    return cause


def killed_late(kit: Kit) -> Ended:
    """Kill `abreast run` while it compacts the records, and `abreast report` while it judges."""
    run = kit.start(*SHORT, by=struck(signal.SIGKILL, COMPACTS, "run", str(kit.plan)))
    ended = kit.end(run)
    assert ended.code == -signal.SIGKILL
    assert os.listdir(ended.folder / "requests")  # type: ignore[operator]
    again = kit.popen(*struck(signal.SIGKILL, JUDGES, "report", str(ended.folder)))
    assert kit.end(again).code == -signal.SIGKILL
    assert "counts" in ended.manifest
    return kit.report()
