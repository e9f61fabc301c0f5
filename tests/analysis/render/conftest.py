"""Reports for each thing that a renderer must be able to say: variants of the samples.

What a test reads of a report's figures is set here or by the test, as the samples are made anew.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from analysis.render import html, json
from analysis.results.capacity import Capacity, LimitAtRate, ProbeMade, RateFound
from analysis.results.comparison import Difference, ShiftPoint, Smoothed
from analysis.results.report import Report, Verdict
from analysis.results.run import Check, Counts, ErrorKind
from analysis.results.seen import Asked, CloudWatch, CloudWatchArm, Heat, Routed, WhoAnswered
from analysis.results.values import Estimate, Interval
from analysis.sizing import size
from experiments.plan import Plan

SAMPLES = Path(__file__).parents[3] / "reports" / "sample"
AB, LOAD, GATE = (
    json.parse((SAMPLES / of / "report.json").read_bytes()) for of in ("ab", "load", "regression")
)
QUANTILES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.995, 0.999)
COUNTS = Counts(planned=50_400, ended=50_388, dropped=0, unsent=12, missing=0)
RUN = replace(AB.run, measured_s=600.0, warmup_s=30.0, rate_rps=80.0, counts=COUNTS)
CHECKS = (
    Check("pinning", "Pinning honoured", "ok", "Every pinned request came back from its variant."),
    Check("generator", "Generator kept up", "ok", "99.97% of requests left within 5 ms."),
    Check("drift", "Drift", "warn", "the median rose by 4% in both arms", "Lengthen the run."),
)
LATE = Check(
    "generator", "Generator kept up", "fail", "8.1% of requests left more than 5 ms late.",
    "Run with --processes 4, or at a lower rate.",
)  # fmt: skip
EXIT_CODES = {"worse": 1, "broken": 1, "undecided": 3, "untrusted": 4}
FEW = {"precision": "imprecise", "reason": "only 24 requests lie beyond it: imprecise"}
HOSTILE = (
    "<script>alert('x')</script>",
    "a|b `code` **bold** [link](https://example.com) @team #1 <img src=x onerror=y>\n# heading",
    "quotes \" ' & &amp; $x^2$ \\ \x1b[31mred\x1b[0m \x00 \u202eright-to-left\u202c",
    "שלום עולם مرحبا",
    "🚀🧑‍🚀 模型" * 8,
    "#010101 fill: #060606 --> ]]> {{ 7 * 7 }}",
    "x" * 10_240,
)


def estimate(value, low, high):
    ends = [Interval(low=low, high=high, level=level) for level in (0.95, 0.9)]
    return Estimate(value=value, interval=ends[0], interval_90=ends[1])


def percent(*values):
    return estimate(*(None if value is None else 1 + value / 100 for value in values))


def latency(metric, baseline_ms, change, call, **fields):
    """A latency metric; `change` is its value and the ends of its interval in percent, or None."""
    known = {"precision": "enough", "p_value": 0.0002, "p_value_holm": 0.0006} if change else {}
    return Difference(
        **{
            "arm": "candidate", "baseline": "current", "metric": metric, "measure": "response",
            "unit": "ms", "baseline_value": baseline_ms,
            "arm_value": baseline_ms * (1 + change[0] / 100 if change else 1.02),
            "ratio": percent(*change) if change else None, "call": call, "tail_requests": 240,
            "margin": {"p50": 0.05, "p90": 0.05}.get(metric), **known, **fields,
        }
    )  # fmt: skip


def errors(baseline, arm_value, change, call="same", **fields):
    return Difference(
        **{
            "arm": "candidate", "baseline": "current", "metric": "error_rate",
            "measure": "outcome", "unit": "share", "baseline_value": baseline,
            "arm_value": arm_value, "difference": estimate(*change) if change else None,
            "margin": 0.005, "precision": "enough", "call": call, "p_value": 0.83, **fields,
        }
    )  # fmt: skip


def service(rows, factor=0.99):
    return tuple(
        replace(
            row, measure="service", margin=None, smoothed=None,
            baseline_value=row.baseline_value * factor, arm_value=row.arm_value * factor,
        )
        for row in rows
        if row.measure == "response"
    )  # fmt: skip


def arms(**failed: int):
    """Arms that failed so often; their percentiles are the sample's."""
    return tuple(
        replace(AB.arms[i % 2], name=name, failed=n, error_rate=n / 24_000)
        for i, (name, n) in enumerate(failed.items())
    )


