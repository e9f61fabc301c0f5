"""The run's records against what CloudWatch counted: retries, foreign traffic, and where time goes.

CloudWatch counts by whole minutes. Those are compared that the run filled, since its first and last
may have the calls of others; where it filled none those that it touched, and that fails no run.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.read import Run
from analysis.render.format import count, counted, joined
from analysis.results.run import Check
from analysis.results.seen import CloudWatch, CloudWatchArm
from experiments.errors import RunFolderError

MOST_FOREIGN = 0.05
"""More invocations than this share of the records load the endpoint otherwise than planned."""
_ANSWERED = ("ok", "model_error", "model_timeout", "stream_error")
"""Outcomes of which a variant was invoked for certain."""
_TIMED = ("ok", "model_error")
"""Outcomes whose time is in CloudWatch's latencies, too."""
_LATE = ("timeout", "model_timeout", "stream_error")
"""Outcomes of which it may be in them or not, and is long."""
_UNASKED = ("dropped", "auth")
"""No variant was invoked; after other failures one may have been."""
_COLUMNS = ("arm", "outcome", "started_ms", "ended_ms", "service_ms", "retries")
_MINUTE_MS = 60_000.0
_MINUTE = timedelta(minutes=1)
_SKEW_MS = 2_000.0
"""How far the client's clock may be from the service's, which decides in what minute one counts."""
_TITLE = "CloudWatch agrees"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Counted:
    """Arms counted together: their row, and invocations beyond or below what records explain."""

    row: CloudWatchArm
    more: int
    fewer: int
    is_filled: bool
    """Whether the minutes are the run's alone."""
    unsplit: str | None
    """Why the network's part of the service time is not given."""


def cloudwatch_of(run: Run) -> CloudWatch | None:
    """Give what CloudWatch counted beside the records; `None` where it was not to be read.

    Raises:
        RunFolderError: cloudwatch.json is damaged.
    """
    found = _compared(run)
    return found[0] if found else None


def reconciled_check(run: Run) -> Check | None:
    """Say whether CloudWatch counted what the run recorded; `None` where it is not known.

    Raises:
        RunFolderError: cloudwatch.json is damaged.
    """
    found = _compared(run)
    known = [each for each in found[1] if each.row.invocations is not None] if found else []
    if not known:
        return None
    said = ", ".join(
        f"{each.row.arm} {count(each.row.invocations or 0)} invocations for "
        f"{count(each.row.records)} requests"
        for each in known
    )
    return _wrong(run, known, said) or Check("reconciled", _TITLE, "ok", said)


def _wrong(run: Run, known: list[_Counted], said: str) -> Check | None:
    more = [each for each in known if each.more and each.is_filled]
    # A killed process leaves requests without a record, of either arm.
    is_lost = sum(each.more for each in more) <= run.counts["missing"]
    if more and not is_lost and not _may_be_foreign(run):
        extra = joined([f"{count(each.more)} of {each.row.arm}" for each in more])
        is_much = any(each.more > MOST_FOREIGN * max(each.row.records, 1) for each in more)
        return Check(
            "reconciled",
            _TITLE,
            "fail" if is_much else "warn",
            f"{said}; no record explains {extra}: retried below the client, or sent by others",
            "Look for a proxy or SDK that retries, and for other callers; where these belong to "
            "the endpoint, say so with limits.allow_foreign_traffic = true.",
        )
    if fewer := [f"{count(each.fewer)} of {each.row.arm}" for each in known if each.fewer]:
        step = "Give CloudWatch longer (cloudwatch.wait); or a cache or proxy answered."
        finding = f"{said}; it does not have {joined(fewer)}"
        return Check("reconciled", _TITLE, "warn", finding, step)
    return None


def _compared(run: Run) -> tuple[CloudWatch, list[_Counted]] | None:
    path = run.path / "cloudwatch.json"
    if not path.is_file():
        return None
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        if "note" in raw:
            return CloudWatch(arms=(), complete_through=None, notes=(raw["note"],)), []
        return _held_against(run, raw)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunFolderError(
            f"{path}: damaged: {error}.", "Restore it, or delete it; the records are judged."
        ) from None


