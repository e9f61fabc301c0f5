"""One classification for every guarded metric, and the worst call decides."""

from dataclasses import replace

import pytest

from analysis.results.comparison import Answers, AnswersDifference, ArmAnswers, Difference
from analysis.results.run import Check
from analysis.results.values import Call, Estimate, Interval
from analysis.verdict import classify, holm, judge


def ratio(value: float, low: float | None, high: float | None) -> Estimate:
    """An estimate whose 90 % interval is as its 95 % interval, drawn in by a tenth."""
    inner = [None if e is None else e + (value - e) / 10 for e in (low, high)]
    return Estimate(
        value=value,
        interval=Interval(low=low, high=high, level=0.95),
        interval_90=Interval(low=inner[0], high=inner[1], level=0.90),
    )


def difference(
    estimate: Estimate | None, margin: float | None = 0.05, **fields: object
) -> Difference:
    item = Difference(
        arm="candidate",
        baseline="current",
        metric="p50",
        measure="response",
        unit="ms",
        baseline_value=100.0,
        arm_value=None if estimate is None else 100.0 * estimate.value,
        ratio=estimate,
        difference=estimate,
        margin=margin,
        tail_requests=500,
        precision="enough",
        call="undecided" if estimate else "refused",
        p_value=0.01,
        p_value_holm=0.03,
        autocorrelation=0.0,
        reason=None,
    )
    return replace(item, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("estimate", "call"),
    [
        (ratio(1.10, 1.02, 1.18), "worse"),
        (ratio(0.90, 0.82, 0.98), "better"),
        (ratio(1.00, 0.97, 1.03), "same"),
        (ratio(1.02, 1.01, 1.03), "same"),  # a difference, but none that matters
        (ratio(1.10, 0.99, 1.21), "undecided"),
        (ratio(1.04, 1.005, 1.075), "undecided"),  # above 0, not above the margin
        (ratio(1.00, 0.90, 1.10), "undecided"),
        (ratio(1.10, None, 1.18), "undecided"),
        (ratio(1.10, 1.02, None), "worse"),
        (ratio(0.50, None, 0.60), "better"),
    ],
)
def test_an_interval_and_a_margin_give_a_call(estimate: Estimate, call: Call) -> None:
    assert classify(difference(estimate), 120)[0] == call


def test_a_difference_that_holm_does_not_carry_is_not_called() -> None:
    assert classify(difference(ratio(1.1, 1.02, 1.18), p_value_holm=0.06), 120)[0] == "undecided"


def test_without_a_margin_nothing_is_the_same() -> None:
    assert classify(difference(ratio(1.0, 0.99, 1.01), margin=None), 120)[0] == "undecided"
    assert classify(difference(ratio(1.02, 1.01, 1.03), margin=None), 120)[0] == "worse"


def test_few_requests_beyond_a_quantile_carry_no_call() -> None:
    item = difference(ratio(2.0, 1.5, 2.5), precision="imprecise", tail_requests=30)
    call, reason = classify(item, 120)
    assert call == "undecided"
    assert reason is not None
    assert "30 requests" in reason
    assert classify(difference(None, reason="why"), 120) == ("refused", "why")


def test_error_rates_are_judged_by_their_absolute_difference() -> None:
    fields = {"unit": "share", "measure": "outcome", "ratio": None, "metric": "error_rate"}
    more = difference(ratio(0.02, 0.015, 0.025), margin=0.01, **fields)
    assert classify(more, 120)[0] == "worse"
    none = difference(ratio(0.0, -0.005, 0.005), margin=0.01, **fields)
    assert classify(none, 120)[0] == "same"


def test_it_says_how_much_longer_would_settle_it() -> None:
    # Half-width 0.10 must shrink to the margin of 0.05: four times the run, three more of it.
    _, reason = classify(difference(ratio(1.0, 0.9, 1.1)), 120)
    assert reason == "about 6 min more at this rate would settle it"
    _, reason = classify(difference(ratio(1.05, 0.95, 1.15), margin=0.0500001), 120)
    assert reason is not None
    assert "no run of a sensible length" in reason


def test_holm_steps_down_over_guarded_metrics_only() -> None:
    # By hand: 3 x 0.01, then 2 x 0.02, then 1 x 0.03, never falling.
    items = [
        difference(ratio(1, 1, 1), p_value=p, margin=m, p_value_holm=None)
        for p, m in ((0.03, 0.1), (0.01, 0.1), (0.001, None), (0.02, 0.1))
    ]
    corrected = [item.p_value_holm for item in holm(items)]
    assert corrected == pytest.approx([0.04, 0.03, None, 0.04], abs=1e-12)


