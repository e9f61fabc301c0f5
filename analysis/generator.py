"""Was the generator itself in the way: late, held up, out of slots, or not telling the truth?

Its limits are those of perf_analyzer (1 % of requests late) and Hyperfoil (an event loop that stood
still).
"""

from typing import Literal

import numpy as np
import pandas as pd

from analysis.read import Run
from analysis.render.format import count, counted, latency, number, share
from analysis.results.run import Check
from analysis.windows import WINDOWS
from experiments.record import NO_DESCRIPTOR

LATE_MS = 5.0
LATE_SHARE_OF_MEDIAN = 0.05
MOST_LATE = 0.01
FEWEST_LATE = 5
"""So many late requests make a run INVALID; fewer, of a small number, make it SUSPECT."""
MOST_CPU = 0.85
MOST_CPU_SECONDS = 0.05
MOST_LOOP_LAG_MS = 250.0
MOST_LOOP_LAG_P99_MS = 20.0
MOST_SLOW_SECONDS = 0.01
MOST_GC_PAUSE_MS = 50.0
FEWEST_STARTED = 0.99
MOST_NEW_CONNECTIONS = 0.05
MOST_UNEXPLAINED = 0.1
_ENDS = ("started", "ended")
_SLICE = 1 << 20


def check_generator(run: Run, rows: pd.DataFrame) -> tuple[Check | None, ...]:
    """Make the checks of what sent the measured `rows`; `None` where one does not apply."""
    return (
        _kept_up(run, rows), _descriptors(run), _slots(run, rows), _in_flight(run, rows),
        _connections(run, rows),
    )  # fmt: skip


def _kept_up(run: Run, rows: pd.DataFrame) -> Check:
    title = "Generator kept up"
    if rows.empty:
        said = "no request was sent in the measured phase"
        if run.manifest["ended_as"] == "failing":  # which is judged by all of its requests
            return Check("generator", title, "warn", said, "See which arm failed.")
        return Check("generator", title, "fail", said, "Run longer than the warm-up.")
    had_slot = (rows["outcome"] != "dropped") & ~_found_no_slot(run, rows)
    late_ms = rows.loc[had_slot, "lateness_ms"]
    bound_ms = max(LATE_MS, LATE_SHARE_OF_MEDIAN * float(rows["service_ms"].median()))
    late_requests = int((late_ms > bound_ms).sum())
    late = late_requests / max(len(late_ms), 1)
    cpu = _each_second(run, "cpu")
    most_cpu = "not known" if cpu.empty else f"at most {share(float(cpu.max()))} of a core"
    finding = (
        f"{share(1 - late)} of requests left within {latency(bound_ms)} of when they were due "
        f"(p99 {latency(float(late_ms.quantile(0.99)))} late); CPU {most_cpu}"
    )
    if late_ms.empty:
        finding = f"no request had a free slot to leave late from; CPU {most_cpu}"
    if "locustfile" in run.manifest:
        finding = f"its users send when they like, so nothing is late; CPU {most_cpu}"
    held_up = _held_up(run)
    said = "; ".join([finding, *held_up])
    step = None
    if late > MOST_LATE or held_up:
        less = "Use fewer users" if run.plan.traffic.is_closed else "Lower the rate"
        step = f"{less}, or give the generator a machine of its own: latencies include its delay."
    is_late = late > MOST_LATE and late_requests >= FEWEST_LATE
    state: Literal["ok", "warn", "fail"] = "fail" if is_late else "warn" if step else "ok"
    return Check("generator", title, state, said, step)


def _descriptors(run: Run) -> Check | None:
    """Requests that this side had no socket for are no failures of an arm."""
    errors = run.requests["error"].dropna().astype(str)
    without = int(errors.str.contains(NO_DESCRIPTOR, regex=False).sum())
    if without == 0:
        return None
    every = count(len(run.requests))
    finding = f"{count(without)} of {every} requests were not sent, as none was left to open"
    step = "Raise the limit of open files (ulimit -n) well above traffic.slots, and run again."
    return Check("descriptors", "File descriptors", "fail", finding, step)


def _found_no_slot(run: Run, rows: pd.DataFrame) -> "pd.Series[bool]":
    """Whether each request found all slots busy: those of its worker, where there are several."""
    own = {worker["rank"]: worker["slots"] for worker in run.manifest.get("workers", ())}
    slots = run.manifest.get("slots", run.plan.traffic.concurrency)
    return rows["slots_busy"] >= (rows["worker"].map(own) if own else slots)


def _held_up(run: Run) -> list[str]:
    """Say what held up the generator's process in the measured phase."""
    said = []  # a share of no second is nan, which is above no bound
    busy = float((_each_second(run, "cpu") > MOST_CPU).mean())
    if busy > MOST_CPU_SECONDS:
        said.append(f"above {MOST_CPU:.0%} in {share(busy)} of seconds")
    lag_ms = _each_second(run, "loop_lag_max_ms").max()
    if lag_ms > MOST_LOOP_LAG_MS:
        said.append(f"its event loop once stood still for {latency(lag_ms)}")
    lags_ms = _each_second(run, "loop_lag_p99_ms")
    slow = float((lags_ms > MOST_LOOP_LAG_P99_MS).mean())
    if slow > MOST_SLOW_SECONDS and slow * len(lags_ms) > 1:
        said.append(
            f"p99 of its event loop's lag was above {latency(MOST_LOOP_LAG_P99_MS)} "
            f"in {share(slow)} of seconds"
        )
    pause_ms = _each_second(run, "gc_pause_ms").max()
    if pause_ms > MOST_GC_PAUSE_MS:
        said.append(f"garbage collection once stopped it for {latency(pause_ms)}")
    return said


