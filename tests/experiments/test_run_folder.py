"""A run folder keeps what was written: torn streams, accounts that add up, one compact table."""

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments import run_folder
from experiments.errors import RunFolderError
from experiments.record import HEALTH_SCHEMA, SCHEMA, Record
from experiments.run_folder import RunFolder
from experiments.traffic.recorder import Recorder, counter


def record(seq: int) -> Record:
    return Record(
        seq=seq, group=None, phase="measure", arm="a", scheduled_ns=seq, started_ns=seq,
        sent_ns=None, first_byte_ns=None, ended_ns=seq + 5, variant_asked="a",
        variant_invoked="a", payload=0, outcome="ok", http_status=200, original_status=None,
        error=None, request_id=None, content_type=None, bytes_out=1, bytes_in=1,
        response_digest=None, prediction=None, retries=0, new_connection=False, slots_busy=0,
        worker=0, slot=0,
    )  # fmt: skip


def made(tmp_path: Path) -> RunFolder:
    folder = run_folder.create(tmp_path, "my plan/x", "seed = 1\n")
    run_folder.write_manifest(folder, {"run_id": folder.run_id})
    return folder


def fill(folder: RunFolder, worker: int, batches: list[list[int]]) -> Path:
    path = folder.raw / f"requests-{worker}.arrows"
    recorder = Recorder(path, SCHEMA, {"worker": str(worker)})
    for batch in batches:
        for seq in batch:
            recorder.append(record(seq))
        recorder.flush()
    recorder.close()
    return path


def test_a_folder_is_named_after_time_and_plan_and_is_its_owners_only(tmp_path: Path) -> None:
    folder = made(tmp_path)
    date, time_, *plan, digits = folder.run_id.split("-")
    assert (len(date), len(time_), plan, len(digits)) == (8, 6, ["my", "plan", "x"], 4)
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    assert folder.plan.read_text() == "seed = 1\n"


def test_streams_of_all_workers_become_one_table_in_order(tmp_path: Path) -> None:
    folder = made(tmp_path)
    fill(folder, 0, [[4, 0], [2]])
    fill(folder, 1, [[3, 1], []])
    run_folder.compact(folder)
    table = pq.read_table(folder.requests)
    assert table["seq"].to_pylist() == [0, 1, 2, 3, 4]
    assert table.schema.equals(SCHEMA)
    assert run_folder.read_manifest(folder)["torn_streams"] == []
    assert not folder.raw.exists()


@pytest.mark.parametrize("cut", [1, 4, 8, 9, 50, 300])
def test_a_torn_stream_gives_its_whole_batches_and_is_named(tmp_path: Path, cut: int) -> None:
    folder = made(tmp_path)
    path = fill(folder, 0, [[0, 1], [2, 3]])
    os.truncate(path, path.stat().st_size - cut)
    table, whole = run_folder.read_stream(path)
    assert not whole
    assert table is not None
    assert table["seq"].to_pylist() in ([0, 1], [0, 1, 2, 3])
    run_folder.compact(folder)
    assert run_folder.read_manifest(folder)["torn_streams"] == ["requests-0.arrows"]