def shifts(arm: str, factor: float | Callable[[float], float], half: float | None = 0.02):
    """A shift function; half-widths grow into the tail."""

    def point(q: float) -> ShiftPoint:
        ratio = factor(q) if callable(factor) else factor
        low = None if half is None else ratio - half * (1 + 40 * max(0, q - 0.9))
        return ShiftPoint(
            arm=arm, quantile=q, baseline_ms=40.0, arm_ms=40.0 * ratio, ratio=ratio,
            interval=low and Interval(low=low, high=ratio + half, level=0.95),
        )  # fmt: skip

    return tuple(map(point, QUANTILES))


def course(*names, **fields):
    """Sixty-three steps of 10 s, each later than the last by a bin; the last is empty."""
    counts = [[0] * 48 for _ in range(63)]
    for step, bins in enumerate(counts[:-1]):
        bins[step % 48] = 1 + 10 * step
    return replace(
        AB.over_time,
        **{
            "step_s": 10.0, "low_ms": 2.0, "high_ms": 400.0, "errors": {},
            "arms": tuple(Heat(arm=name, counts=tuple(map(tuple, counts))) for name in names),
            "planned_rps": (80.0,) * 63, "achieved_rps": tuple(78.0 + i % 5 for i in range(63)),
            "phases": {"warmup": 0.0, "measure": 30.0}, **fields,
        },
    )  # fmt: skip


def routed(*names):
    """Ten minutes of variants at equal weights; the first left its band once, the sixth is void."""
    share = 1 / len(names)
    shares = (share + 0.1, share, share, share + 0.01, share, None, *[share] * 4)
    band = tuple(None if each is None else (share - 0.05, share + 0.05) for each in shares)
    each = (Routed(variant=name, weight=share, shares=shares, band=band) for name in names)
    return WhoAnswered(asked=(), routed=tuple(each), start_s=30.0, step_s=60.0)


def cloudwatch(*names, notes=("One minute is shared.",)):
    """Arms whose service time is 20 ms of the model, 4 of overhead and 6 of network."""
    counted = tuple(
        CloudWatchArm(
            arm=name, invocations=24_003, records=24_000, errors_4xx=0, errors_5xx=3,
            model_ms=20.0, overhead_ms=4.0, client_ms=30.0, network_ms=6.0,
        )
        for name in names
    )  # fmt: skip
    return CloudWatch(arms=counted, complete_through="2026-11-23T05:03:00Z", notes=notes)


def made(base, state, sentence, *, context=(), **fields):
    validity = "INVALID" if state == "untrusted" else "VALID"
    verdict = Verdict(
        state=state, validity=validity, sentence=sentence, context=context,
        exit_code=EXIT_CODES.get(state, 0),
    )  # fmt: skip
    return replace(base, **{"run": RUN, "verdict": verdict, "checks": CHECKS, **fields})


def faster():
    """Ten times faster everywhere, answers compared."""
    band = {"pairs": 23_990, "incomplete_pairs": 10}
    alike = Smoothed(ratio=percent(-89.2, -89.4, -89.0), band=(0.25, 0.75), conflict=None, **band)
    other = Smoothed(
        ratio=percent(-80.0, -81.0, -79.0), band=(0.6, 0.975), conflict="no overlap", **band
    )
    rows = (
        latency("p50", 41.1, (-89.3, -89.6, -88.9), "better", smoothed=alike),
        latency("p90", 54.0, (-88.8, -89.3, -88.1), "better", smoothed=other),
        latency("p95", 61.7, (-88.4, -89.2, -87.3), "better"),
        latency("p99.9", 214.0, (-86.0, -91.0, -74.0), "undecided", **FEW),
        latency("mean", 44.2, (-88.9, -89.4, -88.2), "better"),
    )
    asked = (
        Asked(asked="current", answered={"current": 24_000}, unanswered=0),
        Asked(asked="candidate", answered={"candidate": 23_990, "current": 3}, unanswered=7),
    )
    said = "Candidate is 36.7 ms faster than current at p50 (between 36.5 and 36.8 ms)."
    return made(
        AB, "better", said,
        differences=(*rows, errors(5 / 24_000, 4 / 24_000, (-4e-5, -3e-4, 3e-4)), *service(rows)),
        arms=arms(current=5, candidate=4),
        shifts=shifts("candidate", 0.107),
        over_time=course("current", "candidate"),
        who_answered=replace(routed("current"), asked=asked, routed=()),
        cloudwatch=cloudwatch("current", "candidate"),
    )  # fmt: skip


