"""What every report says of its run, whatever the question: its arms, its errors, its making."""

import math
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.read import Run
from analysis.results.run import (
    ArmSummary,
    ColdStart,
    Counts,
    ErrorKind,
    Percentile,
    RunInfo,
    Streaming,
)
from analysis.samples import latencies_ms
from analysis.scaling import instances_of
from analysis.windows import Floats

_PERCENTILE_POINTS = 80
_OF_AN_ARM = ["outcome", "ended_ms", "response_ms", "service_ms"]
ELSEWHERE = "How the arms behave under other traffic, payloads or instance counts than these."
IN_A_CLOSED_LOOP = (
    "How long requests would wait under traffic that does not slow down with the endpoint: in this "
    "closed loop each user waited for an answer before sending again."
)
ON_ONE_MACHINE = (
    "How fast the arms are on hardware of their own: they shared this machine with the generator."
)


def cannot_tell(run: Run) -> tuple[str, ...]:
    """Say what no run of this kind can tell, whatever it finds."""
    return (
        ELSEWHERE,
        *([IN_A_CLOSED_LOOP] if run.plan.traffic.is_closed else []),
        *([ON_ONE_MACHINE] if run.plan.endpoint.is_loopback else []),
    )


def arm_summary(run: Run, rows: pd.DataFrame, arm: str) -> ArmSummary:
    """Count and describe what one arm did, in the measured `rows`.

    Where any of these failed without naming an arm, no arm has an error rate.
    """
    own = rows.loc[(rows["arm"] == arm) & (rows["outcome"] != "dropped"), _OF_AN_ARM]
    succeeded = int((own["outcome"] == "ok").sum())
    response, service = (latencies_ms(own, measure) for measure in ("response", "service"))
    shares = {name: each.share for name, each in run.plan.arms.items()}
    names_all = not (rows["arm"].isna() & ~rows["outcome"].isin(["ok", "dropped"])).any()
    return ArmSummary(
        name=arm,
        share=shares[arm] / sum(shares.values()),
        requests=len(own),
        succeeded=succeeded,
        failed=len(own) - succeeded,
        error_rate=(len(own) - succeeded) / len(own) if len(own) and names_all else None,
        mean_response_ms=None if run.plan.traffic.is_closed else _mean(*response),
        mean_service_ms=_mean(*service),
        percentiles=_percentiles(response, service, is_closed=run.plan.traffic.is_closed),
        streaming=_streaming(rows[(rows["arm"] == arm) & (rows["outcome"] == "ok")])
        if run.plan.is_streamed
        else None,
        cold=_cold(run, arm),
    )


def _cold(run: Run, arm: str) -> ColdStart | None:
    every = run.cold
    own = every[every["arm"] == arm]
    if own.empty:
        return None
    good = own[own["outcome"] == "ok"]
    took_ms = good["ended_ms"] - good["sent_ms"].fillna(good["started_ms"])
    return ColdStart(
        targets=len(own),
        failed=len(own) - len(good),
        median_ms=None if good.empty else float(took_ms.median()),
        slowest_ms=None if good.empty else float(took_ms.max()),
    )


def _streaming(good: pd.DataFrame) -> Streaming | None:
    chunks, gaps_ms = good["chunks"].dropna(), good["longest_gap_ms"].dropna()
    if chunks.empty:
        return None
    gap_ms = [
        None if gaps_ms.empty else float(gaps_ms.quantile(q, interpolation="higher"))
        for q in (0.5, 0.99)
    ]
    return Streaming(
        mean_chunks=float(chunks.mean()), longest_gap_p50_ms=gap_ms[0], longest_gap_p99_ms=gap_ms[1]
    )


def with_cost(run: Run, summary: ArmSummary) -> ArmSummary:
    """Add what an arm of one run costs, where the price and number of its instances are known."""
    price = run.plan.arms[summary.name].instance_price_usd_per_hour
    instances = instances_of(run, summary.name)
    if price is None or instances is None:
        return summary
    an_hour = summary.succeeded / (run.end_s - run.start_s) * 3600
    return replace(
        summary,
        usd_per_hour=price * instances,
        usd_per_million=price * instances / an_hour * 1e6 if an_hour else None,
    )


