"""From results to one sentence, one reason and one exit code.

Validity comes first: a run that cannot be trusted has no verdict. Then every guarded metric is
called from its estimate, its interval and its margin, and the worst call decides.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from analysis.differences import is_kind
from analysis.render import format as fmt
from analysis.results.comparison import Answers, Difference
from analysis.results.report import State, Verdict
from analysis.results.run import Check
from analysis.results.values import Call, Estimate
from analysis.validity import validity_of

ALPHA = 0.05
EXIT_CODES: dict[State, int] = {
    "better": 0,
    "same": 0,
    "met": 0,
    "worse": 1,
    "broken": 1,
    "undecided": 3,
    "untrusted": 4,
}
_LONGEST_EXTENSION = 100

_FOUND = (
    (("worse",), "worse"),
    (("better",), "better"),
    (("same",), "within the margin"),
    (("undecided", "refused"), "cannot be told yet"),
)


def holm(differences: Sequence[Difference]) -> list[Difference]:
    """Give the guarded metrics' p-values corrected for their number, over all arms.

    Holm, S. (1979), A simple sequentially rejective multiple test procedure.
    """
    guarded = sorted(
        (i for i, d in enumerate(differences) if d.margin is not None and d.p_value is not None),
        key=lambda i: differences[i].p_value or 0.0,
    )
    corrected = list(differences)
    largest = 0.0
    for rank, index in enumerate(guarded):
        p_value = differences[index].p_value or 0.0
        largest = max(largest, min(1.0, (len(guarded) - rank) * p_value))
        corrected[index] = replace(differences[index], p_value_holm=largest)
    return corrected


def classify(item: Difference, measured_s: float) -> tuple[Call, str | None]:
    """Call one metric, with a reason where it cannot be called.

    A metric without a margin is called by its 95 % interval alone, and never "same"; the rate of
    one kind of failure is not called.
    """
    estimate, none = _effect(item)
    if item.call == "refused" or estimate is None:
        return "refused", item.reason
    if item.precision == "imprecise":
        return (
            "undecided",
            f"only {fmt.count(item.tail_requests)} requests lie beyond it, too few to judge it by",
        )
    if is_kind(item):  # several at 5 % each would call what the rate of all does not
        return "undecided", None
    change = estimate.value - none
    margin = item.margin or 0.0
    sure = item.p_value_holm is None or item.p_value_holm <= ALPHA
    low, high = estimate.interval.low, estimate.interval.high
    # A difference of no size at all is not one that a margin of 0 calls.
    if sure and low is not None and low > none and change >= margin:
        return "worse", None
    if sure and high is not None and high < none and change <= -margin:
        return "better", None
    if item.margin is None:
        return "undecided", "no difference is shown, and no margin is set"
    inner = estimate.interval_90
    if (
        inner.low is not None
        and inner.high is not None
        and none - margin < inner.low
        and inner.high < none + margin
    ):
        return "same", None
    return "undecided", item.reason or _what_would_settle(estimate, none, margin, measured_s)


def _what_would_settle(estimate: Estimate, none: float, margin: float, measured_s: float) -> str:
    """Say how much longer the run would have to be: half-widths shrink with the root of time."""
    interval = estimate.interval
    if interval.low is None or interval.high is None:
        return "the interval is unbounded: too few requests or independent windows carry it"
    half = (interval.high - interval.low) / 2
    change = abs(estimate.value - none)
    # Towards "no difference" the room is up to the margin, towards a difference down to none.
    room = max(margin - change, change if change >= margin else 0.0)
    times = (half / room) ** 2 if room > 0 else float("inf")
    if times > _LONGEST_EXTENSION:
        return "it lies at the margin, and no run of a sensible length would settle it"
    more_s = max((times - 1) * measured_s, 60.0)
    return f"about {fmt.duration(60 * round(more_s / 60))} more at this rate would settle it"


def judge(
    differences: Iterable[Difference], checks: Iterable[Check], answers: Answers | None
) -> Verdict:
    """Give the verdict over all guarded metrics of all arms."""
    checks = tuple(checks)
    if refusal := untrusted(checks):
        return refusal
    guarded = [d for d in differences if d.margin is not None]
    calls = {d.call for d in guarded}
    state: State
    if "worse" in calls:
        state = "worse"
    elif calls & {"undecided", "refused"}:
        state = "undecided"
    else:
        state = "better" if "better" in calls else "same"
    chosen = _decisive(state, guarded)
    # The sentence on arms that are alike has no figure of its own.
    others = guarded if state == "same" else [d for d in guarded if d is not chosen]
    context = (*_beside(chosen, others), *_about_answers(answers))
    return stated(state, _sentence(state, chosen, guarded), context, checks)


def untrusted(checks: Iterable[Check]) -> Verdict | None:
    """Give the verdict that replaces every other where a check fails."""
    failed = next((check for check in checks if check.state == "fail"), None)
    if failed is None:
        return None
    said = f'Do not read on: this run fails the check "{failed.title}".'
    context = (text for text in (f"{failed.finding}.", failed.next_step) if text)
    return stated("untrusted", said, context, [failed])


def stated(state: State, sentence: str, context: Iterable[str], checks: Iterable[Check]) -> Verdict:
    """Give a verdict with what its checks and its exit code are."""
    return Verdict(
        state=state,
        validity="INVALID" if state == "untrusted" else validity_of(checks),
        sentence=sentence,
        context=tuple(context),
        exit_code=EXIT_CODES[state],
    )


def _decisive(state: State, guarded: Sequence[Difference]) -> Difference:
    """Give the metric that the sentence is about: the worst, or the first in the plan's order."""
    wanted = ("undecided", "refused") if state == "undecided" else (state,)
    fitting = [d for d in guarded if d.call in wanted]
    if state == "undecided":
        return next((d for d in fitting if d.unit == "ms"), fitting[0])
    if state == "worse":
        return max(fitting, key=lambda d: (_is_bounded(d), _beyond_margin(d)))
    return max(fitting, key=_is_bounded)


