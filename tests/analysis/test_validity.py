"""Each reason not to trust a run is found, with its figure, and nothing else is."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import analysis
from analysis.results.run import Check
from analysis.validity import check_run, memory_check, validity_of
from experiments.record import HEALTH_SCHEMA, Record
from tests.analysis.runs import record, write_run

STEP_S = 0.05


def steady(**fields: Any) -> list[Record]:
    """2,400 requests over the whole run, in pairs, 20 ms each."""
    arms = ("current", "candidate")
    return [record(i, arms[i % 2], i * STEP_S, 20.0, **fields) for i in range(2600)]


def checks(
    tmp_path: Path, rows: Iterable[Record], overrides: Iterable[str] = (), **manifest: Any
) -> dict[str, Check]:
    run = analysis.read_run(write_run(tmp_path / "run", rows, overrides, **manifest))
    return {check.name: check for check in check_run(run)}


def test_a_clean_run_is_valid(tmp_path: Path) -> None:
    found = checks(tmp_path, steady())
    assert validity_of(found.values()) == "VALID", [c for c in found.values() if c.state != "ok"]
    assert found["records"].finding.startswith("2,600 planned = 2,600 ended")
    assert "1,200 to current" in found["pinning"].finding


def test_lost_rows_make_a_run_suspect_and_many_make_it_invalid(tmp_path: Path) -> None:
    counts = {"planned": 2601, "ended": 2600, "dropped": 0, "unsent": 0, "missing": 1}
    assert checks(tmp_path / "a", steady(), counts=counts)["records"].state == "warn"
    counts = {"planned": 2700, "ended": 2600, "dropped": 0, "unsent": 0, "missing": 100}
    assert checks(tmp_path / "b", steady(), counts=counts)["records"].state == "fail"


def test_a_run_that_ended_early_says_why(tmp_path: Path) -> None:
    found = checks(tmp_path, steady(), ended_as="aborted", reason="300 of 900 failed.")
    assert found["records"].state == "fail"
    assert "300 of 900 failed" in found["records"].finding
    stopped = checks(tmp_path / "stopped", steady(), ended_as="interrupted", reason="Ctrl-C.")
    assert stopped["records"].state == "warn"


def test_an_answer_from_another_variant_makes_a_run_invalid(tmp_path: Path) -> None:
    rows = steady()
    rows[500] = rows[500]._replace(variant_invoked="candidate")
    found = checks(tmp_path, rows)["pinning"]
    assert found.state == "fail"
    assert found.finding.startswith("1 of 2,400 answers")
    assert "asked current, got candidate" in found.finding


def test_an_answer_that_does_not_name_its_variant_is_suspect(tmp_path: Path) -> None:
    rows = steady()
    rows[500] = rows[500]._replace(variant_invoked=None)
    found = checks(tmp_path, rows)["pinning"]
    assert (found.state, found.finding[:17]) == ("warn", "1 of 2,400 answer")


def test_failures_that_name_their_variant_make_up_for_no_answer(tmp_path: Path) -> None:
    rows = [row._replace(outcome="throttled") if 500 <= row.seq < 510 else row for row in steady()]
    assert checks(tmp_path / "all", rows)["pinning"].state == "ok"
    rows[600] = rows[600]._replace(variant_invoked=None)
    found = checks(tmp_path / "one", rows)["pinning"]
    assert found.finding == "1 of 2,390 answers do not name their variant"


@pytest.mark.parametrize(("late", "state"), [(23, "ok"), (25, "fail")])
def test_a_generator_that_sends_one_in_a_hundred_late_is_not_trusted(
    tmp_path: Path, late: int, state: str
) -> None:
    rows = steady()
    for i in range(300, 300 + late):
        rows[i] = rows[i]._replace(started_ns=rows[i].scheduled_ns + 5_100_000)
    assert checks(tmp_path, rows)["generator"].state == state


def test_requests_without_a_descriptor_are_the_generators(tmp_path: Path) -> None:
    want = "EndpointConnectionError: Failed to connect: [Errno 24] Too many open files"
    rows = steady()
    rows[50:60] = [r._replace(outcome="connection", error=want) for r in rows[50:60]]
    found = checks(tmp_path, rows)["descriptors"]
    assert (found.state, "10 of" in found.finding) == ("fail", True)
    assert "ulimit -n" in (found.next_step or "")


def test_lateness_without_a_free_slot_is_not_the_generators(tmp_path: Path) -> None:
    rows = steady()
    for i in range(300, 400):
        rows[i] = rows[i]._replace(started_ns=rows[i].scheduled_ns + 5_100_000, slots_busy=64)
    found = checks(tmp_path, rows)
    assert found["generator"].state == "ok"
    assert found["slots"].state == "warn"
    assert found["slots"].finding.startswith("100 of 2,400")


def generator(
    folder: Path, change: dict[str, dict[int, float]], rows: Iterable[Record] = (), **manifest: Any
) -> Check:
    """Check a steady run whose health has these values in these seconds."""
    path = write_run(folder, rows or steady(), **manifest)
    health = pq.read_table(path / "health.parquet").to_pandas()
    for column, values in change.items():
        health.loc[list(values), column] = list(values.values())
    pq.write_table(pa.Table.from_pandas(health), path / "health.parquet")
    return {check.name: check for check in check_run(analysis.read_run(path))}["generator"]


# The measured phase has 120 rows of health: seconds 10 to 129.
@pytest.mark.parametrize(
    ("column", "within", "beyond", "said"),
    [
        ("cpu", dict.fromkeys(range(10, 16), 0.9), dict.fromkeys(range(10, 17), 0.9),
         "; above 85% in 5.8% of seconds"),
        ("loop_lag_max_ms", {60: 250.0}, {60: 251.0}, "once stood still for 251 ms"),
        ("loop_lag_p99_ms", {60: 21.0}, {60: 21.0, 129: 20.1},
         "above 20.0 ms in 1.7% of seconds"),
        ("gc_pause_ms", {60: 50.0}, {60: 61.0}, "collection once stopped it for 61.0 ms"),
    ],
)  # fmt: skip
def test_what_holds_up_the_generator_is_suspect(
    tmp_path: Path, column: str, within: dict[int, float], beyond: dict[int, float], said: str
) -> None:
    assert generator(tmp_path / "within", {column: within}).state == "ok"
    found = generator(tmp_path / "beyond", {column: beyond})
    assert found.state == "warn"
    assert said in found.finding
    assert found.next_step is not None


def test_what_held_up_the_warm_up_is_cut_with_it(tmp_path: Path) -> None:
    change = {"cpu": dict.fromkeys(range(10), 1.0), "gc_pause_ms": {0: 900.0}}
    assert generator(tmp_path / "run", change).state == "ok"


def test_a_run_that_was_stopped_at_once_is_held_to_the_seconds_in_which_it_still_sent(
    tmp_path: Path,
) -> None:
    """Of what was due in 0.3 s the last left 3 s later, from a generator without a CPU to spare."""
    late = [row for row in steady() if row.scheduled_ns < 10_300_000_000]
    late[-1] = late[-1]._replace(ended_ns=13_300_000_000)
    change = {"cpu": dict.fromkeys(range(11, 15), 0.99)}
    assert generator(tmp_path / "run", change, late, ended_as="stopped").state == "warn"


def test_each_finding_of_the_generator_is_said_and_the_worst_counts(tmp_path: Path) -> None:
    change = {"gc_pause_ms": {60: 61.0}, "loop_lag_max_ms": {61: 300.0}}
    both = generator(tmp_path / "warn", change)
    assert both.state == "warn"
    assert "61.0 ms" in both.finding
    assert "300 ms" in both.finding
    rows = [row._replace(started_ns=row.scheduled_ns + 6_000_000) for row in steady()]
    late = generator(tmp_path / "fail", change, rows)
    assert late.state == "fail"
    assert "61.0 ms" in late.finding


@pytest.mark.parametrize(("unstarted", "is_said"), [(24, False), (25, True)])
def test_requests_that_the_phase_did_not_see_start_are_counted(
    tmp_path: Path, unstarted: int, *, is_said: bool
) -> None:
    rows = steady()
    for i in range(2600 - unstarted, 2590):
        at_ns = 130_000_000_000
        rows[i] = rows[i]._replace(started_ns=at_ns, ended_ns=at_ns + 20_000_000, slots_busy=64)
    for i in range(2590, 2600):
        rows[i] = rows[i]._replace(
            outcome="dropped", started_ns=None, ended_ns=None, slot=None, slots_busy=64
        )
    found = checks(tmp_path, rows)
    assert found["generator"].state == "ok"
    assert ("2,375 of 2,400 requests were started" in found["slots"].finding) == is_said
    cut_short = checks(tmp_path / "cut", rows, ended_as="interrupted", reason="Ctrl-C.")
    assert "were started" not in cut_short["slots"].finding


@pytest.mark.parametrize(
    "fields",
    [{}, {"outcome": "dropped", "started_ns": None, "ended_ns": None, "slot": None}],
)
def test_slots_that_were_all_taken_are_not_the_generators_lateness(
    tmp_path: Path, fields: dict[str, Any]
) -> None:
    found = checks(tmp_path, steady(slots_busy=64, **fields))
    assert found["generator"].state == "ok"
    assert found["slots"].state == "fail"


def test_health_of_an_older_run_is_not_known_and_no_fault(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run", steady())
    table = pq.read_table(path / "health.parquet")
    for left in (["second", "cpu"], ["second"]):
        pq.write_table(table.select(left), path / "health.parquet")
        found = {check.name: check for check in check_run(analysis.read_run(path))}["generator"]
        assert found.state == "ok"
    assert found.finding.endswith("CPU not known")
    pq.write_table(table.slice(0, 0), path / "health.parquet")
    assert validity_of(check_run(analysis.read_run(path))) == "VALID"


@pytest.mark.parametrize(("opened", "state"), [(120, "ok"), (121, "warn")])
def test_connections_that_are_not_kept_are_suspect(tmp_path: Path, opened: int, state: str) -> None:
    rows = steady()
    for i in [*range(200), *range(300, 300 + opened)]:
        rows[i] = rows[i]._replace(new_connection=True)
    found = checks(tmp_path, rows)["connections"]
    assert found.state == state
    assert found.finding == f"{opened} of 2,400 requests opened a new connection"
    assert (found.next_step is None) == (state == "ok")


def test_a_connection_that_was_waited_for_is_said(tmp_path: Path) -> None:
    rows = steady()
    rows[300] = rows[300]._replace(new_connection=True)

    path = write_run(tmp_path / "run", rows)
    health = pq.read_table(path / "health.parquet").to_pydict()
    health["connect_max_ms"][5] = 900.0  # in the warm-up
    health["connect_max_ms"][50] = 31.0
    pq.write_table(pa.table(health, schema=HEALTH_SCHEMA), path / "health.parquet")
    found = {check.name: check for check in check_run(analysis.read_run(path))}["connections"]
    assert found.finding == (
        "1 of 2,400 requests opened a new connection, which took 31.0 ms at most"
    )


def test_connections_that_are_not_known_are_not_judged(tmp_path: Path) -> None:
    rows = [row._replace(new_connection=None) for row in steady()]
    assert "connections" not in checks(tmp_path / "none", rows)
    rows[300] = rows[300]._replace(new_connection=False)
    found = checks(tmp_path / "one", rows)["connections"]
    assert found.finding == "0 of 1 requests opened a new connection"


def test_no_warm_up_is_suspect(tmp_path: Path) -> None:
    rows = [row for row in steady() if row.phase == "measure"]
    assert checks(tmp_path, rows)["warmup"].state == "warn"


def test_a_median_that_moves_with_the_rate_is_not_judged(tmp_path: Path) -> None:
    stages = 'stages=[{ rate = 20.0, for = "60s" }, { rate = 40.0, for = "60s" }]'
    overrides = [f'traffic={{ routing = "paired", warmup = "10s", {stages} }}']
    assert "drift" not in checks(tmp_path, steady(), overrides)


def test_a_run_that_ended_in_its_warm_up_says_so(tmp_path: Path) -> None:
    rows = [row for row in steady() if row.phase == "warmup"]
    found = checks(tmp_path, rows, ended_as="interrupted")["generator"]
    assert (found.state, found.finding) == ("fail", "no request was sent in the measured phase")


def test_a_lone_arm_has_no_split_to_test(tmp_path: Path) -> None:
    rows = [row._replace(arm="current", variant_invoked="current", variant_asked=None, group=None)
            for row in steady()]  # fmt: skip
    overrides = ["question=load", "arms={ current = {} }", "traffic.routing=weighted"]
    path = write_run(
        tmp_path / "run", rows, [*overrides, 'slo={ p99 = "1s" }'], without=["compare"]
    )
    found = {check.name: check for check in check_run(analysis.read_run(path))}
    assert found["split"].state == "ok"


def test_a_median_that_moves_is_suspect_and_names_the_arm(tmp_path: Path) -> None:
    rows = [
        row._replace(ended_ns=row.scheduled_ns + 26_000_000)
        if row.arm == "candidate" and row.seq > 1300
        else row
        for row in steady()
    ]
    found = checks(tmp_path, rows)["drift"]
    assert found.state == "warn"
    assert "candidate +30.0%" in found.finding
    assert "current 0.0%" in found.finding


@pytest.mark.parametrize(("factor", "state"), [(2.5, "ok"), (12.0, "warn")])
def test_a_large_change_is_suspect_however_windows_scatter(tmp_path, factor, state) -> None:
    # Windows of 2 s have 40 requests, and every third is five times as slow.
    slow = {row.seq: (1 if row.seq // 40 % 3 else 5) for row in steady()}
    rows = [
        row._replace(
            ended_ns=row.scheduled_ns
            + round(20_000_000 * slow[row.seq] * (factor if row.seq > 1300 else 1))
        )
        for row in steady()
    ]
    assert checks(tmp_path, rows)["drift"].state == state


def test_more_than_one_failure_in_a_hundred_is_suspect(tmp_path: Path) -> None:
    rows = steady()
    for i in range(300, 325):
        rows[i] = rows[i]._replace(outcome="throttled", error="slow down")
    assert checks(tmp_path, rows)["failures"].state == "warn"


def test_arms_that_all_fail_often_are_not_compared_by_what_is_left(tmp_path: Path) -> None:
    rows = [row._replace(outcome="connection") if row.seq % 8 < 4 else row for row in steady()]
    found = checks(tmp_path, rows)["failures"]
    assert found.state == "fail"
    assert found.finding == "1,200 of 2,400 requests failed, in every arm"


def test_answers_that_cannot_be_read_are_counted(tmp_path: Path) -> None:
    rows = steady()
    rows[700] = rows[700]._replace(prediction=None)
    found = checks(tmp_path, rows)["answers"]
    assert (found.state, found.finding) == (
        "warn",
        "answers.prediction finds nothing in 1 of 2,400 answers",
    )


def test_a_hidden_retry_is_suspect(tmp_path: Path) -> None:
    rows = steady()
    rows[700] = rows[700]._replace(retries=1)
    assert checks(tmp_path, rows)["retries"].state == "warn"
    assert "retries" not in checks(tmp_path / "none", steady())


def test_arms_with_unequal_load_per_instance_are_suspect(tmp_path: Path) -> None:
    variants = {"current": {"instances": 2}, "candidate": {"instances": 1}}
    found = checks(tmp_path, steady(), endpoint={"variants": variants})["instances"]
    assert found.state == "warn"
    assert "candidate 66.7%" in found.finding


def test_an_endpoint_that_could_not_be_described_is_said(tmp_path: Path) -> None:
    found = checks(tmp_path, steady(), endpoint={"note": "AccessDenied"})["instances"]
    assert (found.state, found.finding) == ("warn", "AccessDenied")


def test_a_weighted_split_far_from_its_weights_makes_a_run_invalid(tmp_path: Path) -> None:
    # 1,200 against 1,200 where 3 to 1 was expected: chi-square 800 on one degree of freedom.
    overrides = ["traffic.routing=weighted", "arms.current.share=3"]
    rows = [row._replace(group=None, variant_asked=None) for row in steady()]
    found = checks(tmp_path, rows, overrides)["split"]
    assert found.state == "fail"
    assert checks(tmp_path / "even", rows, overrides[:1])["split"].state == "ok"


def test_a_session_counts_once_where_it_was_opened(tmp_path: Path) -> None:
    """Sessions are opened evenly, and those at one arm are called on and on."""
    plain = [row._replace(group=None, variant_asked=None) for row in steady()]
    opened = [row for i, row in enumerate(plain) if i % 4 < 2]
    stuck = [row._replace(in_session=True) for row in plain if row.variant_invoked == "current"]
    rows = [row._replace(seq=seq) for seq, row in enumerate([*opened, *stuck])]
    weighted = ["traffic.routing=weighted"]
    found = checks(tmp_path / "some", rows, weighted)["split"]
    assert found.state == "ok"
    assert f"{sum(row.phase != 'warmup' for row in stuck):,} calls into open" in found.finding
    lost = [row._replace(in_session=False) for row in rows]
    assert checks(tmp_path / "none", lost, weighted)["split"].state == "fail"
    found = checks(tmp_path / "all", [row._replace(in_session=True) for row in rows], weighted)
    assert (found["split"].state, "not tested" in found["split"].finding) == ("warn", True)
    older = tmp_path / "older"
    file = write_run(older, plain, weighted) / "requests.parquet"
    pq.write_table(pq.read_table(file).drop_columns("in_session"), file)
    assert "in_session" not in analysis.read_run(older).requests
    assert {c.name: c for c in check_run(analysis.read_run(older))}["split"].state == "ok"


def test_a_run_shorter_than_six_memories_is_not_long_enough(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run", steady()[:400], ["traffic.duration=10s"])
    run = analysis.read_run(path)
    assert memory_check(run, []).state == "warn"
    long = analysis.read_run(write_run(tmp_path / "long", steady()))
    assert memory_check(long, []).state == "ok"
    finding = "short run; noise is taken to last 10 s, as no earlier run says otherwise"
    assert memory_check(long, ["Short run.", "Short run."]).finding == finding
    of_memory = [
        analysis.read_run(write_run(tmp_path / lasts, steady()[:400], [f"compare.memory={lasts}"]))
        for lasts in ("21s", "9s")
    ]
    assert memory_check(of_memory[0], []).state == "warn"
    unsupported = memory_check(of_memory[1], [])
    assert unsupported.state == "warn"
    assert "compare.memory is below 10 s" in unsupported.finding
    assert str(unsupported.next_step).startswith("Leave out compare.memory")


@pytest.mark.parametrize(("until_s", "state"), [(12.5, "ok"), (13.5, "warn")])
def test_a_warm_up_that_goes_on_is_found(tmp_path: Path, until_s: float, state: str) -> None:
    # Windows are 2 s, and slow where most of their requests are: one until 12.5 s, two until 13.5.
    rows = [
        row._replace(ended_ns=row.scheduled_ns + 40_000_000)
        if row.arm == "candidate" and row.scheduled_ns < until_s * 1e9
        else row
        for row in steady()
    ]
    found = checks(tmp_path, rows)["warmup"]
    assert found.state == state
    if state == "warn":
        assert found.next_step == "Set traffic.warmup to 14 s or more."


def test_a_slow_start_that_is_no_slower_than_the_rest_is_noise(tmp_path: Path) -> None:
    rows = [
        row._replace(ended_ns=row.scheduled_ns + 20_000_000 + 6_000_000 * (row.seq // 40 % 3))
        for row in steady()
    ]
    assert checks(tmp_path, rows)["warmup"].state == "ok"


def test_a_slow_start_that_comes_back_once_later_is_noise(tmp_path: Path) -> None:
    # Slow until 14 s, and again from 100 to 102 s: one window of the second half is as slow.
    rows = [
        row._replace(ended_ns=row.ended_ns + 20_000_000)
        if row.scheduled_ns < 14e9 or 100e9 <= row.scheduled_ns < 102e9
        else row
        for row in steady()
    ]
    assert checks(tmp_path, rows)["warmup"].state == "ok"


def test_windows_of_few_requests_are_merged_before_a_start_is_called_slow(tmp_path: Path) -> None:
    # One request an arm and second, 120 in all: six windows, too few to call any.
    rows = [
        row._replace(ended_ns=row.ended_ns + 20_000_000) if row.scheduled_ns < 14e9 else row
        for row in steady()
        if row.seq % 20 < 2
    ]
    assert checks(tmp_path, rows)["warmup"].state == "ok"


def test_the_warm_up_that_was_cut_is_counted_where_a_look_cut_the_end_too(tmp_path: Path) -> None:
    decided = {"at_s": 70.0, "said": "Decided at look 2 of 5.", "windows": 0}
    found = checks(tmp_path, steady(), ended_as="stopped", decided=decided)["warmup"]
    assert found.finding == "the first 10 s (200 requests) are not judged"


@pytest.mark.parametrize(("jump_ms", "state"), [(0, "warn"), (30, "ok")])
def test_a_median_that_moves_within_the_scatter_of_windows_is_noise(
    tmp_path: Path, jump_ms: int, state: str
) -> None:
    # The last quarter, from 100 s on, is 8 ms slower; beside it every other window may jump.
    rows = [
        row._replace(
            ended_ns=row.ended_ns
            + 8_000_000 * (row.scheduled_ns >= 100e9)
            + jump_ms * 1_000_000 * (row.seq // 40 % 3 == 0)
        )
        for row in steady()
    ]
    found = checks(tmp_path, rows)["drift"]
    assert found.state == state
    assert "candidate +40.0%" in found.finding


@pytest.mark.parametrize(("distinct", "state"), [(9, "warn"), (10, "ok")])
def test_few_payloads_are_suspect(tmp_path: Path, distinct: int, state: str) -> None:
    rows = [row._replace(payload=row.seq // 2 % distinct) for row in steady()]
    found = checks(tmp_path, rows)["payloads"]
    assert found.state == state
    times = 2400 // distinct
    assert found.finding == f"{distinct} different payloads, each sent about {times} times"


def test_failures_that_come_together_are_suspect(tmp_path: Path) -> None:
    # Of 20 failures 10 lie within 18 x 50 ms from 60 s on, and 10 are spread over the run.
    together = [1200 + 2 * i for i in range(10)]
    spread = [300 + 200 * i + 1 for i in range(10)]
    rows = steady()
    for i in (*together, *spread):
        rows[i] = rows[i]._replace(outcome="throttled")
    found = checks(tmp_path / "burst", rows)["failures"]
    assert found.state == "warn"
    assert "20 of 2,400 requests failed, half of them within" in found.finding
    assert "from 60 s on" in found.finding
    rows = steady()
    for i in range(210, 2410, 110):
        rows[i] = rows[i]._replace(outcome="throttled")
    assert checks(tmp_path / "spread", rows)["failures"].state == "ok"


def test_failures_that_come_with_a_higher_rate_are_no_burst(tmp_path: Path) -> None:
    rows = steady()
    for i in range(1200, 1220):
        rows[i] = rows[i]._replace(outcome="throttled")
    assert checks(tmp_path / "even", rows)["failures"].state == "warn"
    stages = 'stages=[{ rate = 20.0, for = "60s" }, { rate = 40.0, for = "60s" }]'
    staged = [f'traffic={{ routing = "paired", warmup = "10s", {stages} }}']
    assert checks(tmp_path / "stages", rows, staged)["failures"].state == "ok"
    load = ["question=load", 'slo={ p99 = "1s" }']
    assert checks(tmp_path / "load", rows, load)["failures"].state == "ok"


def test_requests_in_flight_that_the_records_do_not_explain_are_suspect(tmp_path: Path) -> None:
    # 200 ms every 50 ms: when the fifth and every later one leaves, four are under way.
    rows = [
        record(i, ("current", "candidate")[i % 2], i * STEP_S, 200.5, slots_busy=min(i, 4))
        for i in range(2600)
    ]
    found = checks(tmp_path / "whole", rows)["in_flight"]
    assert found.state == "ok"
    assert found.finding.endswith("4.000 counted while sending, 4.000 by the recorded times")
    lost = checks(tmp_path / "lost", [row for row in rows if not 1000 <= row.seq < 1060])
    assert "in 1 of 60 windows" in lost["in_flight"].finding  # where the gap of 3 s ends
    thinned = checks(tmp_path / "thinned", [row for row in rows if row.seq % 4])["in_flight"]
    assert thinned.state == "warn"
    assert "in 60 of 60 windows" in thinned.finding


@pytest.mark.parametrize(("requests", "state"), [(150, "ok"), (200, "warn")])
def test_few_answers_show_no_drift(tmp_path: Path, requests: int, state: str) -> None:
    # Below 160 a quarter of an arm's answers is one window, and has no scatter to be held against.
    step_s = 120 / requests
    rows = [
        record(2 * i + n, arm, 10 + i * step_s, 20.0 + 10.0 * (i > requests / 2))
        for i in range(requests)
        for n, arm in enumerate(("current", "candidate"))
    ]
    found = checks(tmp_path, rows)["drift"]
    assert found.state == state
    assert ("not known" in found.finding) == (state == "ok")


def test_without_a_request_nothing_is_said_of_payloads(tmp_path: Path) -> None:
    assert "payloads" not in checks(tmp_path, [])
