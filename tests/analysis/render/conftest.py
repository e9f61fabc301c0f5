"""Reports made by hand, one for each thing that a renderer must be able to say."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from analysis.results.capacity import Capacity, LimitAtRate, ProbeMade, RateCall, RateFound
from analysis.results.comparison import (
    Answers,
    AnswersDifference,
    ArmAnswers,
    Difference,
    ShiftPoint,
    Smoothed,
)
from analysis.results.report import SCHEMA_VERSION, Report, Verdict
from analysis.results.run import (
    ArmSummary,
    Check,
    Counts,
    ErrorKind,
    Percentile,
    RunInfo,
    RunValues,
    SloResult,
)
from analysis.results.seen import (
    Asked,
    CloudWatch,
    CloudWatchArm,
    Heat,
    OverTime,
    Routed,
    WhoAnswered,
)
from analysis.results.values import Estimate, Interval, SloCall
from analysis.sizing import size
from experiments.plan import Plan

QUANTILES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.995, 0.999)
BODY_MS = (24.0, 27.1, 31.4, 34.8, 38.0, 41.1, 44.3, 47.0, 50.2, 54.0, 61.7, 83.9, 112.0, 214.0)

RUN = RunInfo(
    id="20261123-045200-ab-7f3a",
    plan="ab",
    endpoint="checkout-ranker",
    target="aws",
    started_at="2026-11-23T04:52:00Z",
    measured_s=600.0,
    warmup_s=30.0,
    rate_rps=80.0,
    achieved_rps=79.98,
    routing="paired",
    arrivals="poisson",
    transport="fast",
    seed=7,
    payloads=500,
    counts=Counts(planned=50_400, ended=50_388, dropped=0, unsent=12, missing=0),
    plan_toml='question = "compare"\nseed = 7\n\n[traffic]\nrate = 80\nduration = "10m"\n',
    versions={"python": "3.13.1", "botocore": "1.40.2", "locust": "2.46.0", "abreast": "0.1.0"},
    host={"CPU": "AMD EPYC 7R13", "cores": "4"},
    subject={"current": "config ranker-12, image …:9c1e", "candidate": "config ranker-13"},
    conditions={"region": "eu-west-1", "instances": "2 x ml.c7i.xlarge each", "retries": "none"},
)
CHECKS = (
    Check(
        name="split",
        title="Traffic split",
        state="ok",
        finding="24,004 and 23,996 requests for weights 50 and 50 (p = 0.97).",
    ),
    Check(
        name="pinning",
        title="Pinning honoured",
        state="ok",
        finding="Every pinned request came back from the variant asked for.",
    ),
    Check(
        name="generator",
        title="Generator kept up",
        state="ok",
        finding="99.97% of requests left within 5 ms of their time; CPU at most 61%.",
    ),
    Check(
        name="drift",
        title="Drift",
        state="warn",
        finding="the median rose by 4% from the first quarter to the last in both arms",
        next_step="Lengthen the run, or run it at another hour.",
    ),
)
METHOD = (
    "Arms are compared in 60 equal windows of the scheduled start, and the labels of the arms are "
    "swapped within each window.",
    "The interval is what the swap test does not reject. Its memory is assumed to be 10 s.",
)
CANNOT_TELL = (
    "Whether another deployment of the same two models would differ as these do.",
    "Percentiles above p99.9.",
)

IMPRECISE = {
    "precision": "imprecise",
    "tail_requests": 24,
    "reason": "only 24 requests lie beyond it: imprecise",
}


def interval(low: float | None, high: float | None, level: float = 0.95) -> Interval:
    return Interval(low=low, high=high, level=level)


def estimate(value: float, low: float | None, high: float | None) -> Estimate:
    return Estimate(value=value, interval=interval(low, high), interval_90=interval(low, high, 0.9))


def latency(
    metric, baseline, percent, low, high, call, *, arm="candidate", measure="response", **fields
):
    """A latency metric; the change and its interval are given in percent."""
    known = percent is not None
    return Difference(
        **{
            "arm": arm,
            "baseline": "current",
            "metric": metric,
            "measure": measure,
            "unit": "ms",
            "baseline_value": baseline,
            "arm_value": baseline * (1 + percent / 100) if known else baseline * 1.02,
            "ratio": estimate(
                1 + percent / 100,
                None if low is None else 1 + low / 100,
                None if high is None else 1 + high / 100,
            )
            if known
            else None,
            "difference": None,
            "margin": 0.05 if metric in {"p50", "p90"} else None,
            "tail_requests": 240,
            "precision": "enough" if known else "refused",
            "call": call,
            "p_value": 0.0002 if known else None,
            "p_value_holm": 0.0006 if known else None,
            "autocorrelation": 0.12 if known else None,
            "reason": None,
        }
        | fields
    )


def smoothed(percent, low, high, band, *, conflict=None):
    """A smoothed percentile; its change and interval are given in percent."""
    return Smoothed(
        ratio=estimate(1 + percent / 100, 1 + low / 100, 1 + high / 100),
        band=band,
        pairs=23_990,
        incomplete_pairs=10,
        conflict=conflict,
    )


def errors(
    baseline, arm_value, value, low, high, call="same", *, arm="candidate", margin=0.005, **fields
):
    return Difference(
        **{
            "arm": arm,
            "baseline": "current",
            "metric": "error_rate",
            "measure": "outcome",
            "unit": "share",
            "baseline_value": baseline,
            "arm_value": arm_value,
            "ratio": None,
            "difference": None if value is None else estimate(value, low, high),
            "margin": margin,
            "tail_requests": 9,
            "precision": "enough",
            "call": call,
            "p_value": 0.83,
            "p_value_holm": 0.83,
            "autocorrelation": 0.02,
            "reason": None,
        }
        | fields
    )


def service(rows: tuple[Difference, ...], factor: float = 0.99) -> tuple[Difference, ...]:
    return tuple(
        replace(
            row,
            measure="service",
            margin=None,
            call="undecided" if row.call == "same" else row.call,
            baseline_value=row.baseline_value * factor,
            arm_value=row.arm_value * factor,
        )
        for row in rows
        if row.measure == "response"
    )


def summary(name: str, values: tuple[float, ...], failed: int = 5, share: float = 0.5):
    """An arm whose percentiles lie on a grid of its own between the round ones."""
    between = {
        (a + b) / 2 + 1e-5: (v + w) / 2
        for (a, b), (v, w) in zip(pairwise(QUANTILES), pairwise(values), strict=True)
    }
    measured = sorted({**dict(zip(QUANTILES, values, strict=True)), **between}.items())
    return ArmSummary(
        name=name,
        share=share,
        requests=24_000,
        succeeded=24_000 - failed,
        failed=failed,
        error_rate=failed / 24_000,
        mean_response_ms=sum(values) / len(values),
        mean_service_ms=sum(values) / len(values) * 0.99,
        percentiles=tuple(
            Percentile(quantile=q, response_ms=v, service_ms=v * 0.99) for q, v in measured
        ),
    )


def shifts(arm: str, base: tuple[float, ...], values: tuple[float, ...], half: float | None = 0.02):
    """The shift function of two lists of percentiles; half-widths grow into the tail."""
    return tuple(
        ShiftPoint(
            arm=arm,
            quantile=q,
            baseline_ms=b,
            arm_ms=v,
            ratio=v / b,
            interval=None
            if half is None
            else interval(v / b - half * (1 + 40 * max(0, q - 0.9)), v / b + half),
        )
        for q, b, v in zip(QUANTILES, base, values, strict=True)
    )


ANSWERS = Answers(
    arms=(
        ArmAnswers(
            arm="current", right=431, payloads=500, share=0.862, interval=interval(0.83, 0.89)
        ),
        ArmAnswers(
            arm="candidate", right=440, payloads=500, share=0.88, interval=interval(0.849, 0.907)
        ),
    ),
    differences=(
        AnswersDifference(
            arm="candidate",
            baseline="current",
            payloads=500,
            agree=479,
            agreement=0.958,
            agreement_interval=interval(0.937, 0.974),
            unstable=0,
            only_baseline_right=3,
            only_arm_right=12,
            p_value=0.0352,
            call="better",
            reason=None,
        ),
    ),
)


def course(*names: str, errors: dict[str, tuple[int, ...]] | None = None, **fields) -> OverTime:
    """Sixty-three steps of 10 s, each later than the last by a bin; the last is empty."""
    counts = [[0] * 48 for _ in range(63)]
    for step, bins in enumerate(counts[:-1]):
        bins[step % 48] = 1 + 10 * step
    heats = tuple(Heat(arm=name, counts=tuple(map(tuple, counts))) for name in names)
    return OverTime(
        **{
            "step_s": 10.0,
            "measure": "response",
            "low_ms": 2.0,
            "high_ms": 400.0,
            "arms": heats,
            "planned_rps": (80.0,) * 63,
            "achieved_rps": tuple(78.0 + step % 5 for step in range(63)),
            "errors": errors or {},
            "phases": {"warmup": 0.0, "measure": 30.0},
        }
        | fields
    )


PINNED = WhoAnswered(
    asked=(
        Asked(asked="current", answered={"current": 24_000}, unanswered=0),
        Asked(asked="candidate", answered={"candidate": 23_990, "current": 3}, unanswered=7),
    ),
    routed=(),
    start_s=30.0,
    step_s=60.0,
)


def routed(*names: str) -> WhoAnswered:
    """Ten minutes of variants at equal weights; the first left its band once, the sixth is void."""
    share = 1 / len(names)
    shares = (share + 0.1, share, share, share + 0.01, share, None, *[share] * 4)
    band = tuple(None if each is None else (share - 0.05, share + 0.05) for each in shares)
    each = (Routed(variant=name, weight=share, shares=shares, band=band) for name in names)
    return WhoAnswered(asked=(), routed=tuple(each), start_s=30.0, step_s=60.0)


def cloudwatch(*names: str) -> CloudWatch:
    """Arms whose service time is 20 ms of the model, 4 of overhead and 6 of network."""
    arms = (
        CloudWatchArm(
            arm=name, invocations=24_003, records=24_000, errors_4xx=0, errors_5xx=3,
            model_ms=20.0, overhead_ms=4.0, client_ms=30.0, network_ms=6.0,
        )
        for name in names
    )  # fmt: skip
    return CloudWatch(
        arms=tuple(arms), complete_through="2026-11-23T05:03:00Z", notes=("One minute is shared.",)
    )


def report(state, sentence, rows, arms, shift, **fields) -> Report:
    validity = {"untrusted": "INVALID"}.get(state, "VALID")
    exit_code = {"worse": 1, "broken": 1, "undecided": 3, "untrusted": 4}.get(state, 0)
    return Report(
        **{
            "schema_version": SCHEMA_VERSION,
            "question": "compare",
            "run": RUN,
            "verdict": Verdict(
                state=state, validity=validity, sentence=sentence, context=(), exit_code=exit_code
            ),
            "checks": CHECKS,
            "arms": arms,
            "differences": rows,
            "shifts": shift,
            "slo": (),
            "answers": None,
            "errors": (),
            "method": METHOD,
            "cannot_tell": CANNOT_TELL,
        }
        | fields
    )


def _scaled(factor: float) -> tuple[float, ...]:
    return tuple(value * factor for value in BODY_MS)


CURRENT = summary("current", BODY_MS)


def faster() -> Report:
    """Ten times faster everywhere, answers compared."""
    rows = (
        latency(
            "p50", 41.1, -89.3, -89.6, -88.9, "better",
            smoothed=smoothed(-89.2, -89.4, -89.0, (0.25, 0.75)),
        ),
        latency(
            "p90", 54.0, -88.8, -89.3, -88.1, "better",
            smoothed=smoothed(-80.0, -81.0, -79.0, (0.6, 0.975), conflict="no overlap"),
        ),
        latency("p95", 61.7, -88.4, -89.2, -87.3, "better"),
        latency("p99", 83.9, -87.0, -89.0, -84.1, "better"),
        latency("p99.9", 214.0, -86.0, -91.0, -74.0, "undecided", **IMPRECISE),
        latency("mean", 44.2, -88.9, -89.4, -88.2, "better"),
    )  # fmt: skip
    quick = _scaled(0.107)
    return report(
        "better",
        "Candidate is 36.7 ms faster than current at p50 (between 36.5 and 36.8 ms), and nothing "
        "guarded is slower.",
        (*rows, errors(5 / 24_000, 4 / 24_000, -1 / 24_000, -0.0003, 0.0003), *service(rows)),
        (CURRENT, summary("candidate", quick, failed=4)),
        shifts("candidate", BODY_MS, quick),
        answers=ANSWERS,
        over_time=course("current", "candidate"),
        who_answered=PINNED,
        cloudwatch=cloudwatch("current", "candidate"),
    )


def slower() -> Report:
    """A little faster for most requests and much slower in the tail; service time hides it."""
    tail = (*(v - 2.1 for v in BODY_MS[:10]), 61.0, 151.0, 196.0, 297.0)
    rows = (
        latency("p50", 41.1, -5.1, -6.6, -3.9, "better"),
        latency("p90", 54.0, -4.1, -5.7, -2.2, "same"),
        latency("p95", 61.7, -1.1, -4.2, 2.1, "undecided"),
        latency("p99", 83.9, 80.0, 62.0, 99.0, "worse", margin=0.1),
        latency("p99.9", 214.0, 38.8, 14.5, 61.2, "undecided", **IMPRECISE),
        latency("mean", 44.2, 1.1, -2.0, 4.4, "undecided"),
    )
    served = service(rows, factor=0.8)
    return report(
        "worse",
        "Don't ship candidate: at p99 it is 67 ms slower than current (between 52 and 83 ms).",
        (
            *rows,
            errors(5 / 24_000, 168 / 24_000, 0.0068, 0.0058, 0.0079, "worse"),
            errors(
                0.0,
                161 / 24_000,
                0.0067,
                0.0057,
                0.0078,
                "undecided",
                metric="error_rate.model_error",
                margin=None,
            ),
            *served,
        ),
        (CURRENT, summary("candidate", tail, failed=168)),
        shifts("candidate", BODY_MS, tail),
        verdict=Verdict(
            state="worse",
            validity="SUSPECT",
            sentence="Don't ship candidate: at p99 it is 67 ms slower than current "
            "(between 52 and 83 ms).",
            context=(
                "It is 2.1 ms faster for a typical request, but one request in a hundred takes "
                "151 ms instead of 83.9 ms.",
            ),
            exit_code=1,
        ),
        over_time=course(
            "current",
            "candidate",
            errors={"model_error": (0,) * 21 + (9,) * 18 + (0,) * 24, "timeout": (1,) * 63},
            phases={"warmup": 0.0, "usual": 30.0, "peak": 330.0},
        ),
        who_answered=routed("current", "candidate"),
        errors=(
            ErrorKind(
                arm="candidate",
                outcome="model_error",
                count=161,
                first_s=212.4,
                last_s=388.0,
                example="Received server error (500) from candidate with message "
                '"CUDA out of memory". See the CloudWatch log group of the endpoint.',
            ),
            ErrorKind(
                arm="candidate",
                outcome="timeout",
                count=7,
                first_s=220.0,
                last_s=301.0,
                example=None,
            ),
            ErrorKind(
                arm="current",
                outcome="throttled",
                count=5,
                first_s=4.2,
                last_s=599.0,
                example="Rate exceeded",
            ),
        ),
    )


def undecided() -> Report:
    """Wide and unbounded intervals; a percentile refused; no interval on the shift."""
    values = _scaled(1.03)
    rows = (
        latency("p50", 41.1, 3.0, -4.4, 11.2, "undecided", reason="needs about 25 more minutes"),
        latency("p90", 54.0, 3.1, None, 19.0, "undecided", reason="needs about 25 more minutes"),
        latency("p99", 83.9, 2.8, None, None, "undecided"),
        latency(
            "p99.9",
            214.0,
            None,
            None,
            None,
            "refused",
            tail_requests=6,
            reason="6 requests lie beyond it in the smaller arm; 20 are needed",
        ),
        latency("mean", 44.2, 2.9, -0.5, None, "undecided"),
    )
    return report(
        "undecided",
        "Cannot tell yet: p50 differs by \u22124.4 to +11.2%; about 25 more minutes at this rate "
        "would settle it.",
        (
            *rows,
            errors(0.0, 0.0, None, None, None, "refused", reason="0 requests failed"),
            *service(rows),
        ),
        (CURRENT, summary("candidate", values, failed=0)),
        shifts("candidate", BODY_MS, values, half=None),
    )


def untrusted() -> Report:
    """A failed check."""
    late = Check(
        name="generator",
        title="Generator kept up",
        state="fail",
        finding="8.1% of requests left more than 5 ms late, so latencies are too low.",
        next_step="Run with --processes 4, or at a lower rate.",
    )
    return replace(
        faster(),
        checks=(*CHECKS[:2], late, CHECKS[3]),
        answers=None,
        verdict=Verdict(
            state="untrusted",
            validity="INVALID",
            sentence="This run cannot be trusted: 8.1% of requests left late.",
            context=(),
            exit_code=4,
        ),
    )


def empty() -> Report:
    """A run in which nothing could be compared."""
    arm = ArmSummary(
        name="current",
        share=1.0,
        requests=0,
        succeeded=0,
        failed=0,
        error_rate=None,
        mean_response_ms=None,
        mean_service_ms=None,
        percentiles=(),
    )
    return report(
        "untrusted", "This run cannot be trusted: no request ended.", (), (arm,), (), checks=()
    )


def tied() -> Report:
    """Two arms that are the same to the last digit."""
    rows = (
        latency("p50", 41.1, 0.0, -0.02, 0.02, "same", p_value=1.0),
        latency("p99", 83.9, 0.0, 0.0, 0.0, "same", margin=0.1),
    )
    return report(
        "same",
        "No difference that matters between current and candidate at p50 and p99.",
        (*rows, errors(0.0, 0.0, 0.0, 0.0, 0.0002), *service(rows)),
        (summary("current", BODY_MS, failed=0), summary("candidate", BODY_MS, failed=0)),
        shifts("candidate", BODY_MS, BODY_MS, half=0.0),
    )


def three_arms() -> Report:
    """Two arms against the baseline, ends of lines close together."""
    light, heavy = _scaled(0.985), _scaled(1.6)
    rows = []
    for arm, factor, call in (("light", -1.5, "same"), ("heavy", 60.0, "worse")):
        rows += [
            latency("p50", 41.1, factor, factor - 1.1, factor + 1.2, call, arm=arm),
            latency("p90", 54.0, factor, factor - 2.1, factor + 2.2, call, arm=arm),
            errors(5 / 24_000, 5 / 24_000, 0.0, -0.0003, 0.0003, arm=arm),
        ]
        rows += service(tuple(rows[-3:-1]))
    return report(
        "worse",
        "Heavy is 24.7 ms slower than current at p50 (between 24.2 and 25.2 ms).",
        tuple(rows),
        (CURRENT, summary("light", light, share=0.3), summary("heavy", heavy, share=0.2)),
        (*shifts("light", BODY_MS, light), *shifts("heavy", BODY_MS, heavy)),
    )


HOSTILE = (
    "<script>alert('x')</script>",
    "a|b `code` **bold** [link](https://example.com) @team #1 <img src=x onerror=y>\n# heading",
    "quotes \" ' & &amp; $x^2$ \\ \x1b[31mred\x1b[0m \x00 \u202eright-to-left\u202c",
    "שלום עולם مرحبا",
    "🚀🧑‍🚀 模型" * 8,
    "#010101 fill: #060606 --> ]]> {{ 7 * 7 }}",
    "x" * 10_240,
)


def hostile() -> Report:
    """Names, findings and messages that try to be something else than text."""
    first, second = HOSTILE[1], HOSTILE[4]
    base = slower()
    return replace(
        base,
        run=replace(
            RUN,
            id=HOSTILE[0],
            endpoint=HOSTILE[2],
            plan=HOSTILE[5],
            plan_toml="</code></pre>" + HOSTILE[0] + "\n" + HOSTILE[6],
            host={HOSTILE[0]: HOSTILE[3]},
        ),
        verdict=replace(base.verdict, sentence=HOSTILE[0] + HOSTILE[3], context=HOSTILE),
        checks=tuple(replace(CHECKS[3], title=text[:60], finding=text) for text in HOSTILE),
        arms=tuple(
            replace(arm, name=name) for arm, name in zip(base.arms, (first, second), strict=True)
        ),
        differences=tuple(
            replace(d, arm=second, baseline=first, reason=HOSTILE[0]) for d in base.differences
        ),
        shifts=tuple(replace(point, arm=second) for point in base.shifts),
        answers=replace(
            ANSWERS,
            arms=(),
            differences=(replace(ANSWERS.differences[0], arm=second, baseline=first),),
        ),
        errors=tuple(
            ErrorKind(arm=second, outcome="other", count=1, first_s=0, last_s=1, example=text)
            for text in HOSTILE
        ),
        method=HOSTILE,
        cannot_tell=HOSTILE,
        over_time=course(
            first,
            second,
            errors={HOSTILE[0]: (1,) * 63},
            phases={"warmup": 0.0, HOSTILE[3]: 30.0, HOSTILE[0]: 330.0},
        ),
        who_answered=replace(
            routed(first, HOSTILE[0]),
            asked=(Asked(asked=HOSTILE[0], answered={first: 1, HOSTILE[6]: 2}, unanswered=0),),
        ),
        cloudwatch=replace(cloudwatch(first, second), notes=HOSTILE),
    )


def load() -> Report:
    """A load test of one arm: one limit met, one broken, a window, and a phase without verdict."""

    def limit(metric: str, requests: int, missed: int, call: SloCall, **fields: Any) -> SloResult:
        return SloResult(
            **{
                "arm": "current",
                "phase": None,
                "metric": metric,
                "measure": "response",
                "limit_ms": 300.0,
                "allowed": 0.01,
                "window_s": None,
                "requests": requests,
                "missed": missed,
                "interval": None,
                "value_ms": None,
                "at_s": None,
                "call": call,
                "reason": None,
            }
            | fields
        )

    results = (
        limit(
            "p90", 24_000, 310, "met", allowed=0.1, value_ms=161.0,
            interval=Interval(low=0.0102, high=0.0163, level=0.9),
        ),
        limit(
            "p99", 24_000, 310, "broken", value_ms=312.4,
            interval=Interval(low=0.0102, high=0.0163, level=0.9),
        ),
        limit("p99", 1_200, 61, "broken", window_s=10.0, at_s=85.0),
        limit(
            "error_rate", 0, 0, "refused", phase="peak", measure="outcome", limit_ms=None,
            reason="No request of it was sent.",
        ),
    )  # fmt: skip
    return report(
        "broken",
        "current breaks the SLO: 1.3% of requests missed 300 ms (1.0% to 1.6%), where 1.0% may.",
        (),
        (CURRENT,),
        (),
        question="load",
        slo=results,
    )


def gate() -> Report:
    """A regression gate of three blocks: one metric fails, one passes, one has no verdict."""
    rows = (
        latency("p50", 41.1, 16.0, 12.0, 20.1, "worse"),
        latency("p90", 54.0, 1.0, -2.0, 4.1, "same"),
        latency(
            "p99", 83.9, None, None, None, "refused", margin=0.1,
            reason="Only 9 requests of a side lie beyond p99, over all its runs.",
        ),
    )  # fmt: skip
    return report(
        "worse",
        "Regression: candidate is worse than current: p50 +16.0% (+12.0 to +20.1%).",
        (*rows, errors(0.0, 0.0, 0.0, -0.0003, 0.0003)),
        (CURRENT, summary("candidate", _scaled(1.16), failed=0)),
        (),
        question="regression",
        runs=tuple(
            RunValues(
                run=f"20261123-04520{number}-gate-7f3a",
                arm=arm,
                started_at="2026-11-23T04:52:00Z",
                requests=8_000,
                failed=0,
                values={"p50": p50_ms, "p90": 54.0, "p99": None, "error_rate": 0.0},
                subject={"image": HOSTILE[1] if arm == "candidate" else "ranker:12"},
            )
            for arm, p50s_ms in (("current", (40.9, 41.1, 41.3)), ("candidate", (47.0, 47.7, 48.3)))
            for number, p50_ms in enumerate(p50s_ms)
        ),
    )


def capacity() -> Report:
    """A search that kept its limit at 40 req/s and broke it at 80, and what that takes to buy."""

    def rate(rate_rps: float, value_ms: float, call: RateCall, slo: SloCall) -> RateFound:
        at = LimitAtRate(
            metric="p99", limit_ms=300.0, allowed=0.01, requests=3000, missed=3,
            interval=interval(0.0, 0.003, 0.9), value_ms=value_ms,
            value_interval=interval(0.9 * value_ms, 1.1 * value_ms, 0.9), call=slo,
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
    made = ProbeMade(
        run="p1", rate_rps=20.0, measured_s=30.0, achieved_rps=20.1, requests=600, left_out=None
    )
    return report(
        "met",
        "current carries 40 req/s within the SLO.",
        (), (), (),
        question="capacity",
        capacity=Capacity(
            arm="current", end="smooth", rate_rps=56.6, interval=interval(40.0, 80.0),
            low_rps=40.0, high_rps=80.0, limit="p99", instances=1, instance_type="ml.c6i.large",
            rates=rates, probes=(made, replace(made, run="p2", left_out="it was interrupted")),
            sizing=size(Plan.model_validate(search), "current", 40.0, 1, rates), no_sizing=None,
        ),
    )  # fmt: skip


MADE = {
    make.__name__: make()
    for make in (
        load,
        gate,
        capacity,
        faster,
        slower,
        undecided,
        untrusted,
        empty,
        tied,
        three_arms,
        hostile,
    )
}


@pytest.fixture(params=MADE)
def any_report(request) -> Report:
    return MADE[request.param]


@pytest.fixture
def reports() -> dict[str, Report]:
    return MADE