def slower():
    """A little faster for most requests and much slower in the tail; service time hides it."""
    rows = (
        latency("p50", 41.1, (-5.1, -6.6, -3.9), "better"),
        latency("p90", 54.0, (-4.1, -5.7, -2.2), "same"),
        latency("p95", 61.7, (-1.1, -4.2, 2.1), "undecided"),
        latency("p99", 83.9, (80.0, 62.0, 99.0), "worse", margin=0.1),
    )
    kind = {"metric": "error_rate.model_error", "margin": None}
    failures = (
        errors(5 / 24_000, 168 / 24_000, (0.0068, 0.0058, 0.0079), "worse"),
        errors(0.0, 161 / 24_000, (0.0067, 0.0057, 0.0078), "undecided", **kind),
    )
    failed = (
        ("candidate", "model_error", 161, 'error (500) "CUDA out of memory".'),
        ("candidate", "timeout", 7, None),
        ("current", "throttled", 5, "Rate exceeded"),
    )
    base = made(
        AB, "worse", "Don't ship candidate: at p99 it is 67 ms slower than current.",
        context=("It is 2.1 ms faster for a typical request.",),
        differences=(*rows, *failures, *service(rows, factor=0.8)),
        arms=arms(current=5, candidate=168),
        shifts=shifts("candidate", lambda q: 0.95 if q < 0.9 else 1.39 if q == 0.999 else 1.8),
        over_time=course(
            "current", "candidate",
            errors={"model_error": (0,) * 21 + (9,) * 18 + (0,) * 24, "timeout": (1,) * 63},
            phases={"warmup": 0.0, "usual": 30.0, "peak": 330.0},
        ),
        who_answered=routed("current", "candidate"),
        answers=None,
        errors=tuple(
            ErrorKind(arm=arm, outcome=kind, count=n, first_s=4.2, last_s=388.0, example=example)
            for arm, kind, n, example in failed
        ),
    )  # fmt: skip
    return replace(base, verdict=replace(base.verdict, validity="SUSPECT"))


def undecided():
    """Wide and unbounded intervals; a percentile refused; no interval on the shift."""
    longer = {"reason": "needs about 25 more minutes"}
    few = {"reason": "6 requests lie beyond it in the smaller arm; 20 are needed"}
    rows = (
        latency("p50", 41.1, (3.0, -4.4, 11.2), "undecided", **longer),
        latency("p90", 54.0, (3.1, None, 19.0), "undecided", **longer),
        latency("p99", 83.9, (2.8, None, None), "undecided"),
        latency("p99.9", 214.0, None, "refused", **few),
        latency("mean", 44.2, (2.9, -0.5, None), "undecided"),
    )
    none = errors(0.0, 0.0, None, "refused", precision="refused", reason="0 requests failed")
    return made(
        AB, "undecided", "Cannot tell yet: p50 differs by \u22124.4 to +11.2%.",
        differences=(*rows, none, *service(rows)),
        shifts=shifts("candidate", 1.03, half=None), answers=None, over_time=None,
    )  # fmt: skip


def untrusted():
    """A failed check."""
    verdict = made(AB, "untrusted", "This run cannot be trusted: 8.1% of requests left late.")
    return replace(faster(), checks=(CHECKS[0], LATE, CHECKS[2]), verdict=verdict.verdict)


def empty():
    """A run in which nothing could be compared."""
    arm = replace(
        AB.arms[0], requests=0, succeeded=0, error_rate=None, mean_response_ms=None,
        mean_service_ms=None, percentiles=(),
    )  # fmt: skip
    return made(
        AB, "untrusted", "This run cannot be trusted: no request ended.",
        differences=(), arms=(arm,), shifts=(), checks=(), over_time=None, who_answered=None,
        answers=None,
    )  # fmt: skip


def tied():
    """Two arms that are the same to the last digit."""
    rows = (
        latency("p50", 41.1, (0.0, -0.02, 0.02), "same", p_value=1.0),
        latency("p99", 83.9, (0.0, 0.0, 0.0), "same", margin=0.1),
    )
    return made(
        AB, "same", "No difference that matters between current and candidate.",
        differences=(*rows, errors(0.0, 0.0, (0.0, 0.0, 0.0002)), *service(rows)),
        shifts=shifts("candidate", 1.0, half=0.0),
    )  # fmt: skip


