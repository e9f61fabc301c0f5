"""What came back, and what it cost: answers, failures, the endpoint's own metrics, as words."""

from analysis.render import format as write
from analysis.render.capacity import dollars
from analysis.render.tables import Table
from analysis.results.comparison import Answers, AnswersDifference
from analysis.results.report import Report

UNNAMED = "no variant named"
"""Who failed where an endpoint that routes did not say which variant it asked."""


def answer_sentences(answers: Answers | None) -> tuple[str, ...]:
    """Say for each arm whether it answers like the baseline, and which is right more often."""
    if answers is None:
        return ()
    shares = tuple(
        f"{write.name(a.arm)} is right on {write.share(a.share)} of "
        f"{write.counted(a.payloads, 'payload')} ({write.share_interval(a.interval)})."
        for a in answers.arms
        if a.share is not None
    )
    rights = tuple(_right(d) for d in answers.differences)
    return (*agreement_sentences(answers), *filter(None, rights), *shares)


def agreement_sentences(answers: Answers | None) -> tuple[str, ...]:
    """Say for each arm how often it answers like the baseline."""
    return tuple(_agreement(d) for d in answers.differences) if answers else ()


def _agreement(d: AnswersDifference) -> str:
    arm, baseline = write.name(d.arm), write.name(d.baseline)
    if d.agreement is None:
        return f"No payload was answered by both {arm} and {baseline}."
    said = (
        f"{arm} and {baseline} agree on {write.share(d.agreement)} of "
        f"{write.counted(d.payloads, 'payload')} ({write.share_interval(d.agreement_interval)})"
    )
    if d.unstable:
        said += f"; {write.counted(d.unstable, 'payload')} got more than one answer from one arm"
    return f"{said}."


def _right(d: AnswersDifference) -> str:
    if d.only_arm_right is None or d.only_baseline_right is None:
        return ""
    arm, baseline = write.name(d.arm), write.name(d.baseline)
    finding = {
        "better": f"{arm} is right more often",
        "worse": f"{arm} is right less often",
    }.get(d.call, "Which is right more often cannot be told yet")
    p = "" if d.p_value is None else f" ({write.p_equals(d.p_value)})"
    return (
        f"{finding}: only {arm} is right on {write.counted(d.only_arm_right, 'payload')}, "
        f"only {baseline} on {write.count(d.only_baseline_right)}{p}."
    )


def errors_sentence(report: Report) -> str:
    """Count the failures by arm and kind, and quote one of the most frequent kind that says why."""
    counts = ", ".join(
        f"{write.count(error.count)} {write.metric_word(error.outcome)} "
        f"({write.name(error.arm or UNNAMED)})"
        for error in report.errors
    )
    example = next((error.example for error in report.errors if error.example), None)
    quoted = f' One says: "{write.plain(example, 200)}"' if example else ""
    return f"Errors: {counts}.{quoted}" if report.errors else ""


def errors(report: Report) -> Table:
    """Word the failures by arm and kind, with one example each."""
    rows = tuple(
        (
            write.name(error.arm or UNNAMED),
            f"{write.plain(error.outcome)}\n{write.plain(error.example or '', 300)}",
            write.count(error.count), write.duration(error.first_s), write.duration(error.last_s),
        )
        for error in report.errors
    )  # fmt: skip
    head = ("arm", "kind", "count", "first at", "last at")
    caption = "Errors by kind, with one example each"
    return Table(caption, head, rows, ends_in_words=False, left=2)


def requests(report: Report) -> Table:
    """Count the measured requests of each arm, and the failures that may be of any."""
    unnamed = sum(error.count for error in report.errors if error.arm is None)
    rows: list[tuple[str, ...]] = [
        (
            write.name(arm.name),
            write.share(arm.share),
            write.count(arm.requests),
            f"{write.count(arm.failed)} or more" if unnamed else write.count(arm.failed),
            write.share(arm.error_rate),
        )
        for arm in report.arms
    ]
    if unnamed:
        rows.append((UNNAMED, write.DASH, *([write.count(unnamed)] * 2), "100%"))
    head = ("arm", "planned share", "requests", "failed", "error rate")
    return Table("Requests of the measured phase", head, tuple(rows), ends_in_words=False)


