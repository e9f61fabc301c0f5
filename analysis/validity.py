"""Can this run be trusted? Each check is a finding with its figure, and what to do about it.

A failed check makes the run INVALID and replaces its verdict; a warning makes it SUSPECT and is
said beside it.
"""

from collections.abc import Iterable
from typing import Literal

import numpy as np
import pandas as pd

from analysis.generator import check_generator
from analysis.noise import MEMORY_S, assumption, memory_of
from analysis.read import Run
from analysis.reconcile import reconciled_check
from analysis.render.format import count, counted, duration, joined, percent_change, share
from analysis.results.run import Check
from analysis.scaling import held_check, load_check, unchanged_check
from analysis.split import traffic_split
from analysis.windows import WINDOWS
from analysis.workers import check_workers
from experiments.record import WARMUP

MOST_DRIFT = 0.25
ALWAYS_DRIFT = 10.0
"""A change by this factor is no steady run, however its windows scatter."""
SPREAD_OF_MAD = 1.4826
"""From a median absolute deviation to the standard deviation of normal values."""
MOST_SPREADS = 3.0
SLOW_START = 0.05
FEWEST_SLOW_WINDOWS = 2
FEWEST_IN_WINDOW = 20
FEWEST_WINDOWS = 10
FEWEST_TO_DRIFT = 8
"""A quarter of fewer is one window, which shows no scatter that a change could be held against."""
FEWEST_PAYLOADS = 10
FEWEST_REPEATS = 10
FEWEST_IN_BURST = 10
LONGEST_BURST = 0.05
MOST_MISSING = 0.01
MOST_FAILED = 0.01
MOST_EMPTY = 0.01
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
    routed = _split if run.plan.traffic.routing == "weighted" else _pinning
    checks = (
        check_workers(run), _records(run), routed(run, rows),
        *check_generator(run, rows), _warmup(run, rows),
        load_check(run), held_check(run), unchanged_check(run), _drift(run, rows),
        _payloads(run, rows), None if rows.empty else _failures(run, rows),
        _answers(run, rows), _parts(run, rows), _retries(rows), reconciled_check(run),
    )  # fmt: skip
    return tuple(check for check in checks if check is not None)


def memory_check(run: Run, warnings: Iterable[str]) -> Check:
    """Say whether the run was long enough for how long its noise lasts."""
    title = "Long enough"
    said = tuple(dict.fromkeys(warnings))
    measured_s, memory_s = run.end_s - run.start_s, memory_of(run.plan)
    if memory_s < MEMORY_S:
        said = (
            *said,
            f"compare.memory is below {MEMORY_S:g} s, where nothing shows that equal arms are told "
            "apart in 5% of runs only",
        )
    if measured_s < 6 * memory_s:
        said = (
            f"{duration(measured_s)} measured; below {duration(6 * memory_s)} there is no verdict",
        )
    if not said:
        least = f"{duration(measured_s)} measured, where {duration(6 * memory_s)} is the least"
        return Check("memory", title, "ok", f"{least}: {assumption(memory_s)}")
    step = "Run longer (traffic.duration), or make several runs."
    if memory_s < MEMORY_S:
        step = f"Leave out compare.memory: no run shows that noise lasts under {MEMORY_S:g} s."
    clauses = (f"{why[:1].lower()}{why[1:].rstrip('.')}" for why in said)
    return Check("memory", title, "warn", "; ".join((*clauses, assumption(memory_s))), step)


def _records(run: Run) -> Check:
    counts, ended_as = run.counts, run.manifest["ended_as"]
    kinds = ("ended", "dropped", "unsent", "missing")
    parts = " + ".join(f"{count(counts[kind])} {kind}" for kind in kinds)
    finding = f"{count(counts['planned'])} planned = {parts}"
    kept = "plan.toml", "timeline.jsonl"
    if lost := [name for name in kept if not (run.path / name).is_file()]:
        finding += f"; the run folder lacks {joined(lost)}"
    state: State = "warn"
    step: str | None = "Give more slots (traffic.slots), or a lower rate."
    if ended_as == "running":
        finding += "; the run has not ended, or its supervisor was killed"
        step = "Judge the run when it has ended."
    elif ended_as != "complete":
        finding = f"{finding}; {run.manifest.get('reason') or ended_as}".rstrip(".")
        step = "Make the run again, to its planned end."
        if ended_as == "stopped":
            # For what it found, which is the verdict; or by a limit: no reason to distrust it.
            is_answered = run.manifest.get("slo_lost") is not None or run.decided is not None
            state = "ok" if is_answered else "warn"
            step = None if is_answered else "Raise that limit for a run of the planned length."
        elif ended_as not in ("failing", "interrupted"):  # whose failures: see analysis/stopped.py
            state = "fail"
    elif counts["missing"] > MOST_MISSING * max(counts["planned"], 1):
        state = "fail"
        step = "Make the run again; logs/locust.log in the run folder says what happened."
    elif not (counts["missing"] or counts["dropped"]):
        state, step = "ok", None
    return Check("records", "Records complete", state, finding, step)


