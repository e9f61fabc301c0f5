"""Can this run be trusted? Each check is a finding with its figure, and what to do about it.

A failed check makes the run INVALID and replaces its verdict; a warning makes it SUSPECT and is
said beside it. The generator's limits are those of perf_analyzer (1 % of requests late) and
Hyperfoil (an event loop that stood still).
"""

from collections.abc import Iterable
from itertools import pairwise
from typing import Literal

import pandas as pd

from analysis.noise import MEMORY_S
from analysis.read import Run
from analysis.render.format import count, duration, latency, number, share
from analysis.results import Check
from analysis.split import traffic_split

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
MOST_DRIFT = 0.25
MOST_MISSING = 0.01
MOST_FAILED = 0.01
MOST_FAILED_EVERYWHERE = 0.2

State = Literal["ok", "warn", "fail"]


def validity_of(checks: Iterable[Check]) -> Literal["VALID", "SUSPECT", "INVALID"]:
    """Give the worst state of the checks, in words."""
    states = {check.state for check in checks}
    if "fail" in states:
        return "INVALID"
    return "SUSPECT" if "warn" in states else "VALID"


def check_run(run: Run) -> tuple[Check, ...]:
    """Make every check that this run's records allow."""
    rows = run.measured
    checks = (
        _records(run), _routing(run, rows), _generator(run, rows), _slots(run, rows),
        _connections(run, rows), _warmup(run), _instances(run), _drift(run, rows),
        _failures(run, rows), _answers(run, rows), _retries(rows),
    )  # fmt: skip
    return tuple(check for check in checks if check is not None)


def memory_check(run: Run, warnings: Iterable[str]) -> Check:
    """Say whether the run was long enough for how long its noise lasts."""
    title = "Long enough"
    said = tuple(dict.fromkeys(warnings))
    measured_s = run.end_s - run.start_s
    if measured_s < 6 * MEMORY_S:
        said = (
            f"{duration(measured_s)} measured; below {duration(6 * MEMORY_S)} there is no verdict",
        )
    if said:
        step = "Run longer (traffic.duration), or make several runs."
        return _check("memory", title, "warn", "; ".join(said), step)
    return _check(
        "memory",
        title,
        "ok",
        "noise is taken to last 10 s at most, as no earlier run says otherwise",
    )


def _records(run: Run) -> Check:
    counts = run.counts
    title = "Records complete"
    ended_as = run.manifest["ended_as"]
    finding = (
        f"{count(counts['planned'])} planned = {count(counts['ended'])} ended + "
        f"{count(counts['dropped'])} dropped + {count(counts['unsent'])} unsent + "
        f"{count(counts['missing'])} missing"
    )
    if ended_as == "running":
        said = f"{finding}; the run has not ended, or its supervisor was killed"
        return _check("records", title, "warn", said, "Judge the run when it has ended.")
    if ended_as == "stopped":
        # For its SLO, which is the verdict; or by a limit, which is no reason to distrust it.
        said = f"{finding}; {run.manifest.get('reason') or ended_as}".rstrip(".")
        for_slo = run.manifest.get("slo_lost") is not None
        if for_slo:
            return _check("records", title, "ok", said)
        step = "Raise that limit for a run of the planned length."
        return _check("records", title, "warn", said, step)
    if ended_as != "complete":
        said = f"{finding}; {run.manifest.get('reason') or ended_as}".rstrip(".")
        state: State = "warn" if ended_as == "interrupted" else "fail"
        return _check("records", title, state, said, "Make the run again, to its planned end.")
    if counts["missing"] > MOST_MISSING * max(counts["planned"], 1):
        step = "Make the run again; logs/locust.log in the run folder says what happened."
        return _check("records", title, "fail", finding, step)
    if counts["missing"] or counts["dropped"]:
        step = "Give more slots (traffic.slots), or a lower rate."
        return _check("records", title, "warn", finding, step)
    return _check("records", title, "ok", finding)


