"""Whatever an endpoint answers, the batch is written."""

from pathlib import Path

from experiments.record import SCHEMA
from experiments.run_folder import read_stream
from experiments.traffic.recorder import Recorder
from tests.analysis.runs import record


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
