"""Whatever an endpoint answers and the disk does, rows are written in order or kept."""

import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gevent
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.record import SCHEMA
from experiments.run_folder import read_stream
from experiments.traffic.recorder import SLICE_ROWS, Recorder, counter
from tests.analysis.runs import record

NUMBERS = pa.schema([pa.field("seq", pa.int64())])


def numbers(path: Path, rows: range = range(0)) -> Recorder:
    recorder = Recorder(path, NUMBERS, {})
    for seq in rows:
        recorder.append((seq,))
    return recorder


def read(path: Path) -> tuple[list[int], bool]:
    table, whole = read_stream(path)
    assert table is not None
    return table["seq"].to_pylist(), whole


@contextmanager
def disk_full_at(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond `size` bytes: the write that would is cut short."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_an_odd_value_costs_itself_and_not_the_batch(tmp_path: Path) -> None:
    path = tmp_path / "requests-0.arrows"
    recorder = Recorder(path, SCHEMA, {"worker": "0"})
    recorder.append(record(0, "a", 1.0, 5.0, prediction="\ud800x", error=None))
    recorder.append(record(1, "a", 1.0, 5.0, original_status=10**9, prediction="fine"))
    recorder.append(record(2, "a", 1.0, 5.0, original_status=500, content_type=7))
    recorder.close()
    table, whole = read_stream(path)
    assert whole
    assert table is not None
    assert table["prediction"].to_pylist() == ["?x", "fine", "1"]
    assert table["original_status"].to_pylist() == [None, None, 500]
    assert table["content_type"].to_pylist() == ["application/json"] * 2 + [None]
    assert table["seq"].to_pylist() == [0, 1, 2]
    assert table.schema.metadata[b"worker"] == b"0"


def test_a_flush_lets_timers_run_between_its_slices(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "r.arrows", SCHEMA, {})
    for seq in range(5000):
        recorder.append(record(seq, "a", 1.0, 5.0))
    turns = 0

    def other() -> None:
        nonlocal turns
        while True:
            gevent.sleep(0.0001)
            turns += 1

    greenlet = gevent.spawn(other)
    gevent.sleep(0)
    recorder.flush()
    assert turns >= 5000 // SLICE_ROWS - 1
    greenlet.kill()
    recorder.close()
    assert read(tmp_path / "r.arrows") == (list(range(5000)), True)


FIRST_FLUSH = """
import sys
from pathlib import Path
import pyarrow as pa
from experiments.traffic.recorder import Recorder
recorder = Recorder(Path(sys.argv[1]), pa.schema([pa.field("seq", pa.int64())]), {})
before = set(sys.modules)
recorder.append((1,))
recorder.flush()
print(sorted({name.split(".")[0] for name in set(sys.modules) - before}))
"""


def test_the_first_flush_imports_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FIRST_FLUSH, str(tmp_path / "r.arrows")]
    ended = subprocess.run(command, check=True, capture_output=True, text=True)
    assert ended.stdout == "[]\n"


def test_a_locustfile_may_use_pandas() -> None:
    code = "from experiments.traffic import EndpointUser; import pandas; print(pandas.array([1]))"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_a_slice_is_a_batch_and_an_empty_flush_is_none(tmp_path: Path) -> None:
    recorder = numbers(tmp_path / "r.arrows", range(2 * SLICE_ROWS + 1))
    recorder.flush()
    recorder.flush()
    recorder.close()
    batches = list(pa.ipc.open_stream(tmp_path / "r.arrows"))
    assert [batch.num_rows for batch in batches] == [SLICE_ROWS, SLICE_ROWS, 1]


def test_what_comes_during_a_flush_waits_for_the_next(tmp_path: Path) -> None:
    recorder = numbers(tmp_path / "r.arrows", range(SLICE_ROWS + 1))
    first = gevent.spawn(recorder.flush)
    gevent.sleep(0)
    assert recorder.written == SLICE_ROWS
    recorder.append((SLICE_ROWS + 1,))
    first.get()
    assert recorder.written == SLICE_ROWS + 1
    recorder.close()
    assert read(tmp_path / "r.arrows") == (list(range(SLICE_ROWS + 2)), True)


STEPS = st.lists(st.one_of(st.integers(1, 3 * SLICE_ROWS), st.sampled_from(["flush", "yield"])))


@settings(max_examples=40, deadline=None)
@given(STEPS)
def test_flushes_that_overlap_keep_every_row_in_order(steps: list[int | str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "r.arrows"
        recorder = numbers(path)
        flushes, rows = [], 0
        for step in steps:
            if step == "flush":
                flushes.append(gevent.spawn(recorder.flush))
            elif step == "yield":
                gevent.sleep(0)
            else:
                for _ in range(int(step)):
                    recorder.append((rows,))
                    rows += 1
        closing = gevent.spawn(recorder.close)
        gevent.joinall([*flushes, closing], raise_error=True)
        assert read(path) == (list(range(rows)), True)
        assert recorder.written == rows


def test_a_flush_that_is_killed_loses_nothing(tmp_path: Path) -> None:
    recorder = numbers(tmp_path / "r.arrows", range(3 * SLICE_ROWS))
    flush = gevent.spawn(recorder.flush)
    waiting = gevent.spawn(recorder.flush)
    gevent.sleep(0)
    gevent.killall([flush, waiting])
    assert recorder.written == SLICE_ROWS
    recorder.close()
    assert read(tmp_path / "r.arrows") == (list(range(3 * SLICE_ROWS)), True)


# A batch of 256 numbers takes 2,048 bytes and a header: the second one is cut in its middle.
CUT = 4000


def test_rows_that_the_disk_refused_are_written_when_it_takes_them(tmp_path: Path) -> None:
    path = tmp_path / "r.arrows"
    recorder = numbers(path, range(3 * SLICE_ROWS))
    with disk_full_at(CUT), pytest.raises(OSError, match="File too large") as refused:
        recorder.flush()
    assert refused.value.filename == str(path)
    assert recorder.written == SLICE_ROWS
    assert read(path) == (list(range(SLICE_ROWS)), False)
    recorder.append((3 * SLICE_ROWS,))
    recorder.close()
    assert read(path) == (list(range(3 * SLICE_ROWS + 1)), True)


def test_a_close_that_the_disk_refuses_counts_what_is_lost_and_ends(tmp_path: Path) -> None:
    path = tmp_path / "r.arrows"
    recorder = numbers(path, range(3 * SLICE_ROWS))
    with disk_full_at(CUT):
        flushes = [gevent.spawn(recorder.flush) for _ in range(2)]
        errors = [flush.join() or flush.exception for flush in flushes]
        assert [type(error) for error in errors] == [OSError, OSError]
        with pytest.raises(OSError, match="File too large"):
            recorder.close()
        recorder.close()
    assert recorder.written == SLICE_ROWS
    assert read(path) == (list(range(SLICE_ROWS)), False)


def test_the_longest_slice_is_taken_once(tmp_path: Path) -> None:
    recorder = numbers(tmp_path / "r.arrows", range(10))
    assert recorder.take_longest_ns() == 0
    recorder.flush()
    longest_ns = recorder.longest_ns
    assert longest_ns > 0
    assert recorder.take_longest_ns() == longest_ns
    assert recorder.take_longest_ns() == 0
    recorder.close()


def test_a_counter_is_in_its_file_at_once(tmp_path: Path) -> None:
    number = counter(tmp_path / "begun")
    for expected in (0, 1, 2**40):
        number[0] = expected
        assert int.from_bytes((tmp_path / "begun").read_bytes(), sys.byteorder) == expected