def _routing(run: Run, rows: pd.DataFrame) -> Check:
    answered = rows[rows["variant_invoked"].notna()]
    if run.plan.traffic.routing == "weighted":
        served = answered["variant_invoked"].value_counts()
        weights = {run.plan.variant_of(name) or name: a.share for name, a in run.plan.arms.items()}
        split = traffic_split({str(k): int(v) for k, v in served.items()}, weights)
        untested: State = "warn" if len(run.plan.arms) > 1 else "ok"
        states: dict[str, State] = {"mismatch": "fail", "untested": untested}
        step = None
        if split.state == "mismatch":
            step = "Check the weights that were in force (DescribeEndpoint), and for lost requests."
        state = states.get(split.state, "ok")
        return _check("split", "Traffic split", state, split.finding, step)
    pinned = answered[answered["variant_asked"].notna()]
    strays = pinned[pinned["variant_asked"] != pinned["variant_invoked"]]
    title = "Pinning honoured"
    if len(strays):
        example = strays.iloc[0]
        return _check(
            "pinning",
            title,
            "fail",
            f"{count(len(strays))} of {count(len(pinned))} answers came from another variant "
            f"than the one asked for (asked {example['variant_asked']}, got "
            f"{example['variant_invoked']})",
            "Check arms.*.request, and whether a proxy or the endpoint drops TargetVariant.",
        )
    sent = rows["arm"].value_counts()
    shares = ", ".join(f"{count(int(sent.get(arm, 0)))} to {arm}" for arm in run.plan.arms)
    asked = rows[(rows["outcome"] == "ok") & rows["variant_asked"].notna()]
    unnamed = len(asked) - len(pinned)
    if unnamed:
        said = f"{count(unnamed)} of {count(len(asked))} answers do not name their variant"
        return _check("pinning", title, "warn", said, "Look for a proxy that drops headers.")
    if asked.empty:
        return _check("pinning", "Arms", "ok", shares)
    return _check(
        "pinning", title, "ok", f"every answer came from the variant asked for ({shares})"
    )


def _generator(run: Run, rows: pd.DataFrame) -> Check:
    sent = rows[rows["outcome"] != "dropped"]
    title = "Generator kept up"
    if sent.empty:
        said = "no request was sent in the measured phase"
        return _check("generator", title, "fail", said, "Run longer than the warm-up.")
    free = sent[sent["slots_busy"] < run.manifest.get("slots", run.plan.traffic.concurrency)]
    if free.empty:
        return _check(
            "generator", title, "fail", "no request had a free slot when it was due",
            "Give more slots (traffic.slots), or a lower rate.",
        )  # fmt: skip
    bound_ms = max(LATE_MS, LATE_SHARE_OF_MEDIAN * float(sent["service_ms"].median()))
    late_requests = int((free["lateness_ms"] > bound_ms).sum())
    late = late_requests / len(free)
    p99_ms = float(free["lateness_ms"].quantile(0.99))
    cpu = _each_second(run, "cpu")
    most_cpu = "not known" if cpu.empty else f"at most {share(float(cpu.max()))} of a core"
    finding = (
        f"{share(1 - late)} of requests left within {latency(bound_ms)} of their time "
        f"(p99 {latency(p99_ms)} late); CPU {most_cpu}"
    )
    if "locustfile" in run.manifest:
        finding = f"its users send when they like, so nothing is late; CPU {most_cpu}"
    held_up, unstarted = _held_up(run), _not_started(run, rows)
    said = "; ".join([finding, *held_up, *unstarted])
    steps = []
    if late > MOST_LATE or held_up:
        steps.append(
            "Lower the rate, or give the generator a machine of its own: "
            "latencies include its delay."
        )
    if unstarted:
        steps.append("Give more slots (traffic.slots), or a lower rate.")
    is_late = late > MOST_LATE and late_requests >= FEWEST_LATE
    state: State = "fail" if is_late else "warn" if steps else "ok"
    return _check("generator", title, state, said, " ".join(steps) or None)


