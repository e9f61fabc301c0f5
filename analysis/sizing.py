"""What a measured capacity means in instances, in autoscaling and in dollars.

All of it comes from the lower bound of the rate that one instance carries. A zone that is lost
takes its share of the instances, rounded up; those that are left still carry the peak at the
target utilisation.
"""

import json
import math
from collections.abc import Sequence

from analysis.results.capacity import LimitNeed, PeakNeed, RateFound, Sizing
from experiments.plan import Plan

_SHARES_OF_PEAK = (0.25, 0.5, 1.0, 1.5, 2.0, 4.0)
_SHARES_OF_LIMIT = (0.5, 0.75, 1.0, 1.5, 2.0)
_MINUTE_S = 60
_SCALE_OUT_S, _SCALE_IN_S = 60, 300
_FEWEST = 2
"""Instances that autoscaling keeps: SageMaker spreads two over two zones."""


def size(
    plan: Plan, arm: str, lowest_rps: float, instances: int, rates: Sequence[RateFound] = ()
) -> Sizing:
    """Size for a variant of which `instances` together carry `lowest_rps` at least.

    `rates` are those that were tried, from which other limits are judged.
    """
    asked = plan.capacity_asked
    each_rps = lowest_rps / instances
    planned_rps = each_rps * asked.target_utilisation
    price = plan.arms[arm].instance_price_usd_per_hour
    peaks_rps = [share * asked.peak_rate for share in _SHARES_OF_PEAK] if asked.peak_rate else []
    peaks = tuple(_need(plan, arm, rps, planned_rps, (lowest_rps, instances)) for rps in peaks_rps)
    most = next((n.with_zone_lost for n in peaks if n.peak_rps == asked.peak_rate), None)
    name = plan.variant_of(arm) or arm
    resource = (
        f"endpoint/{plan.arms[arm].request.endpoint_name or plan.endpoint.name}/variant/{name}"
    )
    target = _rounded_down(planned_rps * _MINUTE_S)
    return Sizing(
        instance_rps=each_rps,
        utilisation=asked.target_utilisation,
        planned_rps=planned_rps,
        zones=asked.zones,
        peak_rps=asked.peak_rate,
        peaks=peaks,
        limits=_under_limits(plan, arm, lowest_rps, instances, rates),
        usd_per_hour=None if price is None else instances * price,
        usd_per_million=None if price is None else _per_million(price, planned_rps),
        with_zone_lost=_rounded_down(planned_rps * _MINUTE_S * (asked.zones - 1) / asked.zones),
        invocations_per_instance=target,
        scaling_policy=json.dumps(_policy(resource, target), indent=2),
        terraform=_terraform(resource, target, most),
    )


def _rounded_down(target: float) -> float:
    """Round to a whole number, or below ten to hundredths.

    Down, since a target above what was shown is one that was not shown.
    """
    return math.floor(target) if target >= 10 else math.floor(target * 100) / 100


def _per_million(usd_per_hour: float, rps: float) -> float:
    return usd_per_hour / (rps * 3600) * 1e6


def _bought(
    plan: Plan, arm: str, peak_rps: float, planned_rps: float
) -> tuple[int, int, float | None]:
    """Give the instances for a peak, those to lose a zone, and what these cost an hour."""
    instances, price = needed(peak_rps, planned_rps), plan.arms[arm].instance_price_usd_per_hour
    kept = with_zone_lost(instances, plan.capacity_asked.zones)
    return instances, kept, None if price is None else kept * price


def _need(
    plan: Plan, arm: str, peak_rps: float, planned_rps: float, measured: tuple[float, int]
) -> PeakNeed:
    """Size for one peak; `measured` is the rate that was measured, and by how many instances."""
    instances, kept, per_hour = _bought(plan, arm, peak_rps, planned_rps)
    return PeakNeed(
        peak_rps=peak_rps,
        instances=instances,
        with_zone_lost=kept,
        usd_per_hour=per_hour,
        usd_per_million=None if per_hour is None else _per_million(per_hour, peak_rps),
        beyond_measured=peak_rps > measured[0] or instances < measured[1],
    )


