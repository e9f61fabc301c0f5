"""Streams of known truth: what is recorded of their first bytes, by the schedule and by a user."""

from pathlib import Path

import numpy as np
import pytest

import analysis
from tests.end_to_end.conftest import NO_VERDICT, Command, finish, only_run
from tests.end_to_end.test_own_locustfile import CLOSED, HEAD, locust

ENDPOINT = """
name = "shop"
served_log = "served.csv"
[variants.current]
simulated = { constant = "60ms", chunks = 6, workers = 32 }
[variants.candidate]
simulated = { constant = "60ms", chunks = 5, workers = 32 }
[[faults]]
kind = "model_stream_error"
variant = "candidate"
share = "10%"
"""
TRUTH_MS = {"current": 10.0, "candidate": 12.0}
"""Parts come evenly over the service time."""
STREAM = ("--set", "request.operation=stream")

READING = """
class Reader(EndpointUser):
    wait_time = constant(0.05)

    @task
    def read(self):
        answer = self.client.invoke_endpoint_with_response_stream(
            EndpointName="shop", TargetVariant="current", Body='{"x": 3}'
        )
        with_parts = [event["PayloadPart"]["Bytes"].decode() for event in answer["Body"]]
        note(kind="stream", parts=with_parts, variant=answer["InvokedProductionVariant"])
"""


@pytest.fixture(autouse=True)
def _streams(plan: Path) -> None:
    (plan.parent / "shop.endpoint.toml").write_text(ENDPOINT)


def assert_timed(run: analysis.Run, arm: str) -> None:
    good = run.measured.query("outcome == 'ok' and arm == @arm")
    # Not the median, to which a busy machine adds more than the endpoint takes.
    first_ms = float((good["first_byte_ms"] - good["sent_ms"]).quantile(0.1))
    whole_ms = float((good["ended_ms"] - good["sent_ms"]).quantile(0.1))
    assert TRUTH_MS[arm] < first_ms < TRUTH_MS[arm] + 8
    assert 60 < whole_ms < 80
    assert set(good["chunks"]) == {round(60 / TRUTH_MS[arm])}
    assert float(good["longest_gap_ms"].median()) > TRUTH_MS[arm] - 1
    assert np.array_equal(run.measured["ttfb_ms"] > 0, np.ones(len(run.measured)))


def test_first_bytes_are_recorded_as_they_truly_came(plan: Path, abreast: Command) -> None:
    done = abreast("run", str(plan), *STREAM, "--set", "compare.margins.ttfb_p50=5%")
    assert "TTFB p50" in done.stdout, done.stderr
    run = analysis.read_run(only_run(plan.parent / "reports"))
    for arm in TRUTH_MS:
        assert_timed(run, arm)
    broken = run.requests.query("outcome != 'ok'")
    assert set(broken["arm"]) == {"candidate"}
    assert set(broken["outcome"]) == {"stream_error"}
    assert set(broken["http_status"]) == {200}
    assert set(broken["chunks"]) == {1}
    assert broken["response_digest"].isna().all()
    assert (broken["bytes_in"] > 0).all()
    assert broken["error"].str.contains("ModelStreamError").all()


def test_a_locustfile_reads_a_stream_as_from_boto3(closed: Path) -> None:
    process = locust(closed, HEAD + READING, *CLOSED, *STREAM)
    _, err = finish(process)
    assert process.returncode in NO_VERDICT, err
    assert_timed(analysis.read_run(only_run(closed.parent / "reports")), "current")
    part = r'"{\"predictions\": [{\"label\": 0}]}\n"'
    seen = (closed.parent / "seen.jsonl").read_text()
    assert f'"parts": [{", ".join([part] * 6)}]' in seen