def _held_up(run: Run) -> list[str]:
    """Say what held up the generator's process in the measured phase."""
    said = []
    busy = _share_above(_each_second(run, "cpu"), MOST_CPU)
    if busy > MOST_CPU_SECONDS:
        said.append(f"above {share(MOST_CPU)} in {share(busy)} of seconds")
    lag_ms = _each_second(run, "loop_lag_max_ms").max()
    if lag_ms > MOST_LOOP_LAG_MS:
        said.append(f"its event loop once stood still for {latency(lag_ms)}")
    slow = _share_above(_each_second(run, "loop_lag_p99_ms"), MOST_LOOP_LAG_P99_MS)
    if slow > MOST_SLOW_SECONDS:
        said.append(
            f"p99 of its event loop's lag was above {latency(MOST_LOOP_LAG_P99_MS)} "
            f"in {share(slow)} of seconds"
        )
    pause_ms = _each_second(run, "gc_pause_ms").max()
    if pause_ms > MOST_GC_PAUSE_MS:
        said.append(f"garbage collection once stopped it for {latency(pause_ms)}")
    return said


def _not_started(run: Run, rows: pd.DataFrame) -> list[str]:
    """Say how many requests the measured phase did not see start; a run cut short says nothing."""
    if run.manifest["ended_as"] != "complete":
        return []
    started = int((rows["started_ms"] < run.end_s * 1e3).sum())
    if started >= FEWEST_STARTED * len(rows):
        return []
    return [f"{count(started)} of {count(len(rows))} requests were started by the phase's end"]


def _each_second(run: Run, column: str) -> "pd.Series[float]":
    """Give what is known of the generator in the measured phase; a row is of the second before."""
    if column not in run.health:
        return pd.Series(dtype=float)
    known: pd.Series[float] = run.health.loc[
        run.health["second"].between(run.start_s, run.end_s), column
    ].dropna()
    return known


def _share_above(values: "pd.Series[float]", bound: float) -> float:
    return 0.0 if values.empty else float((values > bound).mean())


def _connections(run: Run, rows: pd.DataFrame) -> Check | None:
    known = rows.loc[rows["outcome"] != "dropped", "new_connection"].dropna().astype(bool)
    if known.empty:
        return None
    opened = int(known.sum())
    title = "Connections kept"
    finding = f"{count(opened)} of {count(len(known))} requests opened a new connection"
    longest_ms = _each_second(run, "connect_max_ms").max()
    if opened and longest_ms > 0:
        finding += f", which took {latency(longest_ms)} at most"
    if opened > MOST_NEW_CONNECTIONS * len(known):
        step = (
            "Look for a proxy or an endpoint that closes connections, or lengthen the warm-up "
            "(traffic.warmup): latencies include the handshake."
        )
        return _check("connections", title, "warn", finding, step)
    return _check("connections", title, "ok", finding)


def _slots(run: Run, rows: pd.DataFrame) -> Check | None:
    if run.plan.traffic.is_closed:
        return None  # each user is a slot, and waits for no other
    slots = run.manifest.get("slots", run.plan.traffic.concurrency)
    without = int((rows["slots_busy"] >= slots).sum())
    title = "A slot was free"
    if without == 0:
        most = int(rows["slots_busy"].max()) + 1 if len(rows) else 0
        return _check("slots", title, "ok", f"at most {count(most)} of {count(slots)} in flight")
    return _check(
        "slots",
        title,
        "warn",
        f"{count(without)} of {count(len(rows))} requests found all {count(slots)} slots busy "
        + (
            "and were dropped"
            if run.plan.traffic.overflow == "drop"
            else "and waited on this side; response time counts the wait"
        ),
        "Give more slots (traffic.slots) if the endpoint should see the full load.",
    )


def _warmup(run: Run) -> Check:
    cut = len(run.requests) - len(run.measured)
    title = "Warm-up cut"
    if cut == 0:
        step = "Set traffic.warmup to 10s or more: first requests open connections and caches."
        return _check("warmup", title, "warn", "no request was sent before measuring began", step)
    return _check("warmup", title, "ok", f"the first {run.start_s:g} s ({count(cut)} requests)")


