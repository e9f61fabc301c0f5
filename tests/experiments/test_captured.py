import json
from collections import Counter
from pathlib import Path

import pytest

from experiments.captured import Joined, captured_ids, join
from experiments.errors import AbreastError


def event(inference_id: str | None) -> str:
    named = {} if inference_id is None else {"inferenceId": inference_id}
    return json.dumps({"captureData": {}, "eventMetadata": {"eventId": "e", **named}}) + "\n"


def test_requests_are_matched_missing_or_doubled() -> None:
    captured = Counter({"r-0": 1, "r-1": 2, "r-3": 1, "other-0": 2, "": 1})
    asked = [("r-0", True), ("r-1", True), ("r-2", True), ("r-3", False), ("r-4", False)]
    assert join(asked, captured) == Joined(matched=2, missing=1, doubled=1, foreign=3)


def test_events_are_counted_over_all_files(tmp_path: Path) -> None:
    for hour, ids in (("07", ["a", None]), ("08", ["a", "b"])):
        folder = tmp_path / "shop" / "blue" / "2026" / "01" / "31" / hour
        folder.mkdir(parents=True)
        (folder / "x.jsonl").write_text("".join(map(event, ids)))
    assert captured_ids(tmp_path) == {"a": 2, "b": 1, "": 1}


def test_a_folder_without_capture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AbreastError, match=r"there is no \.jsonl file"):
        captured_ids(tmp_path)


@pytest.mark.parametrize("line", [b"x", b"{}", b"[]", b'{"eventMetadata": 1}', b"{\n", b"\xff\xfe"])
def test_what_is_no_event_is_refused(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "a.jsonl").write_bytes(event("a").encode() + line)
    with pytest.raises(AbreastError, match=r"a\.jsonl, line 2"):
        captured_ids(tmp_path)


def test_a_last_line_that_is_cut_off_is_skipped_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = event("\u00fc").encode()
    for length in range(1, len(whole) - 1):
        (tmp_path / f"{length}.jsonl").write_bytes(event("a").encode() + whole[:length])
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "folder.jsonl").mkdir()
    (tmp_path / "no-newline.jsonl").write_bytes(whole.rstrip())
    assert captured_ids(tmp_path) == {"a": len(whole) - 2, "\u00fc": 1}
    assert f"{len(whole) - 2} last lines are cut off" in caplog.text


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").symlink_to(tmp_path / "none")
    with pytest.raises(AbreastError, match=r"a\.jsonl: cannot be read: No such file"):
        captured_ids(tmp_path)
