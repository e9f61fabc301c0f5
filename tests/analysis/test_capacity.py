"""A folder of probes becomes one answer, or a refusal that says why."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis.capacity import capacity
from analysis.probes import judge_probes
from analysis.render.html import render as html
from analysis.render.json import parse
from analysis.render.json import render as as_json
from analysis.render.markdown import render as markdown
from analysis.render.text import render as text
from experiments.errors import RunFolderError
from experiments.plan import Plan
from experiments.record import SCHEMA
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
TWO = {"variants": {"current": {"instances": 2, "desired_instances": 2}}}
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


def overloaded(series: Path, number, rate, carried, **manifest):
    """Write a probe of one server that answers less than what comes, 64 slots taken in no time."""
    records = []
    for i in range(int(rate * 40)):
        at_s, ended_s = (i + 0.5) / rate, (i + 1) / carried
        busy = min(i - int(at_s * carried), 64)
        started_ns = round(max(at_s, ended_s - 64 / carried) * 1e9)
        took_ms = (ended_s - at_s) * 1e3
        own = {"started_ns": started_ns, "sent_ns": started_ns, "slots_busy": max(busy, 0)}
        records.append(record(i, "current", at_s, took_ms, **own))
    return write_run(
        series / "runs" / f"{number:03}", records, [*LOAD, f"traffic.rate={rate}"],
        without=["answers"], endpoint=ONE, endpoint_after=ONE, **manifest,
    )  # fmt: skip


def say(folder: Path, **fields):
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["plan"]["capacity"] |= fields.pop("capacity", {})
    (folder / "manifest.json").write_text(json.dumps({**manifest, **fields}))


@pytest.fixture
def series(tmp_path: Path) -> Path:
    plan = Plan.model_validate(PLAN).model_dump(mode="json", exclude_none=True)
    manifest = {
        "schema_version": 1, "run_id": "series", "plan_name": "shop", "plan": plan, "seed": 1,
        "started_at": "2026-01-31T12:00:00+00:00", "ended_as": "complete",
        "search_end": "bracketed",
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
    assert (found.low_rps, found.high_rps) == (95, 104)
    # 104 / 95 = 1.0947
    said = "95 req/s kept it, and 104 req/s, which is 9.5% more, broke it."
    assert said in report.verdict.sentence
    assert "p99 breaks first" in report.verdict.context[0]
    # 95 x 0.7 x 60, and 300 / 66.5 = 4.5 instances, of which a zone may take 3 of 8
    assert found.sizing.invocations_per_instance == 3990
    assert "takes 5 instances" in report.verdict.context[1]
    assert "8 if one of 3 zones may be lost" in report.verdict.context[1]


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
    paths = sorted((answered / "runs").iterdir())
    assert judge_probes(paths) == {95: "pass", 100: "pass", 104: "fail"}
    # 126 of 6,000 took too long, where 60 may; but next to all of them in one probe of two.
    paths.append(probe(answered, 4, 100, 0.04))
    assert judge_probes(paths) == {95: "pass", 100: "unresolved", 104: "fail"}
    paths.append(probe(answered, 5, 104, 0.04))
    assert judge_probes(paths)[104] == "fail"


def test_a_probe_is_read_once(answered: Path):
    (path,) = list((answered / "runs").iterdir())[:1]
    before = judge_probes([path])
    (path / "requests.parquet").unlink()
    assert judge_probes([path]) == before


def test_an_endpoint_with_all_slots_in_flight_is_its_own_limit(series: Path):
    paths = [probe(series, 0, 95), probe(series, 1, 100), overloaded(series, 2, 222, 200)]
    assert judge_probes(paths) == {95: "pass", 100: "pass", 222: "fail"}
    say(series, capacity={"ladder": [95, 100, 222]}, search_end="ladder")
    report = capacity(series)
    assert (report.capacity.end, report.verdict.exit_code) == ("smooth", 0)
    assert report.capacity.low_rps == 100
    assert report.capacity.probes[2].left_out is None


def test_full_slots_are_the_clients_where_answers_in_time_can_fill_them(series: Path):
    # 64 slots at 999 a second are full where an answer takes 64 ms, and 100 ms keep the SLO.
    path = overloaded(series, 0, 999, 900)
    assert judge_probes([path]) == {999: "client"}
    said = capacity(series).verdict
    assert said.exit_code == 4
    assert said.sentence.startswith("No number: at 999 req/s the client was the limit")
    assert "found all 64 slots busy" in said.context[0]
    assert said.context[1] == "Give more slots (traffic.slots), and search again."


def test_a_generator_without_a_cpu_to_itself_is_the_limit_even_with_full_slots(series: Path):
    path = overloaded(series, 0, 222, 200)
    health = pd.read_parquet(path / "health.parquet").assign(cpu=0.99)
    health.to_parquet(path / "health.parquet")
    assert judge_probes([path]) == {222: "client"}


def test_a_ladder_gives_the_rungs_and_no_interval(answered: Path):
    say(answered, capacity={"ladder": [95, 100, 104]}, search_end="ladder")
    report = capacity(answered)
    found = report.capacity
    assert (found.rate_rps, found.interval) == (None, None)
    assert (found.low_rps, found.high_rps) == (100, 104)
    assert "carries 100 req/s on 1 instance within its SLO, and less than 104" in (
        report.verdict.sentence
    )
    assert "Grey" not in html(report)


def test_where_the_generator_was_the_limit_there_is_no_number(series: Path):
    probe(series, 0, 95)
    probe(series, 1, 100)
    probe(series, 2, 104, late_ms=120.0)
    report = capacity(series)
    assert report.verdict.state == "untrusted"
    assert report.verdict.exit_code == 4
    assert report.verdict.sentence == (
        "95 req/s kept the SLO, and at 104 req/s the client was the limit, not the endpoint."
    )
    assert "a machine of its own" in report.verdict.context[1]
    assert "slots" not in " ".join(report.verdict.context)
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
    probe(series, 0, 95, after=TWO)
    report = capacity(series)
    assert judge_probes([series / "runs" / "000"]) == {95: "invalid"}
    assert report.verdict.exit_code == 4
    assert "register-scalable-target" in " ".join(report.verdict.context)


@pytest.mark.parametrize(
    "between",
    [
        {"endpoint": TWO, "endpoint_after": TWO},
        {"scaling": {"activities": [{
            "variant": "current", "status": "Successful", "description": "Setting count to 2.",
            "started_at": "2026-01-31T12:00:40+00:00", "ended_at": "2026-01-31T12:00:50+00:00",
        }]}, "started_at": "2026-01-31T12:01:00+00:00"},
    ],
)  # fmt: skip
def test_instances_that_moved_between_probes_make_the_search_invalid(series: Path, between):
    for number, (rate, slow) in enumerate([(95, 0.0), (100, 0.002), (104, 0.04)]):
        path = probe(series, number, rate, slow)
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | between))
    report = capacity(series)
    assert report.verdict.exit_code == 4
    assert "register-scalable-target" in report.verdict.context[0]
    found = report.capacity
    assert (found.rate_rps, found.interval, found.low_rps, found.sizing) == (None,) * 4
    assert found.no_sizing


def test_what_ends_in_no_answer_is_named(series: Path):
    probe(series, 0, 50, slow=0.2)
    assert capacity(series).capacity.end == "undecided"
    say(series, search_end="no_pass")
    nothing = capacity(series)
    assert (nothing.capacity.end, nothing.verdict.exit_code) == ("no_pass", 1)
    probe(series, 1, 25)
    undecided = capacity(series)
    assert (undecided.capacity.end, undecided.verdict.exit_code) == ("undecided", 3)
    assert "25 req/s kept the SLO and 50 req/s broke it" in undecided.verdict.sentence
    found = undecided.capacity
    assert (found.rate_rps, found.interval, found.sizing) == (None, None, None)


@pytest.mark.parametrize("ended", ["no_fail", "ladder"])
def test_what_passes_everywhere_is_no_upper_bound(series: Path, ended: str):
    probe(series, 0, 25)
    probe(series, 1, 50)
    say(series, search_end=ended)
    found = capacity(series)
    assert found.capacity.end == "no_fail"
    assert (found.capacity.low_rps, found.capacity.high_rps) == (50, None)
    assert "up to 50 req/s" in found.verdict.sentence
    assert found.capacity.sizing.instance_rps == 50
    assert html(found)


@pytest.mark.parametrize(
    ("ended", "said"),
    [("limits", "ended by [limits]"), ("too_long", "lengthen capacity.probe (now 30 s)"),
     ("unresolved", "lengthen capacity.probe (now 30 s)")],
)  # fmt: skip
def test_a_search_that_was_cut_short_is_no_answer(series: Path, ended: str, said: str):
    probe(series, 0, 25)
    probe(series, 1, 50)
    say(series, search_end=ended)
    report = capacity(series)
    assert (report.capacity.end, report.verdict.exit_code) == ("undecided", 3)
    assert report.capacity.sizing is None
    assert said in " ".join(report.verdict.context)


def test_an_interrupted_search_is_judged_and_says_so(answered: Path):
    # In the warm-up of a fourth probe.
    warming_up = [record(i, "current", (i + 0.5) / 50, 23.0) for i in range(100)]
    path = write_run(
        answered / "runs" / "003", warming_up, [*LOAD, "traffic.rate=102"], without=["answers"],
        endpoint=ONE, ended_as="interrupted", reason="It was interrupted.",
    )  # fmt: skip
    say(answered, ended_as="interrupted", reason="It was interrupted.", search_end=None)
    report = capacity(answered)
    assert report.capacity.end == "smooth"
    assert [made.rate_rps for made in report.capacity.probes] == [95, 100, 104]
    assert "It was interrupted." in report.verdict.context[-1]
    assert judge_probes([path]) == {}


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


def test_what_was_dropped_was_not_achieved(series: Path):
    path = probe(series, 0, 95)
    table = pq.read_table(path / "requests.parquet").to_pylist()
    for row in table[-950:]:  # of the 30 s measured the last ten
        row |= {"outcome": "dropped", "started_ns": None, "ended_ns": None, "slots_busy": 64}
    pq.write_table(pa.Table.from_pylist(table, SCHEMA), path / "requests.parquet")
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["counts"] |= {"ended": len(table) - 950, "dropped": 950}
    (path / "manifest.json").write_text(json.dumps(manifest))
    (made,) = capacity(series).capacity.probes
    assert made.achieved_rps == pytest.approx(95 * 20 / 30)


def test_a_search_whose_plan_was_removed_is_judged(answered: Path):
    (answered / "plan.toml").unlink()
    assert "plan.toml cannot be read" in capacity(answered).run.plan_toml