def streaming_sentences(report: Report) -> tuple[str, ...]:
    """Say of each arm in how many parts its answers came, and how long these kept waiting."""
    return tuple(
        f"{write.name(arm.name)} streamed {write.number(found.mean_chunks, 1)} parts an answer; "
        f"the longest gap within one: p50 {write.latency(found.longest_gap_p50_ms)}, "
        f"p99 {write.latency(found.longest_gap_p99_ms)}."
        for arm in report.arms
        if (found := arm.streaming)
    )


def cold_sentence(report: Report) -> str:
    """Say how long the first request to each target took, which nothing else counts."""
    said = []
    for arm in report.arms:
        found = arm.cold
        if found is None:
            continue
        took = write.latency(found.median_ms)
        if found.targets > 1:
            slowest = write.latency(found.slowest_ms)
            took += f" (median of {found.targets} targets; {slowest} at most)"
        failed = f" ({write.count(found.failed)} failed)" if found.failed else ""
        said.append(f"{write.name(arm.name)} {took}{failed}")
    return f"First requests, before the run and not judged: {'; '.join(said)}." if said else ""


def cost(report: Report) -> Table | None:
    """Say what each arm costs at this load; `None` where no price is known."""
    rows = tuple(
        (
            write.name(arm.name),
            dollars(arm.usd_per_hour),
            write.rate(arm.succeeded / report.run.measured_s),
            dollars(arm.usd_per_million),
        )
        for arm in report.arms
        if arm.usd_per_hour is not None
    )
    caption = (
        "What an arm's instances cost, the good answers that they gave, and the quotient; those "
        "that are given more cost less an answer, up to what they carry"
    )
    head = ("arm", "an hour", "answers", "a million answers")
    return Table(caption, head, rows, ends_in_words=False) if rows else None


def cost_sentence(report: Report) -> str:
    """Say what a million answers cost on each arm; nothing where that is not known."""
    said = [
        f"{dollars(arm.usd_per_million)} on {write.name(arm.name)}"
        for arm in report.arms
        if arm.usd_per_million is not None
    ]
    if not said:
        return ""
    return (
        f"At this load a million answers cost {write.joined(said)}. Instances that are given more "
        "cost less an answer, up to what they carry."
    )


def asked(report: Report) -> Table | None:
    """Line up which variants answered the requests that asked for each."""
    found = report.who_answered
    if found is None or not found.asked:
        return None
    own = [each.asked for each in found.asked]
    variants = dict.fromkeys([*own, *(name for each in found.asked for name in each.answered)])
    rows = tuple(
        (
            write.name(each.asked),
            *(write.count(each.answered.get(name, 0)) for name in variants),
            write.count(each.unanswered),
        )
        for each in found.asked
    )
    head = ("asked for", *(f"by {write.name(name)}" for name in variants), "by none")
    return Table("Requests that asked for a variant, and which answered", head, rows,
                 ends_in_words=False)  # fmt: skip


def cloudwatch(report: Report) -> Table | None:
    """Line up the records with the endpoint's own metrics; `None` where those were not read."""
    found = report.cloudwatch
    if found is None or not found.arms:
        return None
    rows = tuple(
        (
            write.name(arm.arm),
            write.count(arm.records),
            write.count(arm.invocations),
            write.count(arm.errors_4xx),
            write.count(arm.errors_5xx),
            *(
                write.latency(ms)
                for ms in (arm.model_ms, arm.overhead_ms, arm.network_ms, arm.client_ms)
            ),
        )
        for arm in found.arms
    )
    of_service = ("model", "overhead", "network", "service time")
    head = ("arm", "records", "invocations", "4xx", "5xx", *of_service)
    caption = "The records beside CloudWatch; latencies are means, and add up to the service time"
    return Table(caption, head, rows, ends_in_words=False)
