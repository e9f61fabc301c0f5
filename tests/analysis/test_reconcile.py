"""What CloudWatch counted, against the records: by hand-written minutes."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from analysis.load import load_test
from analysis.read import read_run
from analysis.reconcile import cloudwatch_of, reconciled_check
from analysis.render.format import counted
from experiments.errors import RunFolderError
from tests.analysis.runs import record, write_run

ZERO = datetime(2026, 1, 31, 12, 0, 20, tzinfo=UTC)
"""The records' time 0, so that requests of second 0 to 39 are of 12:00, and so on."""
LOAD = ["question=load", 'slo={p99="300ms"}']
FOREIGN = "limits={max_requests=100000, max_minutes=90, allow_foreign_traffic=true}"


def minute(number: int) -> str:
    return (datetime(2026, 1, 31, 12, tzinfo=UTC) + timedelta(minutes=number)).isoformat()


def metrics(invocations, *, model_us=3000.0, overhead_us=1000.0, **errors):
    """Give an arm's metrics, of counts by minute."""
    counts = {minute(n): float(count) for n, count in invocations.items()}

    def latency(us):
        return {
            "Sum": {at: us * count for at, count in counts.items()},
            "SampleCount": counts,
        }  # fmt: skip

    def failing(count):
        return {"Sum": {at: float(count) if at == minute(1) else 0.0 for at in counts}}

    return {
        "Invocations": {"Sum": counts},
        "Invocation4XXErrors": failing(errors.get("errors_4xx", 0)),
        "Invocation5XXErrors": failing(errors.get("errors_5xx", 0)),
        "ModelLatency": latency(model_us),
        "OverheadLatency": latency(overhead_us),
    }


def a_run(folder: Path, counted, *, records=None, overrides=(), first=(), missing=0, alike=None,
          **content):  # fmt: skip
    """Give a run of 100 requests a minute over 12:00, 12:01 and 12:02, half of them to each arm.

    It fills 12:01 only.
    """
    rows = records or [
        record(n, "current" if n % 2 else "candidate", n * 0.6, 10.0) for n in range(240)
    ]  # 66 of 12:00, 100 of 12:01 and 74 of 12:02
    write_run(folder, rows, [*LOAD, *overrides], first_requests=list(first))
    (folder / "timeline.jsonl").write_text(
        json.dumps({"at": minute(0), "kind": "start", "zero_at": ZERO.isoformat()}) + "\n"
    )
    read = {
        "read_at": minute(5), "from": minute(0), "to": minute(3),
        "arms": {
            arm: {"dimensions": {"VariantName": alike or arm}, "metrics": own}
            for arm, own in counted.items()
        },
        **content,
    }  # fmt: skip
    (folder / "cloudwatch.json").write_text(json.dumps(read))
    run = read_run(folder)
    return replace(run, counts={**run.counts, "missing": missing})


NEAR = 6
"""How many requests of each arm end within 2 s of 12:01:00 or 12:02:00, and may be of either side.

Of an arm that has the odd ones they end at 39.01, 40.21, 41.41, 99.01, 100.21 and 101.41 s.
"""
ALIKE = {0: 33, 1: 50, 2: 37}
"""The invocations of each arm, minute by minute, that the records explain."""


def test_what_the_records_explain_agrees_and_the_service_time_is_split(tmp_path: Path) -> None:
    run = a_run(tmp_path / "r", {"current": metrics(ALIKE), "candidate": metrics(ALIKE)})
    check = reconciled_check(run)
    assert (check.state, check.next_step) == ("ok", None)
    assert "current 50 invocations for 50 requests" in check.finding
    found = load_test(run).cloudwatch
    (current, _) = found.arms
    assert (current.invocations, current.records) == (50, 50)
    # By hand: 10 ms at the client, 3 of them in the model, 1 around it.
    assert current.client_ms == pytest.approx(10.0)
    assert (current.model_ms, current.overhead_ms) == pytest.approx((3.0, 1.0))
    assert current.network_ms == pytest.approx(6.0)
    assert found.complete_through == minute(3)


def a_minute_longer():
    """Give records that fill 12:01 and 12:02, of which those of 12:02 take 30 ms."""
    return [record(n, "current", n * 0.6, 10.0 if n < 167 else 30.0) for n in range(320)]


