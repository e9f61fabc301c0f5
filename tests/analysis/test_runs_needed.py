"""How many runs a verdict takes, held against simulated gates."""

import math
from itertools import product

import numpy as np
import pytest
from scipy.stats import t, ttest_1samp, ttest_ind

from analysis.results.comparison import Difference
from analysis.runs import ArmRun, Design, Side, difference
from analysis.runs_needed import foreseen_runs, more_runs, runs_needed
from experiments.plan import Plan
from experiments.plan_file import find, load

GATES = 4000


def simulated(
    design: Design, runs: int, spread: float, true: float, margin: float, alpha: float
) -> tuple[float, float]:
    """Give the shares that pass and that fail of gates whose runs have normal log latencies."""
    rng = np.random.default_rng([runs, round(1e4 * spread), round(1e4 * true)])
    shift = math.log1p(true)
    if design == "blocks":
        b = rng.normal(shift, spread, (runs, GATES))
        found, value = ttest_1samp(b, 0), b.mean(axis=0)
    else:
        a, b = rng.normal(0, spread, (runs, GATES)), rng.normal(shift, spread, (runs, GATES))
        found, value = ttest_ind(b, a), b.mean(axis=0) - a.mean(axis=0)
    passed = found.confidence_interval(0.90).high < math.log1p(margin)
    failed = (found.confidence_interval(1 - alpha).low > 0) & (value >= math.log1p(margin))
    return float(passed.mean()), float(failed.mean())


@pytest.mark.parametrize(
    ("design", "spread", "margin"),
    [*product(("separate", "blocks"), (0.02, 0.032), (0.05,)), ("separate", 0.08, 0.10)],
)
def test_so_many_runs_decide_four_gates_in_five(design, spread, margin) -> None:
    to_pass, to_fail = runs_needed(spread, margin, design, guarded=2)
    # 0.8 within what 4,000 gates and the t-approximation of the power leave open.
    for runs, is_enough in ((to_pass, True), (to_pass - 1, False)):
        passed, _ = simulated(design, runs, spread, 0.0, margin, 0.025)
        assert (passed > 0.77) if is_enough else (passed < 0.82 or runs < 3), (runs, passed)
    for runs, is_enough in ((to_fail, True), (to_fail - 1, False)):
        _, failed = simulated(design, runs, spread, 2 * margin, margin, 0.025)
        assert (failed > 0.77) if is_enough else (failed < 0.82 or runs < 3), (runs, failed)


def test_a_change_of_the_margin_fails_in_half_of_gates_however_many_runs() -> None:
    assert simulated("separate", 60, 0.03, 0.05, 0.05, 0.05)[1] == pytest.approx(0.5, abs=0.03)


def side(*medians_ms: float, size: int = 100) -> list[ArmRun]:
    return [
        ArmRun(
            sent=size,
            failed=0,
            latencies_ms={"response": np.full(size, ms)},
            known_to_ms={"response": math.inf},
        )
        for ms in medians_ms
    ]


def compared(
    before: list[ArmRun], after: list[ArmRun], metric: str = "p50", margin: float = 0.05
) -> Difference:
    old, new = (Side(name="", of=(), numbers=tuple(runs)) for runs in (before, after))
    return difference(old, new, metric, "response", "separate", margin)


LIKE_THESE = " if they come out like these (to count on it takes more)"
KEPT = (20.0, 20.8, 19.4, 20.5, 19.8, 20.2, 20.6, 19.5, 20.1, 20.0)


def test_against_a_long_history_the_candidates_runs_are_counted() -> None:
    item = compared(side(*KEPT), side(20.2))
    spread, change = np.log(KEPT).std(ddof=1), math.log(20.2) - np.log(KEPT).mean()
    room = math.log(1.05) - change
    needed = next(
        n for n in range(2, 100) if t.ppf(0.95, 8 + n) * spread * math.sqrt(1 / 10 + 1 / n) < room
    )
    assert needed == 2
    said = more_runs(item, (10, 1), "separate", one_sided=True)
    assert said == f"about 1 more run of the candidate would settle it{LIKE_THESE}"