def three_arms():
    """Two arms against the baseline, ends of lines close together."""
    rows = []
    for arm, change, call in (("light", -1.5, "same"), ("heavy", 60.0, "worse")):
        rows += [
            latency("p50", 41.1, (change, change - 1.1, change + 1.2), call, arm=arm),
            latency("p90", 54.0, (change, change - 2.1, change + 2.2), call, arm=arm),
            errors(5 / 24_000, 5 / 24_000, (0.0, -0.0003, 0.0003), arm=arm),
        ]
        rows += service(rows[-3:-1])
    return made(
        AB, "worse", "Heavy is 24.7 ms slower than current at p50.",
        differences=tuple(rows), arms=arms(current=5, light=5, heavy=5), over_time=None,
        shifts=(*shifts("light", 0.985), *shifts("heavy", 1.6)), answers=None,
    )  # fmt: skip


def hostile():
    """Names, findings and messages that try to be something else than text."""
    first, second = HOSTILE[1], HOSTILE[4]
    base = slower()
    asked = Asked(asked=HOSTILE[0], answered={first: 1, HOSTILE[6]: 2}, unanswered=0)
    return replace(
        base,
        run=replace(
            RUN, id=HOSTILE[0], endpoint=HOSTILE[2], plan=HOSTILE[5], why_not_fast=HOSTILE[2],
            plan_toml="</code></pre>" + HOSTILE[0] + "\n" + HOSTILE[6],
            host={HOSTILE[0]: HOSTILE[3]}, conditions={HOSTILE[2]: HOSTILE[6]},
            subject={HOSTILE[1]: HOSTILE[0]},
        ),
        verdict=replace(base.verdict, sentence=HOSTILE[0] + HOSTILE[3], context=HOSTILE),
        checks=tuple(
            replace(LATE, title=text[:60], finding=text, next_step=text) for text in HOSTILE
        ),
        arms=tuple(replace(a, name=n) for a, n in zip(base.arms, (first, second), strict=True)),
        differences=tuple(
            replace(d, arm=second, baseline=first, reason=HOSTILE[0]) for d in base.differences
        ),
        shifts=tuple(replace(point, arm=second) for point in base.shifts),
        slo=tuple(
            replace(LOAD.slo[0], arm=text, phase=text, window_s=9, reason=text) for text in HOSTILE
        ),
        answers=replace(
            AB.answers,
            arms=tuple(replace(AB.answers.arms[0], arm=text) for text in HOSTILE),
            differences=(replace(AB.answers.differences[0], arm=second, baseline=first),),
        ),
        errors=tuple(
            ErrorKind(arm=second, outcome=text, count=1, first_s=0, last_s=1, example=text)
            for text in HOSTILE
        ),
        method=HOSTILE,
        cannot_tell=HOSTILE,
        over_time=course(
            first, second, errors={HOSTILE[0]: (1,) * 63},
            phases={"warmup": 0.0, HOSTILE[3]: 30.0, HOSTILE[0]: 330.0},
        ),
        who_answered=replace(routed(first, HOSTILE[0]), asked=(asked,)),
        cloudwatch=cloudwatch(first, second, notes=HOSTILE),
        runs=tuple(
            replace(GATE.runs[0], run=text, arm=text, started_at=f"{i}", subject={text: text})
            for i, text in enumerate(HOSTILE)
        ),
    )  # fmt: skip


def load():
    """A load test of one arm: one limit met, one broken, a window, and a phase without verdict."""
    limit = replace(
        LOAD.slo[0], arm="current", phase=None, metric="p99", measure="response", limit_ms=300.0,
        allowed=0.01, window_s=None, at_s=None, reason=None, value_ms=312.4, requests=24_000,
        missed=310, call="broken", interval=Interval(low=0.0102, high=0.0163, level=0.9),
    )  # fmt: skip
    results = (
        replace(limit, metric="p90", allowed=0.1, value_ms=161.0, call="met"),
        limit,
        replace(limit, requests=1_200, missed=61, window_s=10.0, at_s=85.0, interval=None),
        replace(
            limit, metric="error_rate", phase="peak", measure="outcome", limit_ms=None,
            requests=0, missed=0, call="refused", interval=None, reason="No request was sent.",
        ),
    )  # fmt: skip
    said = "current breaks the SLO: 1.3% of requests missed 300 ms, where 1.0% may."
    return made(LOAD, "broken", said, arms=arms(current=5), slo=results)


