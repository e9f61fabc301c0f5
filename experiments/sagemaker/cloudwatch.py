"""Reads what CloudWatch counted in the minutes of a run: `python -m ... RUN`, a child process.

The raw minutes of each arm go to cloudwatch.json. CloudWatch publishes a minute some time after its
end, so the reading waits until the last one with answers is there, and nothing changes any more.
"""

import json
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any

import botocore.exceptions as failures
import pyarrow.compute as pc
import pyarrow.parquet as pq
from botocore.parsers import ResponseParserError

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

    Counts are sums; of latencies, in microseconds, it is their sum and their number.

    Raises:
        botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError: it may not be read, or
            did not answer in time.
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
            metrics, is_whole = minutes(client, known, _ALL, begin, end)
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
    found = {}
    described = manifest.get("endpoint", {}).get("variants", ())
    named = [name.rpartition("/") for name in described]
    for arm, asked in plan.arms.items():
        endpoint, variant = plan.endpoint_of(arm), plan.variant_of(arm)
        of_it = [own for of, _, own in named if (of or plan.endpoint.name) == endpoint]
        if variant is None and len(of_it) == 1:
            variant = of_it[0]
        component = asked.request.inference_component_name or plan.request.inference_component_name
        if component is not None:
            found[arm] = {"InferenceComponentName": component}
        elif variant is not None:
            found[arm] = {"EndpointName": endpoint, "VariantName": variant}
    return found


def _is_refusal(error: Exception) -> bool:
    """Whether asking again would not help."""
    answer = getattr(error, "response", None) or {}
    status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
    code = answer.get("Error", {}).get("Code", "")
    return status < 500 and "Throttl" not in code and code != "RequestLimitExceeded"


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

    def minute_at(ns: int | None, skew_s: float) -> datetime:
        at = zero_at + timedelta(seconds=(ns or 0) / 1e9 + skew_s)
        return at.astimezone(UTC).replace(second=0, microsecond=0)

    begin = minute_at(pc.min(table["started_ns"]).as_py(), -_SKEW_S)
    end = minute_at(pc.max(table["ended_ns"]).as_py(), _SKEW_S) + timedelta(minutes=1)
    good = table.filter(pc.equal(table["outcome"], "ok")).group_by("arm")
    latest = good.aggregate([("ended_ns", "max")]).to_pylist()
    last = {one["arm"]: minute_at(one["ended_ns_max"], -_SKEW_S).isoformat() for one in latest}
    return begin, end, last


def minutes(
    client: Any,
    arms: Mapping[str, Mapping[str, str]],
    metrics: tuple[tuple[str, str], ...],
    begin: datetime,
    end: datetime,
) -> tuple[dict[str, dict[str, dict[str, Minutes]]], bool]:
    """Ask for each metric's statistic of each arm; say also whether every answer is complete.

    `arms` gives the dimensions of each arm; what is found is by arm, metric and statistic.
    """
    places = {f"q{number}": each for number, each in enumerate(product(arms, metrics))}
    found = {arm: {metric: dict[str, Minutes]() for metric, _ in metrics} for arm in arms}
    queries = []
    for query, (arm, (metric, statistic)) in places.items():
        found[arm][metric][statistic] = {}
        named = [{"Name": name, "Value": value} for name, value in arms[arm].items()]
        measured = {"Namespace": NAMESPACE, "MetricName": metric, "Dimensions": named}
        stat = {"Metric": measured, "Period": 60, "Stat": statistic}
        queries.append({"Id": query, "MetricStat": stat})
    pages = client.get_paginator("get_metric_data").paginate(
        MetricDataQueries=queries, StartTime=begin, EndTime=end, ScanBy="TimestampAscending"
    )
    status = {}
    for result in (one for page in pages for one in page["MetricDataResults"]):
        status[result["Id"]] = result["StatusCode"]  # of the last page, if there are several
        arm, (metric, statistic) = places[result["Id"]]
        times = (at.astimezone(UTC).isoformat() for at in result["Timestamps"])
        found[arm][metric][statistic] |= zip(times, result["Values"], strict=True)
    return found, set(status.values()) <= {"Complete"}


def main() -> None:
    """Read CloudWatch for the run folder on the command line."""
    child.end_with_parent()
    folder = run_folder.open_folder(Path(sys.argv[1]))
    try:
        run_folder.compact(folder)  # which is to do yet after a run of plain Locust
        content = read(folder)
    except (failures.ClientError, failures.BotoCoreError, ResponseParserError) as error:
        hint = "Allow cloudwatch:GetMetricData, or set cloudwatch.read = false."
        content = {"note": f"CloudWatch could not be read: {said(error)} {hint}"}
    run_folder.write_atomically(folder.path / CLOUDWATCH, json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
