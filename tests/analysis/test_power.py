"""What a plan can decide, what another run would find, and what is said before a run."""

import math
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import beta, norm

import analysis
from analysis.noise import draw_signs
from analysis.power import (
    DIFFERENCES,
    MetricPower,
    Power,
    foreseen,
    power_of_plan,
    power_of_plan_like,
    power_of_run,
)
from analysis.swap import Swap, swap_ratio
from analysis.windows import windowed
from experiments.errors import PlanError
from experiments.plan_file import find, load
from tests.analysis.runs import record, write_run

STAGES = (
    'traffic={ routing = "pinned", warmup = "10s", stages = ['
    '{ name = "base", rate = 50.0, for = "120s" }, { name = "peak", rate = 50.0, for = "30s" }] }'
)


@pytest.mark.parametrize(
    ("slo", "said"),
    [
        # 6,000 requests in 120 s, of which an arm gets half; a p99.9 needs 3 / 0.001.
        ('{ p99 = "1s" }', []),
        ('{ "p99.9" = "1s" }', ["the p99.9 limit of current needs 3,000 requests"]),
        ('{ p99 = "1s", window = "10s" }', ["p99 limit of current needs 300 requests in 10 s"]),
        ('{ error_rate = "0.01%" }', ["the error_rate limit of current needs 30,000 requests"]),
    ],
)
def test_a_limit_needs_so_many_requests(slo: str, said: list[str]) -> None:
    plan = load(find("ab"), ["traffic.rate=49", f"slo={slo}"])
    found = [line for line in foreseen(plan) if "limit of current" in line]
    assert len(found) == len(said)
    assert all(part in line for part, line in zip(said, found, strict=True))


def test_a_stage_can_be_too_short_for_a_verdict() -> None:
    plan = load(find("ab"), [STAGES, 'slo={ phases = { peak = { p99 = "1s" } } }'])
    (first, _) = [line for line in foreseen(plan) if "in peak" in line]
    assert "will end in cannot tell: 30 s are fewer than 60 s" in first


@pytest.mark.parametrize(
    ("memory", "said"),
    [
        ("10s", []),
        ("15s", ["120 s are measured; a verdict from less than 180 s is marked as that of a"]),
        ("21s", ["120 s are measured; below 126 s there is no verdict"]),
    ],
)
def test_what_is_foreseen_goes_by_the_memory_of_the_plan(memory: str, said: list[str]) -> None:
    lines = foreseen(load(find("ab"), [f"compare.memory={memory}"]))
    assert len(lines) == len(said)
    assert all(part in line for part, line in zip(said, lines, strict=True))


def test_the_built_in_plans_can_decide() -> None:
    for path in Path("experiments/plans").glob("*.toml"):
        if not path.name.endswith(".endpoint.toml"):
            assert foreseen(load(path)) == ()


def metric_of(found: Power, metric: str) -> MetricPower:
    (one,) = [each for each in found.metrics if each.metric == metric]
    return one


def run_of(folder: Path, *overrides: str, outcome: str = "ok") -> analysis.Run:
    """Twenty requests of each arm a second for 130 s, of spread 0.5."""
    rng = np.random.default_rng(3)
    rows = [
        record(n, arm, float(at_s), 20 * float(rng.lognormal(0, 0.5)), group=None, outcome=outcome)
        for n, at_s in enumerate(np.sort(rng.uniform(0, 130, 5200)))
        for arm in [("current", "candidate")[n % 2]]
    ]
    return analysis.read_run(write_run(folder / "run", rows, overrides))


def test_a_plan_is_answered_for_by_its_own_rate_shares_and_margins() -> None:
    plan = load(
        find("ab"), ["traffic.routing=pinned", "arms.current.share=3", "traffic.duration=10m"]
    )
    found = power_of_plan(plan, spread=0.4, design_effect=2.0)
    assert found.rates_rps == {"current": 30.0, "candidate": 10.0}
    assert [each.metric for each in found.metrics] == ["p50", "p90", "p95", "p99", "p99.9", "mean"]
    p50 = metric_of(found, "p50")
    error = math.sqrt(2 * 0.25 * (1 / 18_000 + 1 / 6_000)) / (norm.pdf(0) / 0.4)
    assert p50.detectable == pytest.approx(math.expm1(2.954 * error), rel=1e-3)
    # 3.057 is t(19) at 0.95 and 0.9: the smallest margin that equal arms keep in 80 %.
    same_s = 600 * (3.057 * error / math.log1p(0.05)) ** 2
    assert same_s < 600
    assert p50.alike is not None
    assert p50.alike.measured_s is not None
    assert 120 <= p50.alike.measured_s <= 600
    assert len(p50.needed) == len(DIFFERENCES)
    assert metric_of(found, "p99.9").reason is not None
    assert metric_of(found, "p95").margin is None


def test_how_long_a_margin_takes_is_how_long_that_difference_takes() -> None:
    margins = 'compare.margins={ p99 = "5%" }'
    p99 = metric_of(power_of_plan(load(find("ab"), [margins])), "p99")
    assert p99.margin_seen == p99.needed[DIFFERENCES.index(0.05)]
    assert p99.margin_seen is not None
    longer = load(find("ab"), [margins, f"traffic.duration={p99.margin_seen.measured_s:.3f}s"])
    assert metric_of(power_of_plan(longer), "p99").detectable == pytest.approx(0.05, abs=1e-5)