def _split(run: Run, rows: pd.DataFrame) -> Check:
    title = "Traffic split"
    in_session = rows.get("in_session", pd.Series(data=False, index=rows.index)).to_numpy(bool)
    if in_session.all() and len(rows):
        said = "not tested: every call went into a session that was open, and stays where that is"
        hint = 'Open sessions in the run (session_id = "NEW_SESSION"): each counts once.'
        return Check("split", title, "warn", said, hint)
    served = rows.loc[~in_session, "variant_invoked"].value_counts()
    weights = {run.plan.variant_of(name) or name: a.share for name, a in run.plan.arms.items()}
    split = traffic_split({str(k): int(v) for k, v in served.items()}, weights)
    step = None
    if split.state == "mismatch":
        step = "Check the weights that were in force (DescribeEndpoint), and for lost requests."
    is_open = split.state == "untested" and len(run.plan.arms) > 1
    state: State = "fail" if split.state == "mismatch" else "warn" if is_open else "ok"
    finding = split.finding
    if in_session.any():
        finding += f"; not counted: {counted(int(in_session.sum()), 'call')} into open sessions"
    return Check("split", title, state, finding, step)


def _pinning(run: Run, rows: pd.DataFrame) -> Check:
    wanted, got = rows["variant_asked"], rows["variant_invoked"]
    is_pinned = (wanted.notna() & got.notna()).to_numpy()
    is_astray = is_pinned & (wanted != got).to_numpy()
    title = "Right variant answered"
    if is_astray.any():
        first = int(is_astray.argmax())
        said = (
            f"{count(int(is_astray.sum()))} of {count(int(is_pinned.sum()))} answers came from "
            f"another variant than the one asked for (asked {wanted.iloc[first]}, got "
            f"{got.iloc[first]})"
        )
        step = "Check arms.*.request, and whether a proxy or the endpoint drops TargetVariant."
        return Check("pinning", title, "fail", said, step)
    if astray := _astray(run, rows):
        return Check("pinning", title, "fail", astray, "Check arms.*.request.endpoint_name.")
    sent = rows["arm"].value_counts()
    shares = ", ".join(f"{count(int(sent.get(arm, 0)))} to {arm}" for arm in run.plan.arms)
    is_asked = (rows["outcome"] == "ok") & wanted.notna()
    if unnamed := int((is_asked & got.isna()).sum()):
        said = f"{count(unnamed)} of {count(int(is_asked.sum()))} answers do not name their variant"
        return Check("pinning", title, "warn", said, "Look for a proxy that drops headers.")
    if not is_asked.any():
        return Check("pinning", "Requests by arm", "ok", shares)
    said = f"every answer came from the variant that its request asked for ({shares} were sent)"
    return Check("pinning", title, "ok", said)


def _astray(run: Run, rows: pd.DataFrame) -> str | None:
    """Name an answer of a variant that is none of the endpoint that its arm has of its own."""
    described = run.manifest.get("endpoint", {}).get("variants", {})
    for arm in run.plan.arms:
        endpoint = run.plan.endpoint_of(arm)
        own = [name.rpartition("/")[2] for name in described if name.startswith(f"{endpoint}/")]
        answered = rows.loc[rows["arm"] == arm, "variant_invoked"].dropna() if own else None
        if answered is not None and not (strays := answered[~answered.isin(own)]).empty:
            return (
                f"{counted(len(strays), 'answer')} to {arm} came from {strays.iloc[0]}, which the "
                f"endpoint {endpoint} does not have"
            )
    return None


