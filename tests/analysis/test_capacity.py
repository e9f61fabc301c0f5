"""A folder of probes becomes one answer, or a refusal that says why."""

import json
from pathlib import Path

import numpy as np
import pytest

from analysis.capacity import capacity, judge_probes
from analysis.render.html import render as html
from analysis.render.json import parse
from analysis.render.json import render as as_json
from analysis.render.markdown import render as markdown
from analysis.render.text import render as text
from experiments.errors import RunFolderError
from experiments.plan import Plan
from tests.analysis.runs import record, write_run

PLAN = {
    "question": "capacity",
    "seed": 1,
    "endpoint": {"name": "shop", "target": "http://127.0.0.1:8080"},
    "arms": {"current": {"instance_price_usd_per_hour": 0.5}},
    "request": {"payloads": "rows.jsonl"},
    "traffic": {"routing": "pinned"},
    "slo": {"p99": 0.1, "error_rate": 0.01},
    "capacity": {"peak_rate": 300.0},
}
ONE = {"variants": {"current": {"instances": 1, "desired_instances": 1, "instance_type": "ml.x"}}}
LOAD = (
    "question=load", "arms={current={}}", "traffic.routing=pinned",
    'slo={ p99 = "100ms", error_rate = "1%" }', 'traffic.duration="30s"',
)  # fmt: skip


def probe(series: Path, number, rate, slow=0.0, late_ms=0.0, after=ONE, **fields):
    """Write a probe in which a share of the requests, evenly spread, takes 150 ms."""
    records = []
    for i in range(int(rate * 40)):
        at_s = (i + 0.5) / rate
        is_slow = slow and i % round(1 / slow) == 0
        own = dict(fields)
        if late_ms:
            own["started_ns"] = own["sent_ns"] = round(at_s * 1e9 + late_ms * 1e6)
        records.append(record(i, "current", at_s, 150.3 if is_slow else 23.7 + late_ms, **own))
    started = np.array([row.started_ns for row in records])
    ended = np.searchsorted(np.sort([row.ended_ns for row in records]), started, side="right")
    busy = np.arange(len(records)) - ended
    records = [row._replace(slots_busy=int(n)) for row, n in zip(records, busy, strict=True)]
    return write_run(
        series / "runs" / f"{number:03}", records, [*LOAD, f"traffic.rate={rate}"],
        without=["answers"], endpoint=ONE, endpoint_after=after,
    )  # fmt: skip


@pytest.fixture
def series(tmp_path: Path) -> Path:
    plan = Plan.model_validate(PLAN).model_dump(mode="json", exclude_none=True)
    manifest = {
        "schema_version": 1, "run_id": "series", "plan_name": "shop", "plan": plan, "seed": 1,
        "started_at": "2026-01-31T12:00:00+00:00", "ended_as": "complete",
    }  # fmt: skip
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "plan.toml").write_text('question = "capacity"\n')
    return tmp_path


@pytest.fixture
def answered(series: Path) -> Path:
    for number, (rate, slow) in enumerate([(95, 0.0), (100, 0.002), (104, 0.04)]):
        probe(series, number, rate, slow)
    return series


def test_the_answer_lies_between_the_last_pass_but_one_and_the_first_failure(answered: Path):
    report = capacity(answered)
    found = report.capacity
    assert [rate.call for rate in found.rates] == ["pass", "pass", "fail"]
    assert (found.end, found.limit, found.instances) == ("smooth", "p99", 1)
    assert (found.interval.low, found.interval.high, found.interval.level) == (95, 104, 0.9)
    assert 100 < found.rate_rps < 104
    assert (report.verdict.state, report.verdict.exit_code) == ("met", 0)
    assert "between 95 req/s and 104 req/s" in report.verdict.sentence
    assert "p99 breaks first" in report.verdict.context[0]
    # 95 x 0.7 x 60, and 300 / 66.5 = 4.5 instances, of which a zone may take 3 of 8
    assert found.sizing.invocations_per_instance == 3990
    assert "takes 5 instances" in report.verdict.context[1]
    assert "8 to lose one of 3 zones" in report.verdict.context[1]


