"""What the benchmark counts is what was sent."""

import shutil
import sys
import urllib.request
from pathlib import Path

import pytest

from benchmarks.transport import accuracy, throughput, tools
from benchmarks.transport.sink import serving

pytestmark = pytest.mark.skipif(
    not (shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")),
    reason="nginx is not installed",
)
SENDER = """
import sys, time, urllib.request
while True:
    urllib.request.urlopen(urllib.request.Request(sys.argv[1], data=b"{}")).read()
    time.sleep(0.005)
"""


def test_the_sink_counts_requests_and_answers_as_an_endpoint_does() -> None:
    with serving() as sink:
        before = sink.served()
        url = sink.url(is_tls=False) + "/endpoints/benchmark/invocations"
        for _ in range(5):
            with urllib.request.urlopen(urllib.request.Request(url, data=b"{}")) as answer:
                assert answer.headers["x-amzn-invoked-production-variant"] == "a"
                answer.read()
        assert sink.served() == before + 6


def test_a_tool_is_measured_and_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    def sender(job: tools.Job) -> tools.Command:
        return [sys.executable, "-c", SENDER, job.url + "/x"], {}

    monkeypatch.setattr(throughput.table, "WARMUP_S", 0)
    with serving() as sink:
        # The certificate is not in the bundle of urllib, so in plain HTTP.
        found = throughput.measure(sender, sink, is_tls=False, users=1, seconds=1)
        silent = [sys.executable, "-c", "raise SystemExit(3)"]
        with pytest.raises(RuntimeError, match="exit code 3"):
            throughput.measure(lambda _: (silent, {}), sink, is_tls=False, users=1, seconds=1)
    assert 5 < found["requests/s"] <= 200
    assert 0 < found["of a core"] < 1.1
    assert found["CPU us/request"] == pytest.approx(
        found["of a core"] / found["requests/s"] * 1e6, rel=1e-6
    )


def test_what_is_not_installed_is_left_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tools, "_installed", lambda name: None)
    job = tools.Job(url="", users=1, seconds=1, folder=tmp_path, certificate=tmp_path)
    assert [tool(job) for tool in (tools.k6, tools.hey, tools.autocannon, tools.wrk)] == [None] * 4


def test_the_quantiles_of_wrk_are_read() -> None:
    said = "  Latency Distribution\n     50%    2.14ms\n     75%  900.00us\n     99%    1.02s\n"
    assert accuracy._WRK_LINE.findall(said) == [("50", "2.14", "ms"), ("99", "1.02", "s")]