def _instances(run: Run) -> Check | None:
    """Arms whose instances carry unequal load differ in load, whatever their models do."""
    endpoint = run.manifest.get("endpoint", {})
    title = "Equal load per instance"
    if endpoint.get("status") not in (None, "InService"):
        step = "Wait until it is InService: a deployment mixes two models under one name."
        return _check("instances", title, "warn", f"the endpoint was {endpoint['status']}", step)
    if endpoint.get("note"):
        step = "Allow sagemaker:DescribeEndpoint and sagemaker:DescribeEndpointConfig."
        return _check("instances", title, "warn", endpoint["note"], step)
    load = {}
    for name, arm in run.plan.arms.items():
        variant = endpoint.get("variants", {}).get(run.plan.variant_of(name) or "", {})
        if variant.get("instances"):
            load[name] = arm.share / variant["instances"]
    if len(load) < len(run.plan.arms):
        return None
    finding = ", ".join(f"{name} {share(part / sum(load.values()))}" for name, part in load.items())
    if any(abs(a - b) > 1e-9 for a, b in pairwise(load.values())):
        step = "Give the arms instances in proportion to their share."
        return _check("instances", title, "warn", f"share of load per instance: {finding}", step)
    return _check("instances", title, "ok", "each instance of each arm gets the same share")


def _drift(run: Run, rows: pd.DataFrame) -> Check | None:
    traffic = run.plan.traffic
    rates = {rate for stage in traffic.stages or () for rate in (stage.rate, stage.end_rate)}
    if traffic.trace or len(rates) > 1:
        return None  # another rate is another median
    measure = "service_ms" if traffic.is_closed else "response_ms"
    ok = rows[rows["outcome"] == "ok"]
    quarter_ms = (run.end_s - run.start_s) * 1e3 / 4
    first = ok[ok["scheduled_ms"] < run.start_s * 1e3 + quarter_ms]
    last = ok[ok["scheduled_ms"] >= run.end_s * 1e3 - quarter_ms]
    before = first.groupby("arm")[measure].median()
    change = (last.groupby("arm")[measure].median() / before - 1).dropna()
    said = ", ".join(f"{arm} {number(100 * value, 1, sign=True)}%" for arm, value in change.items())
    finding = (
        f"median of the last quarter against the first: {said or 'not known'} "
        f"(up to {share(MOST_DRIFT)} is passed)"
    )
    if (change.abs() > MOST_DRIFT).any():
        step = "The intervals allow for it; a longer warm-up or run tells a trend from noise."
        return _check("drift", "Steady", "warn", finding, step)
    return _check("drift", "Steady", "ok", finding)


def _failures(run: Run, rows: pd.DataFrame) -> Check:
    sent = rows[rows["outcome"] != "dropped"]
    failed = int((sent["outcome"] != "ok").sum())
    finding = f"{count(failed)} of {count(len(sent))} requests failed"
    by_arm = (sent["outcome"] != "ok").groupby(sent["arm"]).mean()
    decides = run.plan.question != "load"  # there, failing is an answer
    if decides and len(by_arm) and float(by_arm.min()) > MOST_FAILED_EVERYWHERE:
        step = "See the errors by kind; what is left says little of either arm."
        return _check("failures", "Few failures", "fail", f"{finding}, in every arm", step)
    if failed > MOST_FAILED * max(len(sent), 1):
        step = "See the errors by kind; percentiles are those of the requests that succeeded."
        return _check("failures", "Few failures", "warn", finding, step)
    return _check("failures", "Few failures", "ok", finding)


def _answers(run: Run, rows: pd.DataFrame) -> Check | None:
    ok = rows[rows["outcome"] == "ok"]
    unread = int(ok["prediction"].isna().sum())
    if run.plan.answers is None or unread == 0:
        return None
    finding = f"{count(unread)} of {count(len(ok))} answers hold no answers.prediction"
    step = "Look at one answer of each arm; the comparison of answers leaves these out."
    return _check("answers", "Answers readable", "warn", finding, step)


def _retries(rows: pd.DataFrame) -> Check | None:
    retried = int((rows["retries"].fillna(0) > 0).sum())
    if retried == 0:
        return None
    finding = f"{count(retried)} requests were retried by the SDK, and their latency holds both"
    return _check("retries", "No hidden retries", "warn", finding, "Turn the SDK's retries off.")


def _check(
    name: str, title: str, state: State, finding: str, next_step: str | None = None
) -> Check:
    return Check(name=name, title=title, state=state, finding=finding, next_step=next_step)