def test_means_are_of_the_minutes_that_cloudwatch_has_latencies_of(tmp_path: Path) -> None:
    own = metrics({1: 100, 2: 100})
    own["ModelLatency"]["Sum"] = {minute(1): 100 * 2000.0, minute(2): 100 * 8000.0}
    rows = a_minute_longer()
    both = a_run(tmp_path / "b", {"current": own}, records=rows, to=minute(4))
    (found,) = cloudwatch_of(both).arms
    # By hand: (2 + 8) / 2 in the model, (10 + 30) / 2 at the client, 1 around the model.
    assert (found.client_ms, found.model_ms) == pytest.approx((20.0, 5.0))
    assert found.network_ms == pytest.approx(14.0)
    own["ModelLatency"] = {"Sum": {minute(1): 200_000.0}, "SampleCount": {minute(1): 100.0}}
    own["OverheadLatency"] = {"Sum": {minute(1): 100_000.0}, "SampleCount": {minute(1): 100.0}}
    one = a_run(tmp_path / "o", {"current": own}, records=rows, to=minute(4))
    (found,) = cloudwatch_of(one).arms
    assert (found.client_ms, found.network_ms) == pytest.approx((10.0, 10.0 - 2.0 - 1.0))


@pytest.mark.parametrize(
    ("outcome", "model_us", "more", "why"),
    [("model_timeout", 3000.0, 0, "timed out or broke off"), ("ok", 9500.0, 0, "longer than the"),
     ("ok", 3000.0, NEAR + 3, "of others' calls")],
)  # fmt: skip
def test_without_latencies_of_the_same_requests_there_is_no_network(
    tmp_path: Path, outcome: str, model_us: float, more: int, why: str
) -> None:
    rows = [
        record(n, "current", n * 1.2, 10.0, outcome=outcome if n == 60 else "ok")
        for n in range(120)
    ]
    own = metrics({1: 50 + more}, model_us=model_us)
    run = a_run(tmp_path / "r", {"current": own}, records=rows, overrides=[FOREIGN])
    found = cloudwatch_of(run)
    assert (found.arms[0].network_ms, why in found.notes[-1]) == (None, True), found.notes


@pytest.mark.parametrize(
    ("more", "state", "said"),
    [({1: 51 + NEAR}, "warn", "no record explains 1 of current"),
     ({1: 57 + NEAR}, "fail", "7 of current"),
     ({0: 34}, "ok", "50 invocations"), ({0: 134, 2: 137}, "ok", "50 invocations")],
)  # fmt: skip
def test_invocations_without_a_record_are_named_with_a_next_step(
    tmp_path: Path, more, state: str, said: str
) -> None:
    run = a_run(tmp_path / "r", {"current": metrics(ALIKE | more), "candidate": metrics(ALIKE)})
    check = reconciled_check(run)
    assert (check.state, said in check.finding) == (state, True), check.finding
    assert (state == "ok") == (check.next_step is None)
    if state == "ok":
        return
    assert "limits.allow_foreign_traffic" in check.next_step
    allowed = a_run(
        tmp_path / "a",
        {"current": metrics(ALIKE | more), "candidate": metrics(ALIKE)},
        overrides=[FOREIGN],
    )
    assert reconciled_check(allowed).state == "ok"
    (current, _) = cloudwatch_of(allowed).arms
    assert (current.invocations, current.records) == (more[1], 50)
    said = counted(more[1] - 50 - NEAR, "invocation")
    assert f"No record explains {said} of current." in cloudwatch_of(allowed).notes


def test_a_run_that_fills_no_minute_may_have_others_calls_beside_it(tmp_path: Path) -> None:
    rows = [record(n, "current", n * 0.6, 10.0) for n in range(60)]
    run = a_run(tmp_path / "r", {"current": metrics({0: 120})}, records=rows, to=minute(1))
    assert reconciled_check(run).state == "ok"
    notes = " ".join(cloudwatch_of(run).notes)
    assert "fills no whole minute" in notes
    assert "A run of 125 s or more, its warm-up included, fills one." in notes
    assert "No record explains 60 invocations of current" in notes


@pytest.mark.parametrize("at", ["12:00:58.5", "12:01:00", "12:02:01.5"])
def test_first_requests_and_retries_that_are_known_are_explained(tmp_path: Path, at: str) -> None:
    first = {"at": f"2026-01-31T{at}+00:00", "arm": "current", "variant": "current"}
    before = {**first, "at": "2026-01-31T12:00:57+00:00"}
    rows = [record(n, "current", n * 0.6, 10.0, retries=int(n == 100)) for n in range(240)]
    for extra, state in ((0, "ok"), (1, "warn")):
        counts = {1: 100 + 2 * NEAR + 1 + 1 + extra}
        run = a_run(
            tmp_path / f"{extra}", {"current": metrics(counts)}, records=rows,
            first=[first, before],
        )  # fmt: skip
        assert reconciled_check(run).state == state


