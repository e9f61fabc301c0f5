"""One rate is judged by all its probes, and a queue that grows is never a pass."""

import numpy as np
import pytest

from analysis.clustered import clustered_share
from analysis.rates import Observed, judge_rate
from experiments.slo import Slo, thresholds

P99 = thresholds(Slo.model_validate({"p99": 0.1}), ["a"])
ERRORS = thresholds(Slo.model_validate({"error_rate": 0.01}), ["a"])


def observed(latency_ms, length_s=30.0):
    latency_ms = np.asarray(latency_ms, float)
    at_s = (np.arange(latency_ms.size) + 0.5) * length_s / latency_ms.size
    taken_s = np.where(np.isinf(latency_ms), 1.0, latency_ms) / 1e3
    return Observed(at_s, latency_ms, at_s + taken_s, length_s)


def latencies(requests=3000, slow=0, failed=0):
    """Give latencies of 20 ms with slow and failed ones spread evenly."""
    found = np.full(requests, 20.0)
    if slow:
        found[np.arange(slow) * requests // slow + 3] = 150.0
    if failed:
        found[np.arange(failed) * requests // failed + 5] = np.inf
    return found


@pytest.mark.parametrize(
    ("slow", "call"), [(0, "pass"), (10, "pass"), (30, "unresolved"), (60, "fail")]
)
def test_a_rate_passes_or_fails_where_the_interval_leaves_no_doubt(slow, call):
    assert judge_rate(100.0, [observed(latencies(slow=slow))], P99).call == call


def test_no_more_than_so_few_requests_can_show_a_limit_kept():
    assert judge_rate(10.0, [observed(latencies(requests=250))], P99).call == "unresolved"
    assert judge_rate(10.0, [observed(latencies(requests=320))], P99).call == "pass"


def test_a_failure_misses_every_limit():
    seen = [observed(latencies(failed=90))]
    assert judge_rate(100.0, seen, P99).call == "fail"
    assert judge_rate(100.0, seen, ERRORS).call == "fail"
    assert judge_rate(100.0, [observed(latencies(slow=90))], ERRORS).call == "pass"


def test_a_percentile_that_failures_reach_has_no_value():
    (limit,) = judge_rate(100.0, [observed(latencies(failed=90))], P99).limits
    assert limit.value_ms is None
    assert limit.value_interval.high is None


def test_probes_are_judged_as_one_stretch():
    parts = [observed(latencies(slow=n)) for n in (12, 30, 9)]
    found = judge_rate(100.0, parts, P99)
    (limit,) = found.limits
    assert (found.probes, found.requests, found.measured_s) == (3, 9000, 90.0)
    assert limit.missed == 51
    at_s = np.concatenate([part.at_s + 30 * i for i, part in enumerate(parts)])
    slow = np.concatenate([part.latency_ms > 100 for part in parts]).astype(float)
    low, high = clustered_share(at_s, slow, start_s=0, end_s=90).bounds(0.95)
    assert (limit.interval.low, limit.interval.high) == (low, high)


def test_the_latency_lies_within_its_interval():
    rng = np.random.default_rng(3)
    (limit,) = judge_rate(1.0, [observed(rng.lognormal(3, 0.5, 5000))], P99).limits
    true_ms = np.exp(3 + 0.5 * 2.326)
    assert limit.value_interval.low < true_ms < limit.value_interval.high
    assert limit.value_interval.low < limit.value_ms < limit.value_interval.high


def test_bursts_of_misses_say_less_than_as_many_that_are_spread():
    spread, burst = latencies(slow=10), latencies()
    burst[1500:1510] = 150.0
    assert judge_rate(1.0, [observed(spread)], P99).call == "pass"
    assert judge_rate(1.0, [observed(burst)], P99).call == "unresolved"


def growing(overload, requests=3000, length_s=30.0):
    """One server that does less than what comes: the wait grows evenly."""
    at_s = (np.arange(requests) + 0.5) * length_s / requests
    ended_s = (at_s[0] + np.arange(requests) * overload * length_s / requests) + 0.01
    return Observed(at_s, (ended_s - at_s) * 1e3, ended_s, length_s)


def test_a_saturated_rate_fails_though_its_limit_is_kept():
    lax = thresholds(Slo.model_validate({"p99": 60.0}), ["a"])
    found = judge_rate(100.0, [growing(1.05)], lax)
    assert found.limits[0].call == "met"
    assert (found.call, found.saturated) == ("fail", 1)


def test_while_a_queue_grows_a_little_nothing_passes():
    lax = thresholds(Slo.model_validate({"p99": 60.0}), ["a"])
    assert judge_rate(100.0, [growing(1.01)], lax).call == "unresolved"
    assert judge_rate(100.0, [growing(1.0)], lax).call == "pass"


def test_saturation_is_what_most_probes_show():
    lax = thresholds(Slo.model_validate({"p99": 60.0}), ["a"])
    assert judge_rate(1.0, [growing(1.05), growing(1.0), growing(1.0)], lax).call != "fail"
    assert judge_rate(1.0, [growing(1.05), growing(1.05), growing(1.0)], lax).call == "fail"


def test_without_a_probe_nothing_is_told():
    found = judge_rate(1.0, [], P99)
    assert (found.call, found.requests, found.limits) == ("unresolved", 0, ())


def test_latency_without_a_trend_is_seldom_called_saturated():
    rng = np.random.default_rng(5)
    lax = thresholds(Slo.model_validate({"p99": 60.0}), ["a"])
    found = [
        judge_rate(1.0, [observed(rng.lognormal(3, 0.5, 300))], lax).saturated for _ in range(200)
    ]
    assert sum(found) == 0
