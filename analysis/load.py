"""Does every arm keep its SLO under this load: the report of a load test, and its verdict."""

from collections.abc import Sequence
from dataclasses import replace

from analysis.compare import report_of_run
from analysis.noise import guard_of, memory_of
from analysis.read import Run
from analysis.render import format as fmt
from analysis.results.report import Report, State, Verdict
from analysis.results.run import Check, SloResult
from analysis.slo import judge_slo
from analysis.summary import cannot_tell
from analysis.validity import check_run, memory_check
from analysis.verdict import stated, untrusted

METHOD = (
    "A request misses a latency limit unless a good answer came within it, so one that failed or "
    "was dropped misses every limit; a percentile is kept where no more than its share miss.",
    "Requests close in time share their luck, so the interval of the share missed comes from how "
    "it varies between stretches of the run (Korn and Graubard 1998, at ten and at five stretches; "
    "on runs shorter than 60 times what noise lasts also from slow cosines). Each of its ends is "
    "meant to hold at 95 %; how often it does not, on streams of known truth, is measured and "
    "published.",
    "A limit is met where the whole interval lies at or below what is allowed, and broken where it "
    "lies above, at 95 % for all limits together. In stretches of a given length it is broken "
    "where one holds more misses than chance gives, at 5 % over all of them.",
)
RARE = (
    "Whether a slow episode too rare for this run to meet would break the SLO: near saturation a "
    "percentile hangs on a few of them, and only more or longer runs show it. Noise that lasts "
    "longer than it is taken to makes the intervals too narrow, too."
)


def load_test(run: Run) -> Report:
    """Judge a run by its plan's SLO."""
    rows = run.measured
    results = judge_slo(run, rows)
    guard = guard_of(run.end_s - run.start_s, memory_of(run.plan))
    label = ["short run"] if guard == "E2" else []
    checks = (*check_run(run), memory_check(run, label))
    verdict = _verdict(run, results, checks)
    report = report_of_run(run, rows, "load", verdict, checks, results, METHOD)
    return replace(report, cannot_tell=(RARE, *cannot_tell(run)))


def _verdict(run: Run, results: Sequence[SloResult], checks: Sequence[Check]) -> Verdict:
    if refusal := untrusted(checks):
        return refusal
    calls = {result.call for result in results}
    state: State = "met" if calls == {"met"} else "broken" if "broken" in calls else "undecided"
    decisive = ("undecided", "refused") if state == "undecided" else (state,)
    fitting = [result for result in results if result.call in decisive]
    chosen = max(fitting, key=lambda r: r.missed / max(r.requests, 1) / r.allowed)
    arms = fmt.joined(list(dict.fromkeys(result.arm for result in results)))
    if state == "met":
        sentence = f"The SLO is kept by {arms}: {_kept_words(results)}."
    elif state == "broken":
        sentence = f"{chosen.arm} breaks the SLO: {_found_words(chosen)}."
    else:
        sentence = f"Cannot tell yet whether {chosen.arm} keeps the SLO: {_found_words(chosen)}."
    others = [r for r in results if r.call != "met" and r is not chosen]
    context = (
        *([str(run.manifest["reason"])] if run.manifest["ended_as"] == "stopped" else []),
        *([chosen.reason] if chosen.reason else []),
        *(f"{r.arm}: {_found_words(r)}." for r in others),
    )
    return stated(state, sentence, context, checks)


def _kept_words(results: Sequence[SloResult]) -> str:
    """Say of each limit over all that was measured how far the worst arm is from it."""
    whole = [r for r in results if r.phase is None and r.window_s is None]
    said = []
    for metric in dict.fromkeys(result.metric for result in whole or results):
        own = [result for result in whole or results if result.metric == metric]
        worst = max(own, key=lambda r: (r.value_ms or 0.0, r.missed / r.requests))
        if worst.limit_ms is None:
            failed = fmt.share(worst.missed / worst.requests)
            said.append(f"{failed} failed (limit {fmt.share(worst.allowed)})")
        elif worst.value_ms is not None:
            limit = fmt.latency(worst.limit_ms)
            found = f"{fmt.metric_word(metric)} {fmt.latency(worst.value_ms)}"
            said.append(f"{found} (limit {limit})")
    return fmt.joined(said) if said else "no limit was missed by more than may"


def _found_words(result: SloResult) -> str:
    """Say what was found of one limit, in a clause."""
    where = "" if result.phase is None else f" in {result.phase}"
    if result.window_s is not None and result.at_s is not None:
        where += f" in the {fmt.duration(result.window_s)} from {fmt.duration(result.at_s)} on"
    if result.requests == 0:
        return f"no request was sent{where}"
    missed = fmt.share(result.missed / result.requests)
    if result.interval is not None:
        missed += f" ({fmt.share_interval(result.interval)})"
    what = "failed" if result.limit_ms is None else f"missed {fmt.latency(result.limit_ms)}"
    return f"{missed} of requests {what}{where}, where {fmt.share(result.allowed)} may"
