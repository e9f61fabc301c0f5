from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from benchmarks.endpoint import signed, throughput, timing
from experiments.local import sigv4
from experiments.local.config import Key
from experiments.local.http import Request

SAID = """\
Running 3s test @ http://127.0.0.1:1/
  Latency Distribution
     50%    4.05ms
     99%  843.00us
  40659 requests in 3.01s, 9.03MB read
  Non-2xx or 3xx responses: 7
Requests/sec:  13528.56
"""


def test_what_wrk_says_is_read() -> None:
    assert throughput.read_wrk(SAID) == (40659, 3.01, pytest.approx(0.843), 7)
    without = SAID.replace("  Non-2xx or 3xx responses: 7\n", "")
    assert throughput.read_wrk(without)[3] == 0
    with pytest.raises(RuntimeError, match="unable to connect"):
        throughput.read_wrk("unable to connect")


def test_the_message_is_signed_for_the_endpoint() -> None:
    head, _, body = signed.message(8099).partition(b"\r\n\r\n")
    line, *lines = head.decode().split("\r\n")
    method, target, _ = line.split(" ")
    headers = {name.lower(): value for name, value in (one.split(": ", 1) for one in lines)}
    sigv4.verify(
        Request(method=method, target=target, headers=headers, body=body),
        {"local": Key(secret_access_key="local", account="123456789012")},
        region="us-east-1",
        service="sagemaker",
        now=datetime.now(UTC),
    )
    assert int(headers["content-length"]) == len(body)


def test_an_answer_is_late_by_its_end_over_what_was_stated() -> None:
    second = 1_000_000_000
    log = pd.DataFrame(
        {
            "arrived_ns": [0, 2 * second, 3 * second],
            "wait_ns": [0, 1_000_000, 0],
            "service_ns": [5_000_000] * 3,
            "ended_ns": [9 * second, 2 * second + 6_250_000, 3 * second + 5_100_000],
        }
    )
    assert np.allclose(timing.late_ms(log), [0.25, 0.1])