def _sentence(state: State, chosen: Difference, guarded: Sequence[Difference]) -> str:
    if state == "worse":
        return f"Don't ship {chosen.arm}: {_figure(chosen)}."
    if state == "better":
        return f"{chosen.arm} is the better arm: {_figure(chosen)}."
    if state == "same":
        arms = fmt.joined(list(dict.fromkeys(d.arm for d in guarded)))
        return f"No difference that matters between {arms} and {chosen.baseline}."
    return (
        f"Cannot tell yet whether {chosen.arm} differs from {chosen.baseline}: {_figure(chosen)}."
    )


def _beside(chosen: Difference, others: Sequence[Difference]) -> list[str]:
    """Say why the decisive metric is open, and what was found of the other guarded ones."""
    said = [] if chosen.reason is None else [chosen.reason]
    for arm in dict.fromkeys(d.arm for d in others):
        whose = "" if arm == chosen.arm else f"Of {arm}, "
        for calls, words in _FOUND:
            if own := [d for d in others if d.arm == arm and d.call in calls]:
                said.append(f"{whose}{words}: {fmt.changes(own)}")
    return [f"{text[:1].upper()}{text[1:].rstrip('.')}." for text in said]


def _figure(item: Difference) -> str:
    where = {"mean": "on average", "error_rate": "in error rate"}.get(
        item.metric, f"at {fmt.metric_word(item.metric)}"
    )
    change = fmt.change(item)
    if change is fmt.NO_CHANGE:
        return f"{where} there is no interval"
    if item.call not in ("worse", "better"):
        return f"{where} the change is {change.value} ({change.interval_unit})"
    is_better, within = item.call == "better", change.interval_unit
    values = item.arm_value, item.baseline_value
    words = f"{where} it is {'faster' if is_better else 'slower'} than"
    here, there = map(fmt.latency, values)
    if item.unit == "share":
        words = f"it fails {'less' if is_better else 'more'} often than"
        here, there = map(fmt.share, values)
    if fmt.UNBOUNDED not in within:
        within = f"between {within.replace(' to ', ' and ')}"
    return f"{words} {item.baseline}, {here} against {there} ({change.value}, {within})"


def _about_answers(answers: Answers | None) -> list[str]:
    if answers is None:
        return []
    share = {arm.arm: fmt.share(arm.share) for arm in answers.arms}
    said = []
    for item in answers.differences:
        payloads = fmt.counted(item.payloads, "payload")
        if item.call in ("better", "worse"):
            more = "more" if item.call == "better" else "less"
            said.append(
                f"{item.arm} is right {more} often than {item.baseline}: on {share[item.arm]} "
                f"of {payloads} against {share[item.baseline]} ({fmt.p_equals(item.p_value)})."
            )
        elif item.payloads and item.agree == item.payloads:
            said.append(f"{item.arm} and {item.baseline} gave the same answers to {payloads}.")
        elif item.p_value is not None:
            said.append(
                f"Which is right more often cannot be told: {item.arm} on {share[item.arm]} and "
                f"{item.baseline} on {share[item.baseline]} of {payloads} "
                f"({fmt.p_equals(item.p_value)})."
            )
    return said


def _effect(item: Difference) -> tuple[Estimate | None, float]:
    """Give what a metric is judged by, and the value it has where there is no difference."""
    return (item.difference, 0.0) if item.unit == "share" else (item.ratio, 1.0)


def _beyond_margin(item: Difference) -> float:
    estimate, none = _effect(item)
    return abs(estimate.value - none) / (item.margin or 1.0) if estimate else 0.0


def _is_bounded(item: Difference) -> bool:
    estimate, _ = _effect(item)
    return estimate is not None and None not in (estimate.interval.low, estimate.interval.high)