def test_error_rates_take_the_requests_that_bound_them_without_a_failure() -> None:
    found = power_of_plan(
        load(find("ab"), ['compare.margins={ p50 = "5%", error_rate = "0.1pp" }'])
    )
    assert found.error_rate.requests is not None
    # The upper bound of Clopper and Pearson where none of n fails.
    bounds = [beta.ppf(0.95, 1, n) for n in (found.error_rate.requests, 2990)]
    assert bounds[0] <= found.error_rate_margin == 0.001 < bounds[1]


def test_a_run_finds_what_its_own_test_says(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    found = power_of_run(run)
    rows = run.measured
    a, b = (rows[rows["arm"] == arm] for arm in ("current", "candidate"))
    sample = windowed(
        a["response_ms"], a["scheduled_ms"] / 1e3, b["response_ms"], b["scheduled_ms"] / 1e3,
        start_s=10, end_s=130,
    )  # fmt: skip
    swap = swap_ratio(sample, 0.9, signs=draw_signs(np.random.default_rng(0)))
    assert isinstance(swap, Swap)
    p90 = metric_of(found, "p90")
    assert p90.detectable == pytest.approx(swap.detectable)
    assert p90.design_effect == swap.noise.design_effect
    assert found.rates_rps == {"current": a.shape[0] / 120, "candidate": b.shape[0] / 120}
    assert found.basis.endswith("A run of less than 600 s cannot tell how long its noise lasts.")
    # 23 of 2,364 requests lie beyond p99: imprecise, and 2 beyond p99.9: refused.
    assert metric_of(found, "p99").detectable is None
    assert "a rough guess, from 23 requests" in str(metric_of(found, "p99").reason)
    assert len(metric_of(found, "p99").needed) == 4
    assert metric_of(found, "p99.9").needed == ()


def test_a_run_too_short_to_show_its_noise_is_refused(tmp_path: Path) -> None:
    rows = [record(i, ("current", "candidate")[i % 2], i * 0.05, 20.0) for i in range(600)]
    run = analysis.read_run(write_run(tmp_path / "run", rows, ["traffic.duration=20s"]))
    with pytest.raises(PlanError, match=r"run: too short to show .* 20 s measured") as refused:
        power_of_plan_like(load(find("ab")), run)
    assert "longer run" in refused.value.hint


def test_a_plan_like_a_run_is_as_noisy(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    of_run = power_of_run(run)
    plan = load(find("ab"), [f"traffic.rate={sum(of_run.rates_rps.values())}"])
    like = power_of_plan_like(plan, run)
    assert run.id in like.basis
    for metric in ("p50", "p90", "mean"):
        wanted = metric_of(of_run, metric).detectable
        assert metric_of(like, metric).detectable == pytest.approx(wanted, rel=0.01)


def test_a_closed_loop_has_the_rate_of_the_run_it_is_like(tmp_path: Path) -> None:
    closed = "{ routing = 'paired', arrivals = 'closed', users = 4, duration = '120s' }"
    plan = load(find("ab"), [f"traffic={closed}"])
    with pytest.raises(PlanError, match="does not say its rate"):
        power_of_plan(plan)
    run = run_of(tmp_path)
    counts = run.measured["arm"].value_counts()
    rates = power_of_plan_like(plan, run).rates_rps
    assert rates == {arm: counts[arm] / 120 for arm in ("current", "candidate")}


def test_what_compares_nothing_has_no_power(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="compares nothing"):
        power_of_plan(load(find("load")))


def test_a_run_of_failures_only_finds_nothing(tmp_path: Path) -> None:
    found = power_of_run(run_of(tmp_path, outcome="model_error"))
    assert all(each.detectable is None and each.reason for each in found.metrics)


@pytest.mark.parametrize(
    ("margins", "said"),
    [
        ('{ p50 = "5%" }', []),
        ('{ p50 = "2%" }', []),  # the best case does
        ('{ p50 = "0.5%" }', ["guards p50 at ±0.5%", "its 90% interval would still reach ±0.6"]),
        ('{ p99 = "5%" }', ["guards p99, which needs 5,000 requests an arm", "about 2,400"]),
        ('{ p50 = "5%", error_rate = "0.1pp" }', ["error_rate at ±0.1 pp, which needs 2,995"]),
    ],
)
def test_a_margin_that_no_run_of_this_length_can_meet_is_said(
    margins: str, said: list[str]
) -> None:
    lines = foreseen(load(find("ab"), [f"compare.margins={margins}"]))
    assert len(lines) == bool(said)
    for part in said:
        assert part in lines[0]


def test_a_run_can_meet_the_margins_that_nothing_is_said_of() -> None:
    # 0.8 % at p50 of 2,400 requests an arm is about what the evenest latencies take.
    rng = np.random.default_rng(5)
    signs = draw_signs(rng)[:1000]
    widest = math.log1p(0.008)
    inside = 0
    for _ in range(40):
        at_s = [np.sort(rng.uniform(0, 120, 2400)) for _ in range(2)]
        ms = [rng.lognormal(3, 0.1, 2400) for _ in range(2)]
        found = swap_ratio(
            windowed(ms[0], at_s[0], ms[1], at_s[1], start_s=0, end_s=120), 0.5, signs=signs
        )
        assert isinstance(found, Swap)
        ends = found.ratio.interval_90.low, found.ratio.interval_90.high
        inside += all(end is not None and abs(math.log(end)) < widest for end in ends)
    assert foreseen(load(find("ab"), ['compare.margins={ p50 = "0.8%" }'])) == ()
    assert 0 < inside < 20
