"""CloudWatch is read when it has a run's last minute, and what it has of it changes no more."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import botocore.exceptions as failures
import pytest

from experiments.run_folder import RunFolder
from experiments.sagemaker import cloudwatch
from tests.analysis.runs import record, write_run
from tests.experiments.sagemaker.services import answering

ZERO = (datetime.now(UTC) - timedelta(minutes=4)).replace(second=20, microsecond=0)
FIRST = ZERO.replace(second=0).timestamp()
SCRIPT: list[Any] = [
    ({0: 500}, "Complete"),  # more than the run sent, and without the last minutes
    ({0: 500, 1: 100, 2: 30}, "PartialData"),
    ({0: 500, 1: 100, 2: 30}, "PartialData"),
    ({0: 500, 1: 100, 2: 34}, "Complete"),
    ({0: 500, 1: 100, 2: 37}, "Complete"),
    ({0: 500, 1: 100, 2: 37}, "Complete"),
]


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloudwatch, "_FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(cloudwatch, "_MOST_PAUSE_S", 0.01)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "local")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "local")


def a_run(folder: Path, url: str, wait: str) -> RunFolder:
    """Give a run of 144 s, which ended a minute ago or more."""
    rows = [record(n, "current" if n % 2 else "candidate", n * 0.6, 10.0) for n in range(240)]
    endpoint = f'endpoint={{name="digits", target="{url}", region="us-east-1"}}'
    write_run(folder, rows, [endpoint, f'cloudwatch.wait="{wait}"'])
    start = {"at": ZERO.isoformat(), "kind": "start", "zero_at": ZERO.isoformat()}
    (folder / "timeline.jsonl").write_text(json.dumps(start) + "\n")
    return RunFolder(folder)


@pytest.mark.parametrize(("wait", "calls"), [("1h", 6), ("0s", 1)])
def test_it_waits_for_the_last_minute_until_nothing_changes(
    tmp_path: Path, wait: str, calls: int
) -> None:
    asked: list[dict[str, Any]] = []

    def respond(operation: str, given: dict[str, Any]) -> dict[str, Any]:
        counts, status = SCRIPT[len(asked)]
        asked.append(given)
        times = [FIRST + 60 * number for number in counts]
        return {
            "MetricDataResults": [
                {"Id": query["Id"], "Timestamps": times, "Values": list(counts.values()),
                 "StatusCode": status} for query in given["MetricDataQueries"]
            ]
        }  # fmt: skip

    with answering(respond) as url:
        found = cloudwatch.read(a_run(tmp_path / "r", url, wait))
    assert len(asked) == calls
    for arm in ("current", "candidate"):
        metrics = found["arms"][arm]["metrics"]
        assert list(metrics["Invocations"]["Sum"].values()) == list(SCRIPT[calls - 1][0].values())


@pytest.mark.parametrize(
    ("codes", "raised"),
    [(["AccessDeniedException"], "AccessDeniedException"), (["ThrottlingException"] * 6, None)],
)
def test_a_refusal_ends_it_and_a_blip_does_not(
    tmp_path: Path, codes: list[str], raised: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0)

    def respond(operation: str, given: dict[str, Any]) -> dict[str, Any] | str:
        if codes:
            return codes.pop()
        return {
            "MetricDataResults": [
                {"Id": query["Id"], "Timestamps": [FIRST + 120], "Values": [37],
                 "StatusCode": "Complete"} for query in given["MetricDataQueries"]
            ]
        }  # fmt: skip

    with answering(respond) as url:
        run = a_run(tmp_path / "r", url, "1h")
        if raised is None:
            assert cloudwatch.read(run)["arms"]
        else:
            with pytest.raises(failures.ClientError, match=raised):
                cloudwatch.read(run)
    assert codes == []