OK = Check(name="x", title="X", state="ok", finding="fine")
FAILED = Check(name="y", title="On time", state="fail", finding="8% left late", next_step="Wait.")
CALLS: dict[str, Difference] = {
    "better": difference(ratio(0.5, 0.4, 0.6), call="better"),
    "worse": difference(ratio(1.5, 1.4, 1.6), call="worse", metric="p90"),
    "same": difference(ratio(1.0, 0.99, 1.01), call="same", metric="p95"),
    "undecided": difference(ratio(1.0, 0.8, 1.2), call="undecided", reason="More is needed."),
    "refused": difference(None, call="refused", reason="Too few."),
}


@pytest.mark.parametrize(
    ("calls", "checks", "state", "exit_code"),
    [
        (["better", "same"], [OK], "better", 0),
        (["same", "same"], [OK], "same", 0),
        (["better", "undecided"], [OK], "undecided", 3),
        (["same", "refused"], [OK], "undecided", 3),
        (["worse", "undecided", "better"], [OK], "worse", 1),
        (["worse"], [OK, FAILED], "untrusted", 4),
    ],
)
def test_the_worst_call_decides_and_validity_comes_first(
    calls: list[str], checks: list[Check], state: str, exit_code: int
) -> None:
    verdict = judge([CALLS[call] for call in calls], checks, None)
    assert (verdict.state, verdict.exit_code) == (state, exit_code)


def said(calls: list[str], check: Check = OK) -> tuple[str, tuple[str, ...]]:
    verdict = judge([CALLS[call] for call in calls], [check], None)
    return verdict.sentence, verdict.context


def test_sentences_name_the_arm_the_figure_and_its_interval() -> None:
    assert said(["worse", "same"]) == (
        "Don't ship candidate: at p90 it is slower than current, 150 ms against 100 ms "
        "(+50.0%, between +40.0 and +60.0%).",
        ("Within the margin: p95 0.0% (\u22121.0 to +1.0%).",),
    )
    assert said(["worse"], FAILED) == (
        'Do not read on: this run fails the check "On time".',
        ("8% left late.", "Wait."),
    )
    assert said(["undecided", "same"]) == (
        "Cannot tell yet whether candidate differs from current: at p50 the change is 0.0% "
        "(\u221220.0 to +20.0%).",
        ("More is needed.", "Within the margin: p95 0.0% (\u22121.0 to +1.0%)."),
    )
    assert said(["better", "worse"])[1] == ("Better: p50 \u221250.0% (\u221260.0 to \u221240.0%).",)
    assert said(["same"]) == (
        "No difference that matters between candidate and current.",
        ("Within the margin: p95 0.0% (\u22121.0 to +1.0%).",),
    )


def test_an_open_end_is_said_to_be_unbounded_and_error_rates_have_their_figures() -> None:
    """By hand: 5 % failed against 2 %, three points more; a ratio that has no upper end."""
    open_end = difference(ratio(1.5, 1.4, None), call="worse")
    assert judge([open_end], [OK], None).sentence.endswith("(+50.0%, +40.0% to unbounded).")
    failing = difference(
        ratio(0.03, 0.02, 0.04), 0.01, metric="error_rate", measure="outcome", unit="share",
        ratio=None, baseline_value=0.02, arm_value=0.05, call="worse",
    )  # fmt: skip
    assert judge([failing], [OK], None).sentence == (
        "Don't ship candidate: it fails more often than current, 5.0% against 2.0% "
        "(+3.00 pp, between +2.00 and +4.00 pp)."
    )
    assert judge([open_end, replace(CALLS["better"], arm="green")], [OK], None).context == (
        "Of green, better: p50 \u221250.0% (\u221260.0 to \u221240.0%).",
    )


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("better", "candidate is right more often than current: on 90.0% of 100 payloads"),
        ("undecided", "Which is right more often cannot be told"),
    ],
)
def test_the_verdict_says_who_is_right_more_often(call: Call, words: str) -> None:
    arms = [
        ArmAnswers(arm=arm, right=n, payloads=100, share=n / 100, interval=None)
        for arm, n in (("current", 80), ("candidate", 90))
    ]
    item = AnswersDifference(
        arm="candidate", baseline="current", payloads=100, agree=80, agreement=0.8,
        agreement_interval=None, unstable=0, only_baseline_right=5, only_arm_right=15,
        p_value=0.04, call=call, reason=None,
    )  # fmt: skip
    none = replace(item, payloads=0, agree=0, agreement=None, p_value=None, call="undecided")
    assert judge([CALLS["same"]], [OK], Answers(arms=(), differences=(none,))).context[1:] == ()
    answers = Answers(arms=tuple(arms), differences=(item,))
    assert words in judge([CALLS["same"]], [OK], answers).context[-1]


def test_an_interval_without_an_end_is_no_matter_of_length_alone() -> None:
    call, reason = classify(difference(ratio(1.02, None, 1.2)), 600.0)
    assert call == "undecided"
    assert reason == "the interval is unbounded: too few requests or independent windows carry it"
