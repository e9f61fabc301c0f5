"""Plans and runs tried on arms of known truth."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import beta, binom, ttest_ind

import analysis
from analysis.noise import draw_signs
from analysis.rehearse import (
    VERDICT,
    Rehearsal,
    Tally,
    _draw_split,
    _draw_stream,
    called,
    rehearse_plan,
    rehearse_run,
    streams_of,
)
from analysis.samples import measured
from experiments.errors import AbreastError, PlanError
from experiments.plan import Plan
from experiments.plan_file import find, load
from tests.analysis.runs import record, write_run

EASY = ['compare.margins={ p50 = "0.1%", p90 = "0.1%", error_rate = "0.5pp" }']


def plan_of(*overrides: str) -> Plan:
    return load(find("ab"), list(overrides))


def tally(found: Rehearsal, stream: str, metric: str, effect: float = 0.0) -> Tally:
    (one,) = [
        t for t in found.tallies if (t.stream, t.metric, t.effect) == (stream, metric, effect)
    ]
    return one


def written_run(
    folder: Path, factor: float = 1.0, failing: float = 0.0, seconds: float = 130
) -> analysis.Run:
    """A run of 20 pairs a second, lognormal, in which a part of the requests fails."""
    rng = np.random.default_rng(1)
    rows = []
    for group, at_s in enumerate(np.sort(rng.uniform(0, seconds, round(20 * seconds)))):
        for arm, scale in (("current", 20.0), ("candidate", 20.0 * factor)):
            outcome = "model_error" if rng.random() < failing else "ok"
            latency_ms = scale * float(rng.lognormal(0, 0.3))
            row = record(len(rows), arm, float(at_s), latency_ms, group=group, outcome=outcome)
            rows.append(row)
    return analysis.read_run(write_run(folder / "run", rows))


@pytest.mark.parametrize("stream", ["iid", "ar", "burst"])
def test_equal_arms_raise_few_false_alarms_and_counting_requests_raises_many(stream: str) -> None:
    # With a margin of next to nothing, every difference that is shown is called.
    runs = 60
    plan = plan_of(*EASY)
    found = rehearse_plan(plan, streams=[stream], effect=None, runs=runs, seed=3)
    verdict = tally(found, stream, VERDICT)
    assert verdict.hits is not None
    assert verdict.hits <= binom.ppf(0.9999, runs, 0.05)
    if stream == "iid":
        return
    rng = np.random.default_rng(3)
    alarms = 0
    for _ in range(60):
        timed, _ = _draw_stream(plan, stream, (20.0, 20.0), rng)(1.0)
        pair = timed.sample.baseline.ordered, timed.sample.arm.ordered
        alarms += ttest_ind(*pair, equal_var=False).pvalue < 0.05
    assert alarms > binom.ppf(0.999, 60, 0.05)


def test_the_shares_and_their_bounds_are_those_of_the_binomial() -> None:
    found = rehearse_plan(plan_of(), streams=["iid"], effect=0.1, runs=30, seed=1)
    for each in found.tallies:
        assert each.better + each.worse + each.same + each.undecided == each.runs == 30
        if each.hits is None:
            assert (each.metric, each.effect) == ("error_rate", 0.1)
            continue
        k = each.hits
        assert each.at_most == pytest.approx(beta.ppf(0.95, k + 1, 30 - k) if k < 30 else 1)
        assert each.at_least == pytest.approx(beta.ppf(0.05, k, 30 - k + 1) if k else 0)
    assert [t.metric for t in found.tallies] == 2 * ["p50", "p90", "error_rate", VERDICT]
    assert tally(found, "iid", "error_rate").same == 30  # nothing fails


@pytest.mark.parametrize("effect", [0.3, -0.3])
def test_a_large_difference_is_called_what_it_is(effect: float) -> None:
    found = rehearse_plan(plan_of(), streams=["iid"], effect=effect, runs=20, seed=1)
    p50 = tally(found, "iid", "p50", effect)
    assert p50.hits == (p50.worse if effect > 0 else p50.better) == 20


def test_a_seed_gives_its_runs_again_and_a_stream_does_not_depend_on_the_others() -> None:
    plan = plan_of(*EASY)
    alone = rehearse_plan(plan, streams=["ar"], effect=0.05, runs=10, seed=5)
    among = rehearse_plan(plan, streams=["iid", "ar"], effect=0.05, runs=10, seed=5)
    other = rehearse_plan(plan, streams=["ar"], effect=0.05, runs=10, seed=6)
    assert alone.tallies == tuple(t for t in among.tallies if t.stream == "ar")
    assert alone.tallies != other.tallies


@pytest.mark.parametrize(
    ("overrides", "counts"),
    [
        ([], (2400, 2400)),
        (["traffic.routing=weighted", "arms.current.share=3"], (3600, 1200)),
        (
            ["traffic.routing=pinned", "arms.current.share=9", "traffic.arrivals=constant"],
            (4320, 480),
        ),
    ],
)
def test_a_simulated_run_has_the_plan_s_requests(
    overrides: list[str], counts: tuple[int, int]
) -> None:
    plan = plan_of(*overrides)
    rates = counts[0] / 120, counts[1] / 120
    timed, failed = _draw_stream(plan, "queue2", rates, np.random.default_rng(1))(1.0)
    assert timed.sample.span_s == 120
    for arm, wanted in ((timed.sample.baseline, counts[0]), (timed.sample.arm, counts[1])):
        assert arm.size == pytest.approx(wanted, abs=4.5 * np.sqrt(wanted))
    if plan.traffic.routing == "paired":
        assert np.array_equal(timed.sample.baseline.counts, timed.sample.arm.counts)
    assert failed.baseline.mean == failed.arm.mean == 0


def test_an_unequal_split_of_equal_arms_stays_equal() -> None:
    plan = plan_of("traffic.routing=weighted", "arms.current.share=9")
    rng = np.random.default_rng(2)
    medians = []
    for _ in range(40):
        timed, _ = _draw_stream(plan, "queue2", (36.0, 4.0), rng)(1.0)
        medians.append(np.log(timed.sample.arm.quantile(0.5) / timed.sample.baseline.quantile(0.5)))
    assert abs(np.mean(medians)) < 4 * np.std(medians) / np.sqrt(40)


def test_a_run_is_called_as_compare_calls_it(tmp_path: Path) -> None:
    run = written_run(tmp_path, factor=1.2, failing=0.02)
    taken = measured(run, run.measured)
    timed = taken.latencies("current", "candidate", "response")
    failed = taken.failures("current", "candidate", None)
    # The sign flips of analysis.compare are others, so p-values agree but for chance.
    ours = called(run.plan, timed, failed, 120.0, draw_signs(np.random.default_rng(0)))
    theirs = [d for d in analysis.compare(run).report.differences if d.margin is not None]
    assert len(ours) == len(theirs) == 3
    for one, other in zip(ours, theirs, strict=True):
        assert (one.arm, one.metric, one.measure, one.unit, one.margin, one.call) == (
            other.arm, other.metric, other.measure, other.unit, other.margin, other.call
        )  # fmt: skip
        assert one.p_value_holm == pytest.approx(other.p_value_holm, abs=0.02)
        assert (one.ratio and one.ratio.value) == (other.ratio and other.ratio.value)
        assert one.difference == other.difference


def test_a_run_s_baseline_is_split_into_two_alike(tmp_path: Path) -> None:
    run = written_run(tmp_path, factor=2.0, failing=0.05)
    found = rehearse_run(run, effect=0.3, runs=40, seed=1)
    assert {t.stream for t in found.tallies} == {"current"}
    equal, other = tally(found, "current", "p50"), tally(found, "current", "p50", 0.3)
    assert equal.hits is not None
    assert equal.hits <= binom.ppf(0.9999, 40, 0.05)
    assert other.hits == 40
    assert any("the real A/A is two identical variants" in line for line in found.about)
    once, again = (rehearse_run(run, effect=0.3, runs=4, seed=1) for _ in range(2))
    assert once == again


def test_a_split_is_one_of_the_baseline_s_own_requests_within_each_window(tmp_path: Path) -> None:
    run = written_run(tmp_path)
    own = run.measured[run.measured["arm"] == "current"]
    sample = _draw_split(run, own, np.random.default_rng(1))(1.0)[0].sample
    together = np.sort(np.concatenate([sample.baseline.ordered, sample.arm.ordered]))
    assert np.array_equal(together, np.sort(own["response_ms"]))
    assert np.abs(sample.baseline.counts - sample.arm.counts).max() <= 2


def test_a_plan_that_does_not_say_its_rate_is_refused() -> None:
    closed = "{ routing = 'paired', arrivals = 'closed', users = 4, duration = '120s' }"
    plan = plan_of(f"traffic={closed}")
    with pytest.raises(PlanError, match="does not say its rate"):
        rehearse_plan(plan, streams=["iid"], effect=None, runs=2, seed=1)


def test_a_plan_that_compares_nothing_is_refused() -> None:
    with pytest.raises(PlanError, match="compares nothing"):
        rehearse_plan(load(find("load")), streams=["iid"], effect=None, runs=2, seed=1)


def test_streams_are_named() -> None:
    assert streams_of("iid, ar") == ["iid", "ar"]
    with pytest.raises(AbreastError, match='no stream "sea"'):
        streams_of("iid,sea")