def _each_second(run: Run, column: str) -> "pd.Series[float]":
    """Give what is known of the generator in the measured phase; a row is of the second before."""
    if column not in run.health:
        return pd.Series(dtype=float)
    end_s = run.end_s
    if run.manifest["ended_as"] != "complete" and run.decided is None:
        # What was due before it stopped may have left and ended much later.
        end_s = max(end_s, float(run.requests["ended_ms"].max()) / 1e3 + 1)
    known: pd.Series[float] = run.health.loc[
        run.health["second"].between(run.start_s, end_s), column
    ].dropna()
    return known


def _connections(run: Run, rows: pd.DataFrame) -> Check | None:
    known = rows.loc[rows["outcome"] != "dropped", "new_connection"].dropna().astype(bool)
    if known.empty:
        return None
    opened = int(known.sum())
    title = "Connections reused"
    finding = f"{count(opened)} of {count(len(known))} requests opened a new connection"
    longest_ms = _each_second(run, "connect_max_ms").max()
    if opened and longest_ms > 0:
        finding += f", which took {latency(longest_ms)} at most"
    if opened > MOST_NEW_CONNECTIONS * len(known):
        step = (
            "Look for a proxy or an endpoint that closes connections, or lengthen the warm-up "
            "(traffic.warmup): latencies include the handshake."
        )
        return Check("connections", title, "warn", finding, step)
    return Check("connections", title, "ok", finding)


def _slots(run: Run, rows: pd.DataFrame) -> Check | None:
    if run.plan.traffic.is_closed:
        return None  # each user is a slot, and waits for no other
    slots, of = run.manifest.get("slots", run.plan.traffic.concurrency), ""
    if workers := run.manifest.get("workers"):
        slots, of = max(worker["slots"] for worker in workers), " of its worker"
    without = int(_found_no_slot(run, rows).sum())
    title = "Enough slots"
    if without == 0:
        most = int(rows["slots_busy"].max()) + 1 if len(rows) else 0
        finding = f"{counted(most, 'request')} at most in flight at once, of {count(slots)} allowed"
        return Check("slots", title, "ok", f"{finding}, on each worker" if of else finding)
    came_of_it = (
        "were dropped"
        if run.plan.traffic.overflow == "drop"
        else "waited on this side; response time counts the wait"
    )
    sent = count(len(rows))
    finding = f"{count(without)} of {sent} requests found all {count(slots)} slots{of} busy and "
    finding += came_of_it
    started = int((rows["started_ms"] < run.end_s * 1e3).sum())
    if started < FEWEST_STARTED * len(rows) and run.manifest["ended_as"] == "complete":
        finding += f"; {count(started)} of {sent} requests were started by the phase's end"
    state: Literal["warn", "fail"] = "fail" if without == len(rows) else "warn"
    step = "Give more slots (traffic.slots) if the endpoint should see the full load, or a lower "
    return Check("slots", title, state, finding, f"{step}rate.")


def _in_flight(run: Run, rows: pd.DataFrame) -> Check | None:
    """Hold the requests in flight that the generator counted against those of the records.

    Little's law, window by window: what is in flight is what came times how long it took. Records
    that are lost, doubled or wrongly timed break it.
    """
    every = run.requests
    was_sent = (every["outcome"] != "dropped").to_numpy()
    had_slot = (rows["outcome"] != "dropped") & ~_found_no_slot(run, rows)
    is_asked = (had_slot & rows["ended_ms"].notna()).to_numpy()
    asked = int(is_asked.sum())
    if asked < WINDOWS or "locustfile" in run.manifest:
        return None
    counted, recorded = np.zeros((2, WINDOWS))
    span_ms = (run.end_s - run.start_s) * 1e3
    for worker in rows["worker"].unique():
        of_worker = was_sent & (every["worker"] == worker).to_numpy()
        started, ended = (np.sort(every[f"{of}_ms"].to_numpy()[of_worker]) for of in _ENDS)
        own = np.flatnonzero(is_asked & (rows["worker"] == worker).to_numpy())
        for part in np.array_split(own, own.size // _SLICE + 1):
            at_ms = rows["started_ms"].to_numpy()[part]
            in_flight = np.searchsorted(started, at_ms) - np.searchsorted(ended, at_ms)
            due_ms = rows["scheduled_ms"].to_numpy()[part] - run.start_s * 1e3
            place = np.clip((due_ms * (WINDOWS / span_ms)).astype(int), 0, WINDOWS - 1)
            counted += np.bincount(place, rows["slots_busy"].to_numpy()[part], WINDOWS)
            recorded += np.bincount(place, in_flight, WINDOWS)
    per_window = asked / WINDOWS
    unexplained = np.abs(counted - recorded) / np.maximum(np.maximum(counted, recorded), per_window)
    wrong = int((unexplained > MOST_UNEXPLAINED).sum())
    title = "Recorded times add up"
    means = (number(total.sum() / asked, 3) for total in (counted, recorded))
    finding = (
        "requests in flight, on average: {} counted while sending, {} by the recorded times"
    ).format(*means)
    if wrong == 0:
        return Check("in_flight", title, "ok", finding)
    finding += f"; {MOST_UNEXPLAINED:.0%} and more apart in {wrong} of {WINDOWS} windows"
    step = "Records are lost, doubled or wrongly timed: report it, with the run folder."
    return Check("in_flight", title, "warn", finding, step)