def gate():
    """A regression gate of three blocks: one metric fails, one passes, one has no verdict."""
    few = {"reason": "Only 9 requests of a side lie beyond p99, over all its runs."}
    rows = (
        latency("p50", 41.1, (16.0, 12.0, 20.1), "worse"),
        latency("p90", 54.0, (1.0, -2.0, 4.1), "same"),
        latency("p99", 83.9, None, "refused", margin=0.1, **few),
        errors(0.0, 0.0, (0.0, -0.0003, 0.0003)),
    )
    return made(
        GATE, "worse",
        "Regression: candidate is worse than current: p50 +16.0% (+12.0 to +20.1%).",
        differences=rows, arms=arms(current=5, candidate=0),
        runs=tuple(
            replace(
                GATE.runs[0], run=f"20261123-04520{number}-gate", arm=arm,
                started_at=f"2026-11-23T04:52:0{number}Z", requests=8_000, failed=0,
                values={"p50": p50_ms, "p90": 54.0, "p99": None, "error_rate": 0.0},
                subject={"image": HOSTILE[1] if arm == "candidate" else "ranker:12"},
            )
            for arm, p50s_ms in (("current", (40.9, 41.1, 41.3)), ("candidate", (47.0, 47.7, 48.3)))
            for number, p50_ms in enumerate(p50s_ms)
        ),
    )  # fmt: skip


def capacity():
    """A search that kept its limit at 40 req/s and broke it at 80, and what that takes to buy."""

    def rate(rate_rps, value_ms, call, slo):
        at = LimitAtRate(
            metric="p99", limit_ms=300.0, allowed=0.01, requests=3000, missed=3, call=slo,
            interval=Interval(low=0.0, high=0.003, level=0.9), value_ms=value_ms,
            value_interval=Interval(low=0.9 * value_ms, high=1.1 * value_ms, level=0.9),
        )  # fmt: skip
        return RateFound(
            rate_rps=rate_rps, call=call, probes=1, measured_s=30.0, requests=3000, saturated=0,
            limits=(at,),
        )  # fmt: skip

    rates = (
        rate(20.0, 120.0, "pass", "met"),
        rate(40.0, 180.0, "pass", "met"),
        rate(56.123456789, 260.0, "unresolved", "undecided"),
        rate(80.0, 700.0, "fail", "broken"),
    )
    search = {
        "question": "capacity", "seed": 1, "slo": {"p99": 0.3}, "traffic": {"routing": "pinned"},
        "endpoint": {"name": "shop", "target": "http://127.0.0.1:8080"},
        "request": {"payloads": "rows.jsonl"},
        "arms": {"current": {"instance_price_usd_per_hour": 0.25}}, "capacity": {"peak_rate": 500},
    }  # fmt: skip
    first = ProbeMade(
        run="p1", rate_rps=20.0, measured_s=30.0, achieved_rps=20.1, requests=600, value_ms=118.0,
        left_out=None,
    )  # fmt: skip
    probes = (
        first,
        replace(first, run="p2", rate_rps=80.0, value_ms=None, left_out="it was interrupted"),
        replace(first, run="p3", value_ms=124.0),
    )
    return made(
        AB, "met", "current carries 40 req/s within the SLO.", question="capacity",
        differences=(), arms=(), shifts=(), over_time=None, who_answered=None, answers=None,
        capacity=Capacity(
            arm="current", end="smooth", rate_rps=56.6,
            interval=Interval(low=40.0, high=80.0, level=0.9), low_rps=40.0, high_rps=80.0,
            limit="p99", instances=1, instance_type="ml.c6i.large", rates=rates, probes=probes,
            sizing=size(Plan.model_validate(search), "current", 40.0, 1, rates), no_sizing=None,
        ),
    )  # fmt: skip


MAKERS = (
    load, gate, capacity, faster, slower, undecided, untrusted, empty, tied, three_arms, hostile,
)  # fmt: skip
MADE: dict[str, Report] = {make.__name__: make() for make in MAKERS}


@pytest.fixture(params=MADE)
def any_report(request) -> Report:
    return MADE[request.param]


PAGES: dict[int, tuple[Report, str]] = {}


def page_of(report: Report) -> str:
    """Render a report as a page, the same only once."""
    # A report is kept with its page, so that no other gets its id.
    if id(report) not in PAGES:
        PAGES[id(report)] = report, html.render(report)
    return PAGES[id(report)][1]


@pytest.fixture
def rendered() -> Callable[[Report], str]:
    return page_of


@pytest.fixture
def reports() -> dict[str, Report]:
    return MADE