def test_where_the_history_is_too_short_both_sides_need_more() -> None:
    item = compared(side(20.0, 21.5, 18.8), side(20.6, 20.6))
    said = more_runs(item, (3, 2), "separate", one_sided=True)
    assert said.endswith(f"more runs a side would settle it{LIKE_THESE}")


def test_holm_asks_for_more_runs() -> None:
    item = compared(side(20.0, 21.5, 19.0), side(22.0, 23.0, 21.0))
    assert item.p_value is not None
    assert item.p_value > 0.05
    logs = np.log([(20.0, 21.5, 19.0), (22.0, 23.0, 21.0)])
    spread = math.sqrt(logs.var(axis=1, ddof=1).mean())
    change = float(np.diff(logs.mean(axis=1))[0])
    for times in (1, 3):
        corrected = Difference(**{**fields(item), "p_value_holm": times * item.p_value})
        needed = next(
            n
            for n in range(4, 100)
            if t.ppf(1 - 0.025 / times, 2 * n - 2) * spread * math.sqrt(2 / n) < change
        )
        runs = "run" if needed == 4 else "runs"
        assert more_runs(corrected, (3, 3), "separate") == (
            f"about {needed - 3} more {runs} a side would settle it{LIKE_THESE}"
        )


def fields(item: Difference) -> dict[str, object]:
    return {name: getattr(item, name) for name in Difference.__dataclass_fields__}


def test_an_imprecise_percentile_takes_requests() -> None:
    # 100 requests a run, of which 10 lie beyond p90: 50 take five runs.
    item = compared(side(20.0, 20.4, 20.2), side(20.1, 20.3, 20.2), "p90")
    assert item.precision == "imprecise"
    assert more_runs(item, (3, 3), "separate") == "about 2 more runs a side would settle it"


def plan_of(*overrides: str) -> Plan:
    return load(find("regression"), overrides)


def test_the_built_in_plan_can_reach_a_verdict() -> None:
    assert foreseen_runs(plan_of()) == ()


def test_what_cannot_be_decided_is_said_before_the_run() -> None:
    tight = 'regression.margins={ p50 = "3%" }'
    (said,) = foreseen_runs(plan_of(tight, 'regression.order="abba"'), {"p50": 0.032})
    assert "at 3.0%. If runs of a side differ by 3.2% (as in the runs of the baseline)" in said
    # By hand: (1.701 + 0.855) 0.032 sqrt(2/15) = 0.0299 > ln 1.03 = 0.0296 > 0.0289 of 16 runs.
    assert "it takes 16 runs a side to pass an equal candidate four times in five, and" in said
    assert said.endswith("regression.runs_per_side is 5.")
    (said,) = foreseen_runs(plan_of(tight), {"p50": 0.032})
    assert "If the arms' difference varies by 3.2%" in said
    (said,) = foreseen_runs(plan_of('regression.margins={ p99 = "20%" }'))
    assert "about 30 requests of a side lie beyond it; it takes 50" in said
    for runs in (1, 2):
        few = (f"regression.runs_per_side={runs}", 'regression.margins={p50="60%"}')
        assert "below 3 it ends in cannot tell" in foreseen_runs(plan_of(*few))[0]
    (said,) = foreseen_runs(plan_of('regression.margins={ p50 = "20%", error_rate = "0.05pp" }'))
    assert "takes 5,408 requests a side" in said  # z^2 (1/m - 1), z = 1.645


def test_of_unequal_shares_the_smaller_counts() -> None:
    shares = ('traffic.routing="pinned"', "arms.candidate.share=0.25")
    (said,) = foreseen_runs(plan_of(*shares, 'regression.margins={ p90 = "60%", p50 = "60%" }'),
                            {"p90": 0.01, "p50": 0.01}) or ("",)  # fmt: skip
    assert said == ""  # 240 a run are enough for p90
    (said,) = foreseen_runs(plan_of(*shares, 'regression.margins={ p97 = "60%" }'), {"p97": 0.01})
    assert "about 36 requests of a side" in said
