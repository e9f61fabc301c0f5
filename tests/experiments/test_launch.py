"""What a supervisor hears of Locust, how it looks at a run meanwhile, and how it counts."""

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from experiments import launch, run_folder
from experiments.errors import AbreastError
from experiments.launch import _listen, _looks
from experiments.run_folder import RunFolder
from tests.experiments.test_run_folder import fill, made

Event = Mapping[str, Any]


def found(said: str, *, decided: bool) -> Event:
    return {"kind": "look", "said": said, "decided": decided}


def texts(told: list[Event], folder: RunFolder) -> list[str]:
    """Give what was told, which the timeline holds too."""
    noted = [json.loads(line)["said"] for line in folder.timeline.read_text().splitlines()]
    assert [message["text"] for message in told] == noted
    return noted


def asked_until(look: Callable[[float], Event | None], is_done: Callable[[], bool]) -> Event | None:
    give_up_at = time.monotonic() + 20
    decided = None
    while not is_done() and decided is None and time.monotonic() < give_up_at:
        decided = look(1.0)
        time.sleep(0.002)
    return decided


def test_a_look_that_fails_is_said_once_and_the_run_goes_on(tmp_path: Path) -> None:
    folder, told, asked = run_folder.create(tmp_path, "plan", ""), list[Event](), list[float]()

    def judge(_: RunFolder, elapsed_s: float) -> Event | None:
        asked.append(elapsed_s)
        if len(asked) < 4:
            raise ValueError("the records are damaged")
        return found("Decided at look 1.", decided=True)

    with _looks(judge, folder, told.append) as look:
        decided = asked_until(look, lambda: len(asked) > 8)
    assert decided == found("Decided at look 1.", decided=True)
    assert len(asked) == 4
    assert texts(told, folder) == [
        "This look could not be taken: the records are damaged", "Decided at look 1."
    ]  # fmt: skip


def test_a_look_that_the_run_overtakes_is_awaited_and_noted(tmp_path: Path) -> None:
    folder, told = run_folder.create(tmp_path, "plan", ""), list[Event]()

    def judge(_: RunFolder, elapsed_s: float) -> Event | None:
        time.sleep(0.1)
        return found("Decided at look 4.", decided=True)

    with _looks(judge, folder, told.append) as look:
        assert look(1.0) is None
    assert texts(told, folder) == ["Decided at look 4. The run had ended by then."]


def heard(said: bytes, monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], int, Exception | None]:
    """Give the kinds of messages that came of what Locust said, before it hung or was asked to."""
    monkeypatch.setattr(launch, "_SILENT_S", 0.1)
    read_fd, write_fd = os.pipe()
    kinds, ended = list[str](), list[int]()

    def end_it() -> None:
        ended.append(write_fd)
        os.close(write_fd)

    def tell(message: Event) -> None:
        kinds.append(message["kind"])
        if message["kind"] == "end":
            os.close(write_fd)

    os.write(write_fd, said)
    error = _listen(read_fd, tell, end_it)
    os.close(read_fd)
    return kinds, len(ended), error


def test_a_locust_that_hangs_between_its_first_second_and_its_end_is_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert heard(b'{"kind": "progress"}\n', monkeypatch) == (["progress"], 1, None)
    ended = b'{"kind": "progress"}\n\n{"kind": "end"}\n'
    assert heard(ended, monkeypatch) == (["progress", "end"], 0, None)


def test_a_message_that_was_cut_short_costs_itself_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    error = {"kind": "error", "message": "m", "hint": "h", "exit_code": 2}
    said = ['{"kind": "pro', '{"kind": "note"}', json.dumps(error), '{"kind": "end"}']
    kinds, _, found = heard("".join(f"\n{line}\n" for line in said).encode(), monkeypatch)
    assert kinds == ["note", "end"]
    assert isinstance(found, AbreastError)


def test_a_finish_that_is_cut_off_can_be_made_again_with_the_same_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = made(tmp_path)
    run_folder.write_manifest(folder, {"ended_as": "running", "planned": 9})
    fill(folder, 0, [[0, 1, 2]])
    folder.begun_by(0).write_bytes((5).to_bytes(8, "little"))
    with monkeypatch.context() as cut:
        cut.setattr(run_folder, "account", lambda **_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            launch.finish(folder, exit_code=-9)
    assert not folder.raw.exists()
    counts = {"planned": 9, "ended": 3, "dropped": 0, "unsent": 4, "missing": 2}
    assert launch.finish(folder, exit_code=-9)["counts"] == counts


def test_what_one_worker_kept_leaves_what_is_known_of_the_others(tmp_path: Path) -> None:
    """Worker 1's stream is copied by hand after its master died; nobody has worker 0's."""
    folder = made(tmp_path)
    workers = [{"rank": rank, "planned": 5, "begun": 4 - rank} for rank in (0, 1)]
    manifest = {"ended_as": "crashed", "planned": 10, "begun": 7, "workers": workers}
    run_folder.write_manifest(folder, manifest)
    fill(folder, 0, [[0, 2, 4]])
    first = launch.finish(folder)
    assert first["counts"] == {"planned": 10, "ended": 3, "dropped": 0, "unsent": 3, "missing": 4}
    folder.raw.mkdir()
    folder.begun_by(1).write_bytes((5).to_bytes(8, "little"))
    fill(folder, 1, [[]])
    after = launch.finish(folder)
    assert after["counts"] == {"planned": 10, "ended": 3, "dropped": 0, "unsent": 1, "missing": 6}
    assert [worker["begun"] for worker in after["workers"]] == [4, 5]
    assert [worker["unsent"] for worker in after["workers"]] == [1, 0]