def _held_against(run: Run, raw: Mapping[str, Any]) -> tuple[CloudWatch, list[_Counted]]:
    begun = [event["zero_at"] for event in run.timeline if event["kind"] == "start"]
    if not begun:
        path = run.path / "timeline.jsonl"
        raise RunFolderError(f"{path}: does not say when the run began.", "Restore it.")
    zero_ms = _ms(begun[0])
    sent = run.requests.loc[~run.requests["outcome"].isin(_UNASKED), list(_COLUMNS)]
    sent = sent.assign(at_ms=zero_ms + sent["ended_ms"])
    minutes = np.arange(_ms(raw["from"]), _ms(raw["to"]), _MINUTE_MS)
    begun_ms, ended_ms = zero_ms + float(sent["started_ms"].min()), float(sent["at_ms"].max())
    filled = (minutes - begun_ms >= _SKEW_MS) & (ended_ms - minutes - _MINUTE_MS >= _SKEW_MS)
    is_filled = bool(filled.any())
    minutes = minutes[filled] if is_filled else minutes
    notes = [f"Compared: {counted(len(minutes), 'whole minute')} of the run."]
    if not is_filled:
        notes = [
            "The run fills no whole minute: those compared may have calls from beside it, so that "
            "retries below the client are noted and not judged. A run of 125 s or more, "
            "its warm-up included, fills one."
        ]
    told, alike = raw["arms"], dict[tuple[Any, ...], list[str]]()
    for arm in (arm for arm in run.plan.arms if arm in told):
        alike.setdefault(tuple(sorted(told[arm]["dimensions"].items())), []).append(arm)
    if untold := [arm for arm in run.plan.arms if arm not in told]:
        notes.append(f"CloudWatch does not tell {joined(untold)} from what else runs there.")
    found = [
        _of_arms(run, arms, told[arms[0]]["metrics"], sent, minutes, is_filled=is_filled)
        for arms in alike.values()
    ]
    if silent := [each.row.arm for each in found if each.row.invocations is None]:
        notes.append(f"CloudWatch had nothing of {joined(silent)} in these minutes.")
    if _may_be_foreign(run) or not is_filled:
        notes += [
            f"No record explains {counted(each.more, 'invocation')} of {each.row.arm}."
            for each in found
            if each.more
        ]
    notes += [each.unsplit for each in found if each.unsplit]
    last = [max(own["metrics"]["Invocations"]["Sum"], default="") for own in told.values()]
    through = min(filter(None, last), default=None)
    return CloudWatch(
        arms=tuple(each.row for each in found),
        complete_through=through and (datetime.fromisoformat(through) + _MINUTE).isoformat(),
        notes=tuple(notes),
    ), found


def _of_arms(
    run: Run,
    arms: list[str],
    metrics: Mapping[str, Any],
    sent: pd.DataFrame,
    minutes: NDArray[np.float64],
    *,
    is_filled: bool,
) -> _Counted:
    """Hold the records of arms that CloudWatch counts together against its metrics.

    `sent` has with `at_ms` the moment at which each request ended, and may lack an answer's arm.
    """

    def summed(metric: str, statistic: str = "Sum") -> float | None:
        values = {_ms(at): value for at, value in metrics[metric][statistic].items()}
        known = [values[minute] for minute in minutes if minute in values]
        return float(sum(known)) if known else None

    def mean_ms(metric: str) -> float | None:
        total, samples = summed(metric), summed(metric, "SampleCount")
        return None if total is None or not samples else total / samples / 1e3

    begin_ms, end_ms = minutes[0], minutes[-1] + _MINUTE_MS
    rows, name = sent[sent["arm"].isin(arms)], joined(arms)
    own = rows[rows["at_ms"].between(begin_ms, end_ms)]
    to_edge_ms = np.minimum((rows["at_ms"] - begin_ms).abs(), (rows["at_ms"] - end_ms).abs())
    unsure = int((to_edge_ms < _SKEW_MS).sum())
    around_ms = (begin_ms - _SKEW_MS, end_ms + _SKEW_MS)
    unnamed = int((sent["arm"].isna() & sent["at_ms"].between(*around_ms)).sum())
    variants = {None, *(run.plan.variant_of(arm) or arm for arm in arms)}
    checks = sum(
        one["arm"] in arms or (one["arm"] not in run.plan.arms and one["variant"] in variants)
        for one in run.manifest.get("first_requests", ())
        if around_ms[0] <= _ms(one["at"]) < around_ms[1]
    )
    explained = len(own) + int(own["retries"].fillna(0).sum()) + unnamed + checks
    answered = int(own["outcome"].isin(_ANSWERED).sum())
    counted = summed("Invocations")
    total = None if counted is None else round(counted)
    more = 0 if total is None else max(total - explained - unsure, 0)
    sampled = [_ms(at) for at, number in metrics["ModelLatency"]["SampleCount"].items() if number]
    there = own[(own["at_ms"] // _MINUTE_MS * _MINUTE_MS).isin(sampled)]
    timed = there.loc[there["outcome"].isin(_TIMED), "service_ms"]
    client_ms = float(timed.mean()) if len(timed) else None
    model_ms, overhead_ms = mean_ms("ModelLatency"), mean_ms("OverheadLatency")
    network_ms = unsplit = None
    if client_ms is not None and model_ms is not None and overhead_ms is not None:
        network_ms = client_ms - model_ms - overhead_ms
        if there["outcome"].isin(_LATE).any():
            unsplit = "some of its requests timed out or broke off, in CloudWatch or not"
        elif more > MOST_FOREIGN * len(own):
            unsplit = "CloudWatch's latencies are of others' calls, too"
        elif network_ms < 0:
            unsplit = "CloudWatch's latencies are longer than the service times"
    errors_4xx, errors_5xx = summed("Invocation4XXErrors"), summed("Invocation5XXErrors")
    row = CloudWatchArm(
        arm=name,
        invocations=total,
        records=len(own),
        errors_4xx=None if errors_4xx is None else round(errors_4xx),
        errors_5xx=None if errors_5xx is None else round(errors_5xx),
        model_ms=model_ms,
        overhead_ms=overhead_ms,
        client_ms=client_ms,
        network_ms=None if unsplit else network_ms,
    )
    return _Counted(
        row=row,
        more=more,
        fewer=0 if total is None else max(answered - unsure - total, 0),
        is_filled=is_filled,
        unsplit=unsplit and f"How much of {name}'s time was the network is not known: {unsplit}.",
    )


def _may_be_foreign(run: Run) -> bool:
    return run.plan.limits is not None and run.plan.limits.allow_foreign_traffic


def _ms(at: str) -> float:
    return datetime.fromisoformat(at).timestamp() * 1e3
