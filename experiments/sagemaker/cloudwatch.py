"""Reads what CloudWatch counted in the minutes of a run: `python -m ... RUN`, a child process.

The raw minutes of each arm go to cloudwatch.json. CloudWatch publishes a minute some time after its
end, so the reading waits until the last one with answers is there, and nothing changes any more.
"""

import json
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any

import botocore.exceptions as failures
import pyarrow.compute as pc
import pyarrow.parquet as pq

from experiments import child, run_folder
from experiments.afterwards import CLOUDWATCH
from experiments.plan import Plan
from experiments.run_folder import RunFolder
from experiments.sagemaker.endpoint import client_for
from experiments.sagemaker.redacted import said

NAMESPACE = "AWS/SageMaker"
COUNTS = ("Invocations", "Invocation4XXErrors", "Invocation5XXErrors")
LATENCIES = ("ModelLatency", "OverheadLatency")
_ALL = (*product(COUNTS, ("Sum",)), *product(LATENCIES, ("Sum", "SampleCount")))
_SKEW_S = 2.0
"""How far this machine's clock may be from AWS's."""
_FIRST_PAUSE_S, _MOST_PAUSE_S = 1.0, 10.0

Minutes = dict[str, float]
"""Values by the UTC time at which their minute begins."""


def read(folder: RunFolder) -> dict[str, Any]:
    """Wait for the minutes of a run that has ended, and give what cloudwatch.json is to hold.

    Counts are sums. Latencies are in microseconds: their sum and their number, from which the mean
    over several minutes follows.

    Raises:
        botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError: it may not be read, or
            it did not answer for as long as it was waited for.
    """
    manifest = run_folder.read_manifest(folder)
    plan = Plan.model_validate(manifest["plan"])
    known = dimensions(plan, manifest)
    if not known:
        return {"note": "CloudWatch tells none of the plan's arms from what else runs there."}
    begin, end, last = _of_records(folder)
    client = client_for(plan.endpoint, "cloudwatch", attempts=5)
    give_up = end + timedelta(seconds=plan.cloudwatch.wait)
    before: Any = None
    pause_s = _FIRST_PAUSE_S
    while True:
        is_late = datetime.now(UTC) >= give_up
        try:
            metrics, is_whole = _minutes(client, known, _ALL, begin, end)
            is_there = all(
                max(own["Invocations"]["Sum"], default="") >= last.get(arm, "")
                for arm, own in metrics.items()
            )
            if (is_there and is_whole and metrics == before) or is_late:
                break
            before = metrics
        except (failures.ClientError, failures.HTTPClientError) as error:
            if is_late or _is_refusal(error):
                raise
        time.sleep(pause_s)
        pause_s = min(1.5 * pause_s, _MOST_PAUSE_S)
    return {
        "read_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "from": begin.isoformat(),
        "to": end.isoformat(),
        "arms": {arm: {"dimensions": own, "metrics": metrics[arm]} for arm, own in known.items()},
    }


