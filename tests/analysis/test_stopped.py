"""A comparison that its failures stopped: whose they were decides, and how sure that is."""

from pathlib import Path

import pytest

import analysis
from tests.analysis.runs import record, write_run

LIMITS = "limits={max_requests=100000, max_minutes=9, abort_error_rate=0.2}"
REASON = "50 of 200 requests failed, more than limits.abort_error_rate = 0.2 allows."


def judged(folder: Path, failed: dict[str, int], requests: int = 100) -> analysis.Report:
    """Judge a run that stopped in its warm-up, with so many failures of each arm."""
    rows = []
    for n in range(requests):
        for place, arm in enumerate(failed):
            fails = n * failed[arm] // requests < (n + 1) * failed[arm] // requests
            outcome = "internal" if fails else "ok"
            rows.append(record(2 * n + place, arm, n / 40, 5.0, outcome=outcome))
    write_run(folder, rows, [LIMITS], ended_as="failing", reason=REASON, planned=9999)
    return analysis.compare(analysis.read_run(folder)).report


@pytest.mark.parametrize(
    ("current", "candidate", "state", "code"),
    [
        (0, 50, "worse", 1),
        (10, 60, "worse", 1),
        (50, 0, "undecided", 3),
        (50, 60, "untrusted", 4),
        (100, 100, "untrusted", 4),
        # Above the limit in both arms, and told apart all the same.
        (30, 100, "worse", 1),
        # 21 and 20 of 100: neither is told from the other.
        (20, 21, "untrusted", 4),
    ],
)
def test_whose_failures_they_are_decides(
    current: int, candidate: int, state: str, code: int, tmp_path: Path
) -> None:
    report = judged(tmp_path / "run", {"current": current, "candidate": candidate})
    assert (report.verdict.state, report.verdict.exit_code) == (state, code)
    found = {check.name: check.state for check in report.checks}
    assert "failures" not in found  # of no request that was measured
    assert found["records"] == ("fail" if state == "untrusted" else "warn")
    if state == "worse":
        assert report.verdict.sentence == (
            f"Don't ship candidate: {candidate} of 100 requests to candidate failed; "
            f"{current} of 100 requests to current failed."
        )
        assert report.verdict.context[0] == REASON
    if current == 50 and state == "undecided":
        assert "of the baseline, 50 of 100 requests to current failed" in report.verdict.sentence


def test_failing_in_every_arm_leaves_the_worse_one_worse_once_measuring_has_begun(
    tmp_path: Path,
) -> None:
    rows = [
        record(n, arm, 9 + n / 40, 5.0, outcome="internal" if fails else "ok")
        for n in range(400)
        for arm, fails in [(("current", n % 6 < 2), ("candidate", True))[n % 2]]
    ]
    write_run(tmp_path / "run", rows, [LIMITS], ended_as="failing", reason=REASON, planned=9999)
    report = analysis.compare(analysis.read_run(tmp_path / "run")).report
    assert {check.name: check.state for check in report.checks}["failures"] == "warn"
    assert report.verdict.state == "worse"


def test_a_run_that_was_not_stopped_is_judged_as_ever(tmp_path: Path) -> None:
    rows = [record(n, ("current", "candidate")[n % 2], n / 40, 5.0) for n in range(800)]
    write_run(tmp_path / "run", rows)
    report = analysis.compare(analysis.read_run(tmp_path / "run")).report
    assert "abort_error_rate" not in report.verdict.sentence