def _under_limits(
    plan: Plan, arm: str, lowest_rps: float, instances: int, rates: Sequence[RateFound]
) -> tuple[LimitNeed, ...]:
    """Size for other limits on the latency that the plan limits first."""
    asked = plan.capacity_asked
    limits = (each for found in rates for each in found.limits if each.limit_ms is not None)
    drawn = next(limits, None)
    if drawn is None or drawn.limit_ms is None:
        return ()
    needs = []
    for share in _SHARES_OF_LIMIT:
        limit_ms = drawn.limit_ms * share
        # What keeps the plan's limit keeps a wider one, and a narrower one is kept no further.
        shown_rps = _highest(rates, drawn.metric, limit_ms)
        if share > 1:
            rate_rps: float | None = max(shown_rps or 0, lowest_rps)
        else:
            rate_rps = lowest_rps if share == 1 else shown_rps and min(shown_rps, lowest_rps)
        count = kept = per_hour = None
        if asked.peak_rate and rate_rps:
            each_rps = rate_rps / instances * asked.target_utilisation
            count, kept, per_hour = _bought(plan, arm, asked.peak_rate, each_rps)
        needs.append(
            LimitNeed(
                metric=drawn.metric,
                limit_ms=limit_ms,
                is_asked=share == 1,
                rate_rps=rate_rps,
                instances=count,
                with_zone_lost=kept,
                usd_per_hour=per_hour,
            )
        )
    return tuple(needs)


def _highest(rates: Sequence[RateFound], metric: str, limit_ms: float) -> float | None:
    """Give the highest rate up to which all are shown to keep a limit, and every other one."""
    highest = None
    for found in sorted(rates, key=lambda each: each.rate_rps):
        own = next((each for each in found.limits if each.metric == metric), None)
        if own is None:
            continue
        upper = own.value_interval.high if own.value_interval else None
        if upper is None and own.call == "met":
            upper = own.limit_ms
        others = all(each.call == "met" for each in found.limits if each is not own)
        if found.saturated or not others or upper is None or upper > limit_ms:
            break
        highest = found.rate_rps
    return highest


def needed(peak_rps: float, planned_rps: float) -> int:
    """Give how many instances carry a peak, each given `planned_rps`."""
    # Less a hair, since 0.7 * 100 * 10 is not 700 in binary.
    return max(1, math.ceil(peak_rps / planned_rps * (1 - 1e-12)))


def with_zone_lost(instances: int, zones: int) -> int:
    """Give the fewest instances of which so many are left when the fullest of the zones is gone."""
    total = instances
    while total - math.ceil(total / zones) < instances:
        total += 1
    return total


def _policy(resource: str, target: float) -> dict[str, object]:
    return {
        "PolicyName": "abreast-invocations-per-instance",
        "ServiceNamespace": "sagemaker",
        "ResourceId": resource,
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
        "PolicyType": "TargetTrackingScaling",
        "TargetTrackingScalingPolicyConfiguration": {
            "TargetValue": target,
            "PredefinedMetricSpecification": {
                "PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"
            },
            "ScaleOutCooldown": _SCALE_OUT_S,
            "ScaleInCooldown": _SCALE_IN_S,
        },
    }


def _terraform(resource: str, target: float, most: int | None) -> str:
    # Without a peak, how many there may be is for who pays to say.
    ask = 'variable "max_capacity" {\n  type = number\n}\n\n' if most is None else ""
    highest = "var.max_capacity" if most is None else max(most, _FEWEST)
    return f"""\
{ask}resource "aws_appautoscaling_target" "variant" {{
  service_namespace  = "sagemaker"
  resource_id        = "{resource}"
  scalable_dimension = "sagemaker:variant:DesiredInstanceCount"
  min_capacity       = {_FEWEST}
  max_capacity       = {highest}
}}

resource "aws_appautoscaling_policy" "variant" {{
  name               = "abreast-invocations-per-instance"
  policy_type        = "TargetTrackingScaling"
  service_namespace  = aws_appautoscaling_target.variant.service_namespace
  resource_id        = aws_appautoscaling_target.variant.resource_id
  scalable_dimension = aws_appautoscaling_target.variant.scalable_dimension

  target_tracking_scaling_policy_configuration {{
    target_value       = {target}
    scale_out_cooldown = {_SCALE_OUT_S}
    scale_in_cooldown  = {_SCALE_IN_S}

    predefined_metric_specification {{
      predefined_metric_type = "SageMakerVariantInvocationsPerInstance"
    }}
  }}
}}"""
