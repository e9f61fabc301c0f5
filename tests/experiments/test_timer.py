import os
import select
import sys
import time

import pytest

from experiments.timer import Timer

linux = pytest.mark.skipif(sys.platform != "linux", reason="timer descriptors are Linux's")


@linux
def test_it_expires_when_it_is_due_and_says_so_once() -> None:
    timer = Timer()
    due_ns = time.perf_counter_ns() + 3_000_000
    timer.set(due_ns)
    assert not timer.has_expired()
    select.select([timer.fd], [], [], 20)
    assert time.perf_counter_ns() >= due_ns
    assert timer.has_expired()
    assert not timer.has_expired()
    timer.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(timer.fd)


@linux
def test_a_moment_that_has_passed_is_now_and_a_later_setting_counts() -> None:
    timer = Timer()
    timer.set(0)
    select.select([timer.fd], [], [], 20)
    timer.set(time.perf_counter_ns() + 60_000_000_000)
    assert not timer.has_expired()
    timer.close()


def test_another_system_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(OSError, match="Linux"):
        Timer()
