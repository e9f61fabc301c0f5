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


@pytest.mark.parametrize("line", ["x", "{}", "[]", '{"eventMetadata": 1}'])
def test_what_is_no_event_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "a.jsonl").write_text(event("a") + line)
    with pytest.raises(AbreastError, match=r"a\.jsonl, line 2"):
        captured_ids(tmp_path)