_Known = tuple[Floats, float]
"""Latencies, and below which of them every one is known."""


def _mean(values: Floats, known_to_ms: float) -> float | None:
    return float(values.mean()) if values.size and known_to_ms == math.inf else None


def _percentiles(response: _Known, service: _Known, *, is_closed: bool) -> tuple[Percentile, ...]:
    """Give quantiles at equal steps of nines, down to the last that a single request decides.

    Those that reach a request that timed out are left out.
    """
    size = service[0].size
    if not size:
        return ()
    nines = np.linspace(0, math.log10(size), _PERCENTILE_POINTS)
    quantiles = np.unique(np.concatenate([1 - 10**-nines, [0.5, 0.9, 0.95, 0.99, 0.999]]))
    quantiles = quantiles[quantiles <= 1 - 1 / size]
    (response_ms, of_response), (service_ms, of_service) = (
        _below(*known, quantiles) for known in (response, service)
    )
    shown = of_service if is_closed else of_service & of_response
    return tuple(
        Percentile(
            quantile=float(q), response_ms=None if is_closed else float(r), service_ms=float(s)
        )
        for q, r, s in zip(quantiles[shown], response_ms[shown], service_ms[shown], strict=True)
    )


def _below(
    values: Floats, known_to_ms: float, quantiles: Floats
) -> tuple[Floats, NDArray[np.bool_]]:
    # Sorted first: that takes less time than parting the values at each of so many quantiles.
    found = np.quantile(np.sort(values), quantiles, method="inverted_cdf")
    return found, found < known_to_ms


def error_kinds(rows: pd.DataFrame) -> tuple[ErrorKind, ...]:
    """Count failures by arm and kind, the most frequent first."""
    failed = rows[~rows["outcome"].isin(["ok", "dropped"])]
    kinds = []
    for (arm, outcome), group in failed.groupby(["arm", "outcome"], dropna=False, observed=True):
        examples = group["error"].dropna()
        kinds.append(
            ErrorKind(
                arm=arm if isinstance(arm, str) else None,
                outcome=str(outcome),
                count=len(group),
                first_s=float(group["scheduled_ms"].min()) / 1e3,
                last_s=float(group["scheduled_ms"].max()) / 1e3,
                example=None if examples.empty else str(examples.iloc[0]),
            )
        )
    return tuple(sorted(kinds, key=lambda kind: -kind.count))


def plan_text(path: Path) -> str:
    """Give the text of a run folder's plan, or say that it cannot be read."""
    try:
        return (path / "plan.toml").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return "# plan.toml cannot be read; manifest.json holds the plan as it was understood."


def run_info(run: Run, rows: pd.DataFrame) -> RunInfo:
    """Say which run this is and how it was made."""
    plan, manifest, traffic = run.plan, run.manifest, run.plan.traffic
    measured_s = run.end_s - run.start_s
    sent = int((rows["outcome"] != "dropped").sum())
    return RunInfo(
        id=run.id,
        plan=manifest["plan_name"],
        endpoint=plan.endpoint.name,
        target=plan.endpoint.target,
        started_at=datetime.fromisoformat(manifest["started_at"]).astimezone(UTC).isoformat(),
        measured_s=measured_s,
        warmup_s=traffic.warmup,
        rate_rps=run.counts["planned"] / traffic.planned_s if traffic.trace else traffic.rate_rps,
        achieved_rps=None if sent == 1 else sent / measured_s,  # a cut run ends with its last
        routing=traffic.routing,
        arrivals=traffic.arrivals,
        transport=manifest.get("transport", {}).get("name", traffic.transport),
        why_not_fast=manifest.get("transport", {}).get("why_not_fast"),
        seed=plan.seed,
        payloads=manifest.get("payloads", {}).get("distinct", 0),
        counts=Counts(**run.counts),
        plan_toml=plan_text(run.path),
        ended_as=manifest["ended_as"],
        versions=manifest.get("versions", {}),
        host=manifest.get("host", {}),
        subject=manifest.get("subject", {}),
        conditions=manifest.get("conditions", {}),
    )
