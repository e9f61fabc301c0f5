import http.client
import json
import sys
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.generator.server import BODY, Timing
from benchmarks.generator.target import PATH, Target, serving

linux = pytest.mark.skipif(sys.platform != "linux", reason="timerfd is Linux's")

MS = 1_000_000


def post(
    connection: http.client.HTTPConnection, path: str = PATH, **headers: str
) -> http.client.HTTPResponse:
    connection.request("POST", path, b"{}", {k.replace("_", "-"): v for k, v in headers.items()})
    return connection.getresponse()


def connect(target: Target) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", target.port, timeout=30)


@given(
    arrived_ms=st.integers(0, 300),
    delay_ms=st.integers(1, 40),
    stall_ms=st.integers(0, 50),
)
def test_no_work_is_done_in_a_stall(arrived_ms: int, delay_ms: int, stall_ms: int) -> None:
    period_ms = 100
    now_ms, to_do_ms = arrived_ms, delay_ms
    while to_do_ms:  # the oracle works a millisecond at a time
        to_do_ms -= now_ms % period_ms >= stall_ms
        now_ms += 1
    timing = Timing(delay_ns=delay_ms * MS, period_ns=period_ms * MS, stall_ns=stall_ms * MS)
    epoch_ns = 12_345
    assert timing.due_ns(epoch_ns + arrived_ms * MS, epoch_ns) == epoch_ns + now_ms * MS


@linux
def test_it_answers_after_the_delay_and_says_what_it_took() -> None:
    with serving(delay_ms=3) as target:
        connection = connect(target)
        answers = []
        for user in range(20):
            answer = post(connection, x_user=str(user), x_amzn_sagemaker_inference_id=f"id-{user}")
            assert answer.read() == BODY
            assert answer.headers["x-amzn-invoked-production-variant"] == "a"
            answers.append(int(answer.headers["x-server-ns"]))
        connection.close()
        log = target.take_log()
        assert log["own_ns"].tolist() == answers
        assert log["user"].tolist() == [str(user) for user in range(20)]
        assert log["inference_id"].tolist() == [f"id-{user}" for user in range(20)]
        assert min(answers) >= 3 * MS
        assert log["arrived_ns"].is_monotonic_increasing
        assert target.take_log().empty


@linux
def test_what_comes_in_a_stall_is_answered_after_it_in_order() -> None:
    with serving(delay_ms=5, stall_every_s=60, stall_for_s=0.5) as target:

        def ask(user: int) -> None:
            connection = connect(target)
            post(connection, x_user=str(user)).read()
            connection.close()

        began = time.perf_counter()
        users = [threading.Thread(target=ask, args=(user,)) for user in range(5)]
        for user in users:
            user.start()
            time.sleep(0.02)
        for user in users:
            user.join()
        assert time.perf_counter() - began >= 0.505
        log = target.take_log()
        ended_ns = log["arrived_ns"] + log["own_ns"]
        assert log["user"].tolist() == ["0", "1", "2", "3", "4"]
        assert ended_ns.is_monotonic_increasing
        assert (ended_ns - log["arrived_ns"].iloc[0]).min() >= 505 * MS
        after = connect(target)
        post(after).read()
        after.close()
        assert target.take_log()["own_ns"].item() < 400 * MS


@linux
def test_it_has_no_control_plane_and_knows_when_it_is_pinged() -> None:
    with serving(delay_ms=0) as target:
        connection = connect(target)
        denied = post(connection, "/", X_Amz_Target="SageMaker.DescribeEndpoint")
        assert denied.status == 400
        assert json.loads(denied.read())["__type"] == "AccessDeniedException"
        for path, status in (("/ping", 200), ("/elsewhere", 404)):
            connection.request("GET", path)
            answer = connection.getresponse()
            assert (answer.status, answer.read()) == (status, b"")
        connection.close()
        assert target.take_log().empty
