import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

from analysis.answers import compare_answers


def table(*rows):
    return pd.DataFrame(rows, columns=["payload", "arm", "prediction"])


def compared(answers, labels=None, *, tolerance=0.0, arms=("old", "new")):
    truth = None if labels is None else pd.Series(labels, dtype=object)
    return compare_answers(answers, truth, baseline="old", arms=arms, tolerance=tolerance)


def graded(outcomes):
    """One payload for each pair (old is right, new is right), with its labels."""
    rows, labels = [], {}
    for index, rights in enumerate(outcomes):
        labels[f"p{index}"] = "yes"
        for arm, right in zip(("old", "new"), rights, strict=True):
            rows.append((f"p{index}", arm, "yes" if right else "no"))
    return table(*rows), labels


def test_agreement_counts_payloads_that_both_arms_answered():
    found = compared(
        table(
            ("1", "old", "cat"), ("1", "new", "cat"),
            ("2", "old", "cat"), ("2", "new", "dog"),
            ("3", "old", "cat"), ("3", "new", None),
            ("4", "new", "dog"),
        )
    ).differences[0]  # fmt: skip
    assert (found.arm, found.baseline) == ("new", "old")
    assert (found.payloads, found.agree, found.agreement) == (2, 1, 0.5)
    low, high = proportion_confint(1, 2, method="wilson")
    interval = found.agreement_interval
    assert (interval.low, interval.high) == pytest.approx((low, high))


def test_without_labels_nobody_is_right():
    found = compared(table(("1", "old", "cat"), ("1", "new", "cat")))
    assert found.arms == ()
    difference = found.differences[0]
    assert (difference.only_baseline_right, difference.only_arm_right) == (None, None)
    assert (difference.p_value, difference.call) == (None, "undecided")
    assert "label" in difference.reason


def test_a_payload_has_one_vote_however_often_it_is_sent():
    rows = [("1", "old", "cat")] * 50 + [("1", "new", "dog")] * 50 + [("2", "old", "cat")] * 3
    found = compared(table(*rows, ("2", "new", "cat")), {"1": "cat", "2": "cat"})
    assert (found.differences[0].payloads, found.differences[0].agree) == (2, 1)
    assert [(arm.arm, arm.right, arm.payloads) for arm in found.arms] == [
        ("old", 2, 2),
        ("new", 1, 2),
    ]


def test_the_majority_votes_and_the_payload_is_unstable():
    rows = [("1", "old", "cat"), ("1", "old", "dog"), ("1", "old", "cat"), ("1", "new", "cat")]
    found = compared(table(*rows), {"1": "cat"})
    assert found.differences[0].agree == 1
    assert found.differences[0].unstable == 1
    assert found.arms[0].right == 1


def test_a_tied_payload_has_no_vote():
    rows = [("1", "old", "cat"), ("1", "old", "dog"), ("1", "new", "cat")]
    found = compared(table(*rows), {"1": "cat"})
    assert (found.differences[0].payloads, found.differences[0].unstable) == (0, 1)
    assert (found.arms[0].payloads, found.arms[0].share, found.arms[0].interval) == (0, None, None)
    assert found.arms[1].right == 1


def test_a_payload_unstable_in_both_arms_is_counted_once():
    rows = [("1", arm, answer) for arm in ("old", "new") for answer in ("cat", "cat", "dog")]
    assert compared(table(*rows)).differences[0].unstable == 1


@pytest.mark.parametrize(
    ("old", "new", "tolerance", "agree"),
    [
        ("1", "1.0", 0.0, 1),
        ("1e3", "1000", 0.0, 1),
        ("0.30", "0.31", 0.0, 0),
        ("1.0", "1.1", 0.1, 1),
        ("1.0", "1.11", 0.1, 0),
        ("-0.05", "0.05", 0.1, 1),
        ("cat", "1", 9.0, 0),
        ("nan", "nan", 0.0, 1),
        ("inf", "1e308", 9.0, 0),
    ],
)
def test_numbers_agree_within_the_tolerance_and_the_rest_as_text(old, new, tolerance, agree):
    found = compared(table(("1", "old", old), ("1", "new", new)), tolerance=tolerance)
    assert found.differences[0].agree == agree


def test_numbers_within_the_tolerance_of_each_other_are_one_answer():
    rows = [("1", "old", "0.50"), ("1", "old", "0.51"), ("1", "old", "0.55"), ("1", "new", "0.6")]
    near = compared(table(*rows), {"1": "0.6"}, tolerance=0.1)
    assert near.differences[0].unstable == 0
    assert near.differences[0].agree == 1
    assert near.arms[0].right == 1
    far = compared(table(*rows), tolerance=0.01)
    assert (far.differences[0].unstable, far.differences[0].payloads) == (1, 0)


def test_a_label_is_compared_as_an_answer_is():
    rows = [("1", "old", "1.0"), ("1", "new", "2"), ("2", "old", "stay"), ("2", "new", "stay")]
    found = compared(table(*rows), {"1": 1, "2": "stay", "3": "never sent"})
    assert [(arm.right, arm.payloads) for arm in found.arms] == [(2, 2), (1, 2)]


@settings(max_examples=50, deadline=None)
@given(
    both=st.integers(0, 30),
    old=st.integers(0, 15),
    new=st.integers(0, 15),
    neither=st.integers(0, 9),
)
def test_which_is_right_more_often_is_the_exact_mcnemar_test(both, old, new, neither):
    outcomes = [(1, 1)] * both + [(1, 0)] * old + [(0, 1)] * new + [(0, 0)] * neither
    if not outcomes:
        return
    found = compared(*graded(outcomes)).differences[0]
    assert (found.only_baseline_right, found.only_arm_right) == (old, new)
    oracle = mcnemar([[both, old], [new, neither]], exact=True).pvalue if old + new else 1.0
    assert found.p_value == pytest.approx(oracle)
    expected = "undecided" if oracle >= 0.05 else "better" if new > old else "worse"
    assert found.call == expected
    assert (found.reason is None) == (found.call != "undecided")


def test_each_arms_share_right_has_its_interval():
    answers, labels = graded([(1, 1)] * 6 + [(1, 0)] * 3 + [(0, 0)])
    old, new = compared(answers, labels).arms
    assert (old.share, new.share) == (0.9, 0.6)
    expected = proportion_confint(9, 10, method="wilson")
    assert (old.interval.low, old.interval.high) == pytest.approx(expected)


def test_each_arm_is_compared_with_the_baseline():
    rows = [("1", arm, "cat") for arm in ("old", "new", "newer")]
    found = compared(table(*rows), arms=("new", "old", "newer")).differences
    assert [(item.baseline, item.arm) for item in found] == [("old", "new"), ("old", "newer")]


def test_no_answers_at_all_leave_nothing_to_compare():
    found = compared(table(), {"1": "cat"}).differences[0]
    assert (found.payloads, found.agreement, found.agreement_interval) == (0, None, None)
    assert "No payload was answered by both arms" in found.reason


def test_rows_that_share_an_index_are_not_mixed_up():
    answers = table(("1", "old", "cat"), ("1", "new", "dog"))
    answers.index = [0, 0]
    assert compared(answers).differences[0].agree == 0
