"""Whether two arms answer the same payload alike, and which of them is right more often.

A payload sent many times is one piece of evidence, not many: each arm has one vote a payload.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import bdtr

from analysis.error_rates import wilson
from analysis.results.comparison import Answers, AnswersDifference, ArmAnswers
from analysis.results.values import Call, Interval

_ALPHA = 0.05
_LEVEL = 0.95


def compare_answers(
    answers: pd.DataFrame,
    labels: "pd.Series[Any] | None",
    *,
    baseline: str,
    arms: Sequence[str],
    tolerance: float = 0.0,
) -> Answers:
    """Compare what each arm answered with the baseline's answers and with the truth.

    `answers` has a row for each request with the columns payload, arm and prediction; a missing
    prediction is left out. `labels` holds the true answer of a payload by its id, or is None. An
    arm's vote on a payload is its most frequent answer; where there is none it has no vote, and
    where it gave more than one answer it is unstable. Answers that parse as numbers are the same
    within `tolerance`, others where their text is.

    Without labels `Answers.arms` is empty. McNemar's test is the exact one.
    """
    votes = _votes(answers, tolerance)
    by_arm = {arm: votes[votes["arm"] == arm].set_index("payload") for arm in arms}
    truth = _parsed((pd.Series(dtype=object) if labels is None else labels).dropna())
    right = {arm: _right(by_arm[arm], truth, tolerance) for arm in arms}
    return Answers(
        arms=() if labels is None else tuple(_arm_answers(*each) for each in right.items()),
        differences=tuple(
            _difference(
                (baseline, arm),
                (by_arm[baseline], by_arm[arm]),
                (right[baseline], right[arm]),
                tolerance,
            )
            for arm in arms
            if arm != baseline
        ),
    )


def _parsed(answers: "pd.Series[Any]") -> pd.DataFrame:
    """Give each answer as text, and as a number where it is one, so that 1 and 1.0 are the same."""
    codes, distinct = pd.factorize(answers.astype(str))
    numbers = pd.to_numeric(pd.Series(distinct, dtype=object), errors="coerce").to_numpy(float)
    numbers = np.where(np.isfinite(numbers), numbers, np.nan)
    texts = np.array(
        [
            text if np.isnan(number) else repr(float(number))
            for text, number in zip(distinct, numbers, strict=True)
        ],
        dtype=object,
    )
    return pd.DataFrame({"text": texts[codes], "number": numbers[codes]}, index=answers.index)


def _votes(answers: pd.DataFrame, tolerance: float) -> pd.DataFrame:
    """Give a row for each payload and arm: its vote as text (None: no vote), number, unstable."""
    given = answers.dropna(subset=["prediction"])
    # Counted first, so that each distinct answer is parsed once, however many requests gave it.
    alike = given.groupby(["payload", "arm", "prediction"], sort=False, observed=True)
    counted = alike.size().reset_index(name="times").astype({"arm": object})
    parsed = counted[["payload", "arm", "times"]].join(_parsed(counted["prediction"]))
    ways = (
        parsed.groupby(["payload", "arm", "text"], sort=False)
        .agg(number=("number", "first"), times=("times", "sum"))
        .reset_index()
    )
    key = [ways["payload"], ways["arm"]]
    grouped = ways.groupby(key, sort=False)
    most = ways["times"] == grouped["times"].transform("max")
    tied = most.groupby(key, sort=False).transform("sum") > 1
    spread = grouped["number"].transform("max") - grouped["number"].transform("min")
    all_numbers = grouped["number"].transform("count") == grouped["number"].transform("size")
    near = all_numbers & (spread <= tolerance)
    unstable = (grouped["number"].transform("size") > 1) & ~near
    ways["text"] = ways["text"].where(near | ~tied, None)
    ways["number"] = ways["number"].mask(near, grouped["number"].transform("median"))
    return ways.assign(unstable=unstable)[most].drop_duplicates(["payload", "arm"])


def _same(a: pd.DataFrame, b: pd.DataFrame, tolerance: float) -> NDArray[np.bool_]:
    """Compare the votes of two tables row by row."""
    x, y = a["number"].to_numpy(float), b["number"].to_numpy(float)
    # The slack takes the rounding of decimal fractions, as in 1.1 - 1.0 > 0.1.
    close = np.isclose(x, y, rtol=1e-12, atol=tolerance)
    return np.asarray(np.where(np.isnan(x) | np.isnan(y), a["text"] == b["text"], close))


def _right(votes: pd.DataFrame, truth: pd.DataFrame, tolerance: float) -> "pd.Series[bool]":
    """Say for each payload with a vote and a label whether the vote is right."""
    voted = votes[votes["text"].notna() & votes.index.isin(truth.index)]
    return pd.Series(_same(voted, truth.loc[voted.index], tolerance), index=voted.index)


def _arm_answers(arm: str, right: "pd.Series[bool]") -> ArmAnswers:
    count, payloads = int(right.sum()), len(right)
    return ArmAnswers(
        arm=arm,
        right=count,
        payloads=payloads,
        share=count / payloads if payloads else None,
        interval=_interval(count, payloads),
    )


def _interval(count: int, payloads: int) -> Interval | None:
    if not payloads:
        return None
    low, high = wilson(count, payloads, _LEVEL)
    return Interval(low=low, high=high, level=_LEVEL)


def _difference(
    names: tuple[str, str],
    votes: tuple[pd.DataFrame, pd.DataFrame],
    right: "tuple[pd.Series[bool], pd.Series[bool]]",
    tolerance: float,
) -> AnswersDifference:
    baseline, arm = (each[each["text"].notna()] for each in votes)
    both = baseline.index.intersection(arm.index)
    payloads = len(both)
    agree = int(_same(baseline.loc[both], arm.loc[both], tolerance).sum())
    unstable = set[Any]().union(*(each.index[each["unstable"]] for each in votes))
    only_baseline, only_arm = _only(*right)
    call: Call = "undecided"
    p_value, reason = None, None
    if payloads == 0:
        reason = "No payload was answered by both arms."
    elif only_baseline is None or only_arm is None:
        reason = "No payload with a label was answered by both arms."
    else:
        differing = only_baseline + only_arm
        p_value = min(1.0, 2 * float(bdtr(min(only_baseline, only_arm), differing, 0.5)))
        if p_value < _ALPHA:
            call = "better" if only_arm > only_baseline else "worse"
        else:
            reason = (
                f"Just one arm is right on {differing:,} payloads, which does not show which is "
                "right more often."
            )
    return AnswersDifference(
        arm=names[1],
        baseline=names[0],
        payloads=payloads,
        agree=agree,
        agreement=agree / payloads if payloads else None,
        agreement_interval=_interval(agree, payloads),
        unstable=len(unstable),
        only_baseline_right=only_baseline,
        only_arm_right=only_arm,
        p_value=p_value,
        call=call,
        reason=reason,
    )


def _only(baseline: "pd.Series[bool]", arm: "pd.Series[bool]") -> tuple[int | None, int | None]:
    """Count the labelled payloads that just one arm has right, each arm in turn."""
    both = baseline.index.intersection(arm.index)
    if both.empty:
        return None, None
    a, b = baseline.loc[both].to_numpy(bool), arm.loc[both].to_numpy(bool)
    return int((a & ~b).sum()), int((b & ~a).sum())
