"""CloudWatch's reads of the endpoint's metrics: GetMetricData and GetMetricStatistics."""

import time
from collections.abc import Iterable, Iterator

import numpy as np

from experiments.local.deployment import Deployment, Json
from experiments.local.metrics import STATISTICS, UNITS, Samples, statistic
from experiments.local.service_error import ServiceError

NAMESPACE = "AWS/SageMaker"


def metric_data(asked: Json, account: str, deployment: Deployment) -> Json:
    """Answer one query of GetMetricData; its times are in seconds since the epoch, as all here."""
    if "MetricStat" not in asked:
        raise _invalid("Expression is not offered by this local endpoint; give MetricStat.")
    wanted = asked["MetricStat"]
    metric, name = wanted["Metric"], wanted["Stat"]
    _check([name])
    periods = _periods(asked, metric, wanted, account, deployment)
    points = [(at, statistic(name, samples)) for at, samples in periods]
    if asked.get("ScanBy") != "TimestampAscending":
        points.reverse()
    return {
        "Id": asked["Id"],
        "Label": asked.get("Label", metric["MetricName"]),
        "Timestamps": [at for at, _ in points],
        "Values": [value for _, value in points],
        "StatusCode": "Complete",
    }


def get_metric_statistics(asked: Json, account: str, deployment: Deployment) -> Json:
    """Answer GetMetricStatistics."""
    plain, extended = asked.get("Statistics", []), asked.get("ExtendedStatistics", [])
    if not plain and not extended:
        raise ServiceError(
            400, "MissingParameter", "Give Statistics or ExtendedStatistics, or both."
        )
    if strays := [name for name in plain if name not in STATISTICS]:
        raise _invalid(f"Statistics has {strays[0]}; it may have {', '.join(STATISTICS)}.")
    _check(extended)
    points = []
    for at, samples in _periods(asked, asked, asked, account, deployment):
        point: Json = {"Timestamp": at, "Unit": UNITS[asked["MetricName"]]}
        point |= {name: statistic(name, samples) for name in plain}
        if extended:
            point["ExtendedStatistics"] = {name: statistic(name, samples) for name in extended}
        points.append(point)
    return {"Label": asked["MetricName"], "Datapoints": points}


def _periods(
    asked: Json, metric: Json, wanted: Json, account: str, deployment: Deployment
) -> Iterator[tuple[int, Samples]]:
    """Give the samples of each period, oldest first; of a metric that there is not, none."""
    period_s = int(wanted["Period"])
    if period_s < 1 or (period_s >= 60 and period_s % 60) or asked["EndTime"] <= asked["StartTime"]:
        raise _invalid("Period must be a multiple of 60, and EndTime after StartTime.")
    endpoint, name = deployment.endpoint, str(metric.get("MetricName"))
    dimensions = {one["Name"]: one["Value"] for one in metric.get("Dimensions", [])}
    variant = dimensions.pop("VariantName", None)
    is_here = metric.get("Namespace") == NAMESPACE and dimensions == {"EndpointName": endpoint.name}
    is_known = name in UNITS and wanted.get("Unit", UNITS[name]) == UNITS[name]
    if is_here and is_known and account == endpoint.account:
        yield from deployment.metrics.samples(
            name,
            endpoint.variants if variant is None else [variant],
            max(period_s, 60),
            start_s=asked["StartTime"],
            end_s=asked["EndTime"],
            known_until_s=time.time() - endpoint.metrics_delay,
        )


def _check(names: Iterable[str]) -> None:
    """Refuse a statistic that there is not, also where there are no samples."""
    for name in names:
        try:
            statistic(name, np.zeros(1))
        except ValueError as error:
            raise _invalid(str(error)) from None


def _invalid(message: str) -> ServiceError:
    return ServiceError(400, "InvalidParameterValue", message)