def test_every_renderer_shows_the_answer(answered: Path):
    report = capacity(answered)
    page, page_md, page_text = html(report), markdown(report), text(report)
    for said in (page, page_md, page_text):
        assert "104 req/s" in said
        assert "SageMakerVariantInvocationsPerInstance" in said
        assert "extrapolated" in said
    order = ["<h1>", 'id="trust"', 'id="curve"', 'id="buy"', 'id="probes"', 'id="method"']
    places = [page.index(part) for part in order]
    assert places == sorted(places)
    assert 'role="img" aria-label="Load against p99' in page
    assert "aws_appautoscaling_policy" in page
    assert max(map(len, page_text.splitlines())) <= 80
    assert parse(as_json(report)) == report


def test_a_search_judges_each_rate_by_all_of_its_probes(answered: Path):
    probe(answered, 4, 100, 0.04)
    paths = sorted((answered / "runs").iterdir())
    assert judge_probes(paths) == {95: "pass", 100: "unresolved", 104: "fail"} or (
        judge_probes(paths)[100] == "fail"
    )
    assert judge_probes(paths[:2]) == {95: "pass", 100: "pass"}


def test_where_the_generator_was_the_limit_there_is_no_number(series: Path):
    probe(series, 0, 95)
    probe(series, 1, 100)
    probe(series, 2, 104, late_ms=120.0)
    report = capacity(series)
    assert report.verdict.state == "untrusted"
    assert report.verdict.exit_code == 4
    assert report.verdict.sentence.startswith("This number is the client's, not the endpoint's")
    assert report.capacity.interval is None
    assert report.capacity.sizing is None
    assert "left out" in html(report)


def test_a_probe_with_a_hiccup_is_left_out_where_another_was_clean(answered: Path):
    probe(answered, 3, 95, late_ms=120.0)
    report = capacity(answered)
    assert report.verdict.exit_code == 0
    assert [made.left_out is None for made in report.capacity.probes] == [True, True, True, False]
    assert report.capacity.rates[0].probes == 1
    assert {check.state for check in report.checks} == {"ok"}


def test_a_rate_that_fails_is_the_endpoints_where_most_of_its_probes_were_clean(answered: Path):
    probe(answered, 3, 104, late_ms=120.0)
    assert capacity(answered).capacity.end == "client"
    probe(answered, 4, 104, 0.04)
    assert capacity(answered).capacity.end == "smooth"


def test_instances_that_moved_make_the_search_invalid(series: Path):
    moved = {"variants": {"current": {"instances": 2, "desired_instances": 2}}}
    probe(series, 0, 95, after=moved)
    report = capacity(series)
    assert judge_probes([series / "runs" / "000"]) == {95: "invalid"}
    assert report.verdict.exit_code == 4
    assert "register-scalable-target" in " ".join(report.verdict.context)


def test_what_ends_in_no_answer_is_named(series: Path):
    probe(series, 0, 50, slow=0.2)
    nothing = capacity(series)
    assert (nothing.capacity.end, nothing.verdict.exit_code) == ("no_pass", 1)
    probe(series, 1, 25)
    undecided = capacity(series)
    assert (undecided.capacity.end, undecided.verdict.exit_code) == ("undecided", 3)
    assert "above 25 req/s and below 50 req/s" in undecided.verdict.sentence


def test_what_passes_everywhere_is_no_upper_bound(series: Path):
    probe(series, 0, 25)
    probe(series, 1, 50)
    found = capacity(series)
    assert found.capacity.end == "no_fail"
    assert found.capacity.interval.high is None
    assert html(found)


def test_an_interrupted_search_is_judged_and_says_so(answered: Path):
    manifest = json.loads((answered / "manifest.json").read_text())
    manifest |= {"ended_as": "interrupted", "reason": "It was interrupted."}
    (answered / "manifest.json").write_text(json.dumps(manifest))
    report = capacity(answered)
    assert report.capacity.end == "smooth"
    assert "It was interrupted." in report.verdict.context[-1]


def test_a_folder_without_a_probe_is_refused(series: Path):
    with pytest.raises(RunFolderError, match="holds no probe"):
        capacity(series)


def test_an_endpoint_without_instances_is_not_sized(series: Path):
    for number, (rate, slow) in enumerate([(95, 0.0), (100, 0.002), (104, 0.04)]):
        path = probe(series, number, rate, slow)
        manifest = json.loads((path / "manifest.json").read_text())
        manifest.pop("endpoint")
        (path / "manifest.json").write_text(json.dumps(manifest))
    found = capacity(series).capacity
    assert found.end == "smooth"
    assert found.sizing is None
    assert "serverless" in found.no_sizing