KILLED = """
import os, signal, sys
from pathlib import Path
from experiments.record import SCHEMA, Record
from experiments.traffic.recorder import Recorder
recorder = Recorder(Path(sys.argv[1]), SCHEMA, {})
row = Record(0, None, "measure", "a", 0, 0, None, None, 5, "a", "a", 0, "ok", 200, None, None,
             None, None, 1, 1, None, None, 0, False, 0, 0, 0)
recorder.append(row)
recorder.append(row._replace(seq=1))
recorder.flush()
recorder.append(row._replace(seq=2))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_loses_its_last_batch_only(tmp_path: Path) -> None:
    path = tmp_path / "requests-0.arrows"
    ended = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert ended.returncode == -signal.SIGKILL
    table, whole = run_folder.read_stream(path)
    assert table is not None
    assert table["seq"].to_pylist() == [0, 1]
    assert not whole


def test_an_empty_or_foreign_stream_is_torn(tmp_path: Path) -> None:
    folder = made(tmp_path)
    for name, content in (("a", b""), ("b", b"hello"), ("c", b"\xff\xff\xff\xff\x00\x00\x00\x00")):
        (folder.raw / name).write_bytes(content)
        table, _ = run_folder.read_stream(folder.raw / name)
        assert table is None


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6))
def test_accounts_add_up_whatever_is_reported(
    planned: int, begun: int, ended: int, dropped: int
) -> None:
    planned = max(planned, ended + dropped)
    counts = run_folder.account(planned, begun, ended, dropped)
    assert min(counts.values()) >= 0
    assert counts["planned"] == sum(v for k, v in counts.items() if k != "planned")


def test_what_was_begun_without_a_record_is_missing_and_the_rest_unsent() -> None:
    assert run_folder.account(planned=None, begun=60, ended=50, dropped=0) == {
        "planned": 60, "ended": 50, "dropped": 0, "unsent": 0, "missing": 10,
    }  # fmt: skip
    assert run_folder.account(planned=100, begun=60, ended=50, dropped=5) == {
        "planned": 100, "ended": 50, "dropped": 5, "unsent": 40, "missing": 5,
    }  # fmt: skip


def test_a_folder_without_a_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"no manifest\.json"):
        run_folder.open_folder(tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [("{", "not a readable manifest"), ("[]", "not a readable"), ('{"schema_version": 99}', "99")],
)
def test_a_manifest_that_cannot_be_understood_is_refused(
    tmp_path: Path, text: str, said: str
) -> None:
    folder = made(tmp_path)
    folder.manifest.write_text(text)
    with pytest.raises(RunFolderError, match=said):
        run_folder.read_manifest(folder)


def test_the_timeline_takes_an_event_a_line(tmp_path: Path) -> None:
    folder = made(tmp_path)
    run_folder.append_event(folder, "start", weights={"a": 1.0})
    run_folder.append_event(folder, "end")
    first, second = map(json.loads, folder.timeline.read_text().splitlines())
    assert first["weights"] == {"a": 1.0}
    assert second["kind"] == "end"


def test_a_stream_of_other_columns_gives_no_rows_and_is_named(tmp_path: Path) -> None:
    folder = made(tmp_path)
    other = Recorder(folder.raw / "requests-1.arrows", pa.schema([("seq", pa.int64())]), {})
    other.append((7,))
    other.close()
    fill(folder, 0, [[0]])
    run_folder.compact(folder)
    assert pq.read_table(folder.requests)["seq"].to_pylist() == [0]
    assert run_folder.read_manifest(folder)["torn_streams"] == ["requests-1.arrows"]


def test_offsets_that_point_beyond_a_batch_end_the_stream(tmp_path: Path) -> None:
    folder = made(tmp_path)
    path = fill(folder, 0, [[0, 1], [2, 3]])
    # Of the second batch, the offsets of the first text column: 0, 7, 14 for twice "measure".
    offsets = b"".join(n.to_bytes(4, "little") for n in (0, 7, 14))
    content = path.read_bytes()
    at = content.rindex(offsets)
    path.write_bytes(content[:at] + b"\xff\xff\xff\x7f" + content[at + 4 :])
    table, whole = run_folder.read_stream(path)
    assert table is not None
    assert (table["seq"].to_pylist(), whole) == ([0, 1], False)


def test_what_began_is_known_until_the_streams_are_gone(tmp_path: Path) -> None:
    folder = made(tmp_path)
    assert run_folder.read_begun_by(folder) == {}
    counter(folder.begun_by(0))[0] = 11
    for rank in (1, 2):
        folder.begun_by(rank).write_bytes((rank + 5).to_bytes(8, "little"))
    assert run_folder.read_begun_by(folder) == {0: 11, 1: 6, 2: 7}
    fill(folder, 0, [[0]])
    run_folder.compact(folder)
    assert run_folder.read_begun_by(folder) == {}


def test_a_table_that_cannot_be_written_leaves_the_streams(tmp_path: Path) -> None:
    folder = made(tmp_path)
    stream = fill(folder, 0, [[0, 1]])
    folder.requests.mkdir()
    with pytest.raises((RunFolderError, OSError)):
        run_folder.compact(folder)
    assert run_folder.read_stream(stream)[1]


def test_streams_that_come_later_are_added_and_nothing_is_doubled(tmp_path: Path) -> None:
    """A lost worker's stream is copied into the folder by hand, after the run was judged."""
    folder = run_folder.create(tmp_path, "late", "")
    run_folder.write_manifest(folder, {"ended_as": "complete"})
    rows = [record(seq)._replace(worker=seq % 2) for seq in range(10)]

    def write(name: str, kept: list[Record], schema: pa.Schema = SCHEMA) -> None:
        columns = [list(column) for column in zip(*kept, strict=True)] or [[] for _ in schema]
        batch = pa.record_batch(columns, schema=schema)
        folder.raw.mkdir(exist_ok=True)
        with pa.OSFile(str(folder.raw / name), "wb") as file, pa.ipc.new_stream(file, schema) as to:
            to.write_batch(batch)

    told = [(0, 1), (0, 2), (1, 1), (1, 2)]  # the last second of a worker may have two rows
    health = [(1, *[sent] * 6, *[0.5] * 6, sent, 0.5, 0.5, rank) for rank, sent in told]
    write("requests-0.arrows", rows[::2])
    write("health-0.arrows", health[:2], HEALTH_SCHEMA)
    write("requests-1.arrows", rows[1:4:2])
    write("health-1.arrows", health[2:3], HEALTH_SCHEMA)
    (folder.raw / "requests-2.arrows").write_bytes(b"torn")
    run_folder.compact(folder)
    assert not run_folder.has_streams(folder)
    assert pq.read_table(folder.requests)["seq"].to_pylist() == [0, 1, 2, 3, 4, 6, 8]
    write("requests-1.arrows", rows[1::2])
    write("health-1.arrows", health[2:], HEALTH_SCHEMA)
    assert run_folder.has_streams(folder)
    run_folder.compact(folder)
    assert pq.read_table(folder.requests)["seq"].to_pylist() == list(range(10))
    found = pq.read_table(folder.health)
    kept = zip(found["worker"].to_pylist(), found["due"].to_pylist(), strict=True)
    assert sorted(kept) == told
    # Who was not brought again is still torn.
    assert run_folder.read_manifest(folder)["torn_streams"] == ["requests-2.arrows"]