def _warmup(run: Run, rows: pd.DataFrame) -> Check:
    cut = int((run.requests["phase"] == WARMUP).sum())
    title = "Warm-up left out"
    if cut == 0:
        step = "Set traffic.warmup to 10s or more: first requests open connections and caches."
        return Check("warmup", title, "warn", "no request was sent before measuring began", step)
    finding = f"the first {run.start_s:g} s ({counted(cut, 'request')}) are not judged"
    slow_s = 0.0 if _rate_changes(run) else _slow_start_s(run, rows)
    if slow_s == 0:
        return Check("warmup", title, "ok", finding)
    finding += f"; the next {duration(slow_s)} were slower than the run's second half ever was"
    step = f"Set traffic.warmup to {duration(run.start_s + slow_s)} or more."
    return Check("warmup", title, "warn", finding, step)


def _slow_start_s(run: Run, rows: pd.DataFrame) -> float:
    """Say how long an arm began slower than it was later, by the arm that took longest.

    The medians of windows from the start on are held against those of the second half: slower than
    the slowest of them, and further off than their median absolute deviation explains.
    """
    longest_s = 0.0
    for arm in run.plan.arms:
        typical = _window_medians(run, rows, arm, "service_ms")
        if typical.size < FEWEST_WINDOWS:
            continue
        later = typical[typical.size // 2 :]
        usual = float(later.median())
        spread = SPREAD_OF_MAD * float((later - usual).abs().median())
        bound = max(usual + max(MOST_SPREADS * spread, SLOW_START * usual), float(later.max()))
        slow = int((typical > bound).to_numpy().argmin())
        if slow >= FEWEST_SLOW_WINDOWS:
            longest_s = max(longest_s, slow * (run.end_s - run.start_s) / typical.size)
    return longest_s


def _window_medians(run: Run, rows: pd.DataFrame, arm: str, measure: str) -> "pd.Series[float]":
    """Give an arm's median in equal windows, so few that each holds about 20 answers."""
    own = rows.loc[(rows["arm"] == arm) & (rows["outcome"] == "ok"), ["scheduled_ms", measure]]
    windows = max(min(WINDOWS, len(own) // FEWEST_IN_WINDOW), 4)
    per_ms = windows / ((run.end_s - run.start_s) * 1e3)
    window = ((own["scheduled_ms"] - run.start_s * 1e3) * per_ms).astype(np.int8)
    return own[measure].groupby(window).median().reindex(range(windows))


def _drift(run: Run, rows: pd.DataFrame) -> Check | None:
    if _rate_changes(run):
        return None  # another rate is another median
    measure = "service_ms" if run.plan.traffic.is_closed else "response_ms"
    changes, moved = {}, False
    for arm in run.plan.arms:
        typical = _window_medians(run, rows, arm, measure)
        if typical.size < FEWEST_TO_DRIFT:
            continue
        quarter = typical.size // 4
        first, last = typical[:quarter], typical[-quarter:]
        before, after = float(first.median()), float(last.median())
        # Not their median deviation: that of windows which jump between two modes may be 0.
        spread = float(pd.concat([first - first.mean(), last - last.mean()]).std())
        if before > 0 and after > 0:
            changes[arm] = after / before
            moved |= max(after / before, before / after) > ALWAYS_DRIFT
            moved |= abs(after - before) > max(MOST_DRIFT * before, MOST_SPREADS * spread)
    said = ", ".join(f"{arm} {percent_change(to, None).value}" for arm, to in changes.items())
    title = "Latency steady"
    finding = f"change of the median from the first quarter to the last: {said or 'not known'}"
    if not moved:
        finding += (
            f" (up to {MOST_DRIFT:.0%}, or {MOST_SPREADS:g} times its scatter and not over "
            f"{ALWAYS_DRIFT:g}-fold, is steady)"
        )
        return Check("drift", title, "ok", finding)
    step = "A longer warm-up or run tells a trend from noise; a growing queue takes a lower rate."
    return Check("drift", title, "warn", finding, step)


def _rate_changes(run: Run) -> bool:
    traffic = run.plan.traffic
    rates = {rate for stage in traffic.stages or () for rate in (stage.rate, stage.end_rate)}
    return traffic.trace is not None or len(rates) > 1


def _payloads(run: Run, rows: pd.DataFrame) -> Check | None:
    """A cache, or one lucky input, may answer for a model that few payloads were sent to."""
    distinct = int(rows["payload"].nunique())
    if "locustfile" in run.manifest or len(rows) < max(FEWEST_REPEATS * distinct, 1):
        return None
    title, times = "Enough payloads", count(len(rows) // max(distinct, 1))
    finding = f"{counted(distinct, 'different payload')}, each sent about {times} times"
    if distinct >= FEWEST_PAYLOADS:
        return Check("payloads", title, "ok", finding)
    step = f"Give {FEWEST_PAYLOADS} or more (request.payloads): a cache may answer for the model."
    return Check("payloads", title, "warn", finding, step)


def _failures(run: Run, rows: pd.DataFrame) -> Check:
    sent = rows.loc[rows["outcome"] != "dropped", ["arm", "outcome", "scheduled_ms"]]
    failed = sent[sent["outcome"] != "ok"]
    finding = f"{count(len(failed))} of {count(len(sent))} requests failed"
    by_arm = (sent["outcome"] != "ok").groupby(sent["arm"]).mean()
    # To a load test failing is an answer, and to a run that was stopped for it.
    decides = run.plan.question != "load" and run.manifest["ended_as"] != "failing"
    if decides and len(by_arm) and float(by_arm.min()) > MOST_FAILED_EVERYWHERE:
        step = "See the errors by kind; what is left says little of either arm."
        return Check("failures", "Few failures", "fail", f"{finding}, in every arm", step)
    burst = _burst(run, failed)
    step = ""
    if len(failed) > MOST_FAILED * max(len(sent), 1):
        step = "See the errors by kind; percentiles are those of the requests that were answered."
    elif burst:
        step = "Look at what happened then: latencies of that time are those of an outage."
    state: State = "warn" if step else "ok"
    return Check("failures", "Few failures", state, f"{finding}{burst}", step or None)


def _burst(run: Run, failed: pd.DataFrame) -> str:
    """Say where half of the failures fell into a short stretch of the run."""
    half = (len(failed) + 1) // 2
    if len(failed) < FEWEST_IN_BURST or run.plan.question == "load" or _rate_changes(run):
        return ""  # under a load that is meant to overwhelm, failures belong together
    at_s = failed["scheduled_ms"].sort_values().to_numpy() / 1e3
    spans_s = at_s[half - 1 :] - at_s[: len(at_s) - half + 1]
    first = int(spans_s.argmin())
    if spans_s[first] > LONGEST_BURST * (run.end_s - run.start_s):
        return ""
    return f", half of them within {duration(float(spans_s[first]))} from {at_s[first]:.0f} s on"


def _answers(run: Run, rows: pd.DataFrame) -> Check | None:
    ok = rows.loc[rows["outcome"] == "ok", ["prediction"]]
    unread = int(ok["prediction"].isna().sum())
    if run.plan.answers is None or unread == 0:
        return None
    finding = f"answers.prediction finds nothing in {count(unread)} of {count(len(ok))} answers"
    step = "Look at one answer of each arm; the comparison of answers leaves these out."
    return Check("answers", "Answers readable", "warn", finding, step)


def _parts(run: Run, rows: pd.DataFrame) -> Check | None:
    """A stream without a part says nothing, however fast it ends."""
    if not run.plan.is_streamed:
        return None
    good = rows[rows["outcome"] == "ok"]
    is_empty = good["first_byte_ms"].isna()
    if not is_empty.any():
        return None
    by_arm = is_empty.groupby(good["arm"].astype(str)).mean()
    state: State = "fail" if by_arm.max() > MOST_EMPTY else "warn"
    shares = ", ".join(f"{share(part)} of {arm}" for arm, part in by_arm.items())
    finding = f"{counted(int(is_empty.sum()), 'stream')} ended well without a part: {shares}"
    step = "Look at what the container sends: a stream without a part is no answer."
    return Check("parts", "Streams hold an answer", state, finding, step)


def _retries(rows: pd.DataFrame) -> Check | None:
    retried = int((rows["retries"].fillna(0) > 0).sum())
    if retried == 0:
        return None
    finding = f"the SDK retried {counted(retried, 'request')}; the latency is of all tries together"
    return Check("retries", "No hidden retries", "warn", finding, "Turn the SDK's retries off.")