def test_failures_whose_arm_nobody_knows_may_be_any_arms(tmp_path: Path) -> None:
    rows = [
        record(n, None if n in (100, 120) else "current" if n % 2 else "candidate", n * 0.6, 10.0,
               outcome="model_error" if n in (100, 120) else "ok") for n in range(240)
    ]  # fmt: skip
    counted = {"current": metrics(ALIKE), "candidate": metrics({1: 48 + 2 + NEAR}, errors_5xx=2)}
    weighted = ["traffic.routing=weighted"]
    run = a_run(tmp_path / "r", counted, records=rows, overrides=weighted)
    assert reconciled_check(run).state == "ok"
    counted["candidate"] = metrics({1: 48 + 2 + NEAR + 1}, errors_5xx=2)
    more = a_run(tmp_path / "m", counted, records=rows, overrides=weighted)
    assert "no record explains 1 of candidate" in reconciled_check(more).finding


def test_requests_that_may_or_may_not_have_reached_a_variant_are_neither_more_nor_fewer(
    tmp_path: Path,
) -> None:
    outcomes = {101: "timeout", 103: "throttled", 105: "validation", 107: "dropped"}
    rows = [
        record(n, "current" if n % 2 else "candidate", n * 0.6, 10.0,
               outcome=outcomes.get(n, "ok")) for n in range(240)
    ]  # fmt: skip
    # 49 were sent in that minute, and 46 answered.
    for number, state in ((49 + NEAR, "ok"), (46 - NEAR, "ok"), (45 - NEAR, "warn")):
        counted = {"current": metrics({1: number}), "candidate": metrics(ALIKE)}
        run = a_run(tmp_path / f"{number}", counted, records=rows)
        assert reconciled_check(run).state == state, number
    assert "does not have 1 of current" in reconciled_check(run).finding


@pytest.mark.parametrize(("missing", "state"), [(1, "warn"), (2, "ok")])
def test_requests_that_left_no_record_explain_as_many(tmp_path: Path, missing, state) -> None:
    more = metrics(ALIKE | {1: 51 + NEAR})
    run = a_run(tmp_path / "r", {"current": more, "candidate": more}, missing=missing)
    assert reconciled_check(run).state == state


def test_arms_that_cloudwatch_counts_together_are_held_against_it_together(tmp_path: Path) -> None:
    whole = metrics({1: 100})
    run = a_run(tmp_path / "r", {"current": whole, "candidate": whole}, alike="AllTraffic")
    assert reconciled_check(run).state == "ok"
    (both,) = cloudwatch_of(run).arms
    assert (both.arm, both.invocations, both.records) == ("current and candidate", 100, 100)


def test_what_is_missing_is_said_and_fails_nothing(tmp_path: Path) -> None:
    untold = a_run(tmp_path / "u", {"current": metrics(ALIKE)})
    assert reconciled_check(untold).state == "ok"
    assert "CloudWatch does not tell candidate" in " ".join(cloudwatch_of(untold).notes)
    silent = a_run(tmp_path / "s", {"current": metrics({}), "candidate": metrics({})})
    assert reconciled_check(silent) is None
    assert "had nothing of current and candidate" in " ".join(cloudwatch_of(silent).notes)
    assert cloudwatch_of(silent).arms[0].network_ms is None
    unread = a_run(tmp_path / "n", {}, note="CloudWatch could not be read: AccessDenied.")
    assert (reconciled_check(unread), cloudwatch_of(unread).arms) == (None, ())
    assert cloudwatch_of(unread).notes == ("CloudWatch could not be read: AccessDenied.",)


def test_a_damaged_file_is_said(tmp_path: Path) -> None:
    run = a_run(tmp_path / "r", {"current": {}})
    with pytest.raises(RunFolderError, match=r"cloudwatch\.json: damaged"):
        cloudwatch_of(run)


def test_a_timeline_that_was_removed_is_named(tmp_path):
    run = a_run(tmp_path / "run", {"current": {1: 50}})
    (tmp_path / "run" / "timeline.jsonl").unlink()
    with pytest.raises(RunFolderError, match=r"timeline\.jsonl: does not say when the run began"):
        cloudwatch_of(run)