def dimensions(plan: Plan, manifest: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Give what CloudWatch tells each arm by, which may be the same for several, if it does."""
    found = {arm: _dimensions(plan, manifest, arm) for arm in plan.arms}
    return {arm: own for arm, own in found.items() if own}


def _is_refusal(error: Exception) -> bool:
    """Whether asking again would not help."""
    answer = getattr(error, "response", None) or {}
    status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
    code = answer.get("Error", {}).get("Code", "")
    return status < 500 and "Throttl" not in code and code != "RequestLimitExceeded"


def _dimensions(plan: Plan, manifest: Mapping[str, Any], arm: str) -> dict[str, str] | None:
    told_by = plan.arms[arm].request
    component = told_by.inference_component_name or plan.request.inference_component_name
    if component is not None:
        return {"InferenceComponentName": component}
    endpoint, variant = plan.endpoint_of(arm), plan.variant_of(arm)
    if variant is None:
        described = (name.rpartition("/") for name in manifest["endpoint"].get("variants", ()))
        its = [name for of, _, name in described if (of or plan.endpoint.name) == endpoint]
        variant = its[0] if len(its) == 1 else None
    return {"EndpointName": endpoint, "VariantName": variant} if variant else None


def _of_records(folder: RunFolder) -> tuple[datetime, datetime, dict[str, str]]:
    """Give the whole minutes that the run touched, and when that of each arm's last answer began.

    Where an answer may be of the minute before by CloudWatch's clock, it is that minute.
    """
    columns = ["arm", "outcome", "started_ns", "ended_ns"]
    table = pq.read_table(folder.requests, columns=columns)
    zero_at = next(
        datetime.fromisoformat(event["zero_at"])
        for event in map(json.loads, folder.timeline.read_text(encoding="utf-8").splitlines())
        if event["kind"] == "start"
    )
    first_s = (pc.min(table["started_ns"]).as_py() or 0) / 1e9 - _SKEW_S
    last_s = (pc.max(table["ended_ns"]).as_py() or 0) / 1e9 + _SKEW_S
    good = table.filter(pc.equal(table["outcome"], "ok")).group_by("arm")
    last = good.aggregate([("ended_ns", "max")]).to_pylist()
    begin = _whole_minute(zero_at + timedelta(seconds=first_s))
    end = _whole_minute(zero_at + timedelta(seconds=last_s)) + timedelta(minutes=1)
    return (
        begin,
        end,
        {
            each["arm"]: _whole_minute(
                zero_at + timedelta(seconds=each["ended_ns_max"] / 1e9 - _SKEW_S)
            ).isoformat()
            for each in last
        },
    )


def _whole_minute(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(second=0, microsecond=0)


def minutes(
    client: Any,
    arms: Mapping[str, Mapping[str, str]],
    metrics: tuple[tuple[str, str], ...],
    begin: datetime,
    end: datetime,
) -> dict[str, dict[str, dict[str, Minutes]]]:
    """Ask for each metric's statistic of each arm, a value a minute."""
    return _minutes(client, arms, metrics, begin, end)[0]


def _minutes(
    client: Any,
    arms: Mapping[str, Mapping[str, str]],
    metrics: tuple[tuple[str, str], ...],
    begin: datetime,
    end: datetime,
) -> tuple[dict[str, dict[str, dict[str, Minutes]]], bool]:
    """Give the minutes, and whether CloudWatch calls every answer complete."""
    found = {arm: {metric: dict[str, Minutes]() for metric, _ in metrics} for arm in arms}
    asked = list(_queries(arms, metrics))
    places = {query["Id"]: place for query, place in asked}
    for arm, metric, statistic in places.values():
        found[arm][metric][statistic] = {}
    pages = client.get_paginator("get_metric_data").paginate(
        MetricDataQueries=[query for query, _ in asked],
        StartTime=begin,
        EndTime=end,
        ScanBy="TimestampAscending",
    )
    status = {}
    for result in (one for page in pages for one in page["MetricDataResults"]):
        status[result["Id"]] = result["StatusCode"]  # of the last page, if there are several
        arm, metric, statistic = places[result["Id"]]
        times = (at.astimezone(UTC).isoformat() for at in result["Timestamps"])
        found[arm][metric][statistic] |= zip(times, result["Values"], strict=True)
    return found, set(status.values()) <= {"Complete"}


def _queries(
    arms: Mapping[str, Mapping[str, str]], metrics: tuple[tuple[str, str], ...]
) -> Iterator[tuple[dict[str, Any], tuple[str, str, str]]]:
    for number, (arm, (metric, statistic)) in enumerate(product(arms, metrics)):
        named = [{"Name": name, "Value": value} for name, value in arms[arm].items()]
        measured = {"Namespace": NAMESPACE, "MetricName": metric, "Dimensions": named}
        stat = {"Metric": measured, "Period": 60, "Stat": statistic}
        yield {"Id": f"q{number}", "MetricStat": stat}, (arm, metric, statistic)


def main() -> None:
    """Read CloudWatch for the run folder on the command line."""
    child.end_with_parent()
    folder = run_folder.open_folder(Path(sys.argv[1]))
    try:
        run_folder.compact(folder)  # which is to do yet after a run of plain Locust
        content = read(folder)
    except (failures.ClientError, failures.BotoCoreError) as error:
        hint = "Allow cloudwatch:GetMetricData, or set cloudwatch.read = false."
        content = {"note": f"CloudWatch could not be read: {said(error)} {hint}"}
    run_folder.write_atomically(folder.path / CLOUDWATCH, json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
