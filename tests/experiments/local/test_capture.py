"""What data capture writes beside the answers; that it is SageMaker's layout, tests/sdks says."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from experiments.errors import EndpointError
from experiments.local import config
from experiments.local.capture import CaptureLog
from tests.experiments.local.worlds import endpoint

ENDPOINT = endpoint('[variants.a]\nsimulated = { constant = "0s" }')
TABLE = config.Capture(folder="captured")


def events(folder: Path) -> list[Any]:
    files = folder.rglob("*.jsonl")
    return [json.loads(line) for file in files for line in file.read_bytes().splitlines()]


@pytest.mark.parametrize("size", [0, 1, 49_151, 49_152, 49_153, 1_000_000])
def test_a_body_of_any_length_is_written_whole_by_the_time_of_closing(
    tmp_path: Path, size: int
) -> None:
    log = CaptureLog(TABLE, tmp_path, ENDPOINT)
    text = ('\u00fc\n\U0001f600"' * size)[:size]
    body = bytes(range(256)) * (size // 256) + bytes(size % 256)
    for _ in range(3):
        log.write("a", "i", ("text/csv", text.encode()), ("a/b", body))
    log.close()
    found = events(tmp_path / "e")
    assert len(found) == 3
    for event in found:
        asked, answered = event["captureData"].values()
        assert (asked["encoding"], asked["data"]) == ("CSV", text)
        assert (answered["encoding"], base64.b64decode(answered["data"])) == ("BASE64", body)


def test_a_folder_that_cannot_be_made_is_named_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EndpointError, match=r"capture\.folder: .*file/e cannot be made"):
        CaptureLog(TABLE, tmp_path / "file", ENDPOINT)


def test_a_write_that_fails_is_logged_once_and_no_answers_matter(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = CaptureLog(TABLE, tmp_path, ENDPOINT)
    (tmp_path / "e" / "a").touch()  # where a folder would have to be
    for variant in ("a", "a", "b"):
        log.write(variant, variant, (None, b""), (None, b""))
    log.close()
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "cannot be written" in caplog.text
    assert [event["eventMetadata"]["inferenceId"] for event in events(tmp_path)] == ["b"]
