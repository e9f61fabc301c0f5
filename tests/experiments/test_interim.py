"""How a supervisor looks at a run meanwhile."""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from experiments import run_folder
from experiments.interim import looks
from experiments.run_folder import RunFolder

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

    with looks(judge, folder, told.append) as look:
        decided = asked_until(look, lambda: len(asked) > 8)
    assert decided == found("Decided at look 1.", decided=True)
    assert len(asked) == 4
    assert texts(told, folder) == [
        "This look could not be taken: the records are damaged", "Decided at look 1."
    ]  # fmt: skip


def test_a_look_that_the_run_overtakes_is_awaited_and_noted(tmp_path: Path) -> None:
    folder, told = run_folder.create(tmp_path, "plan", ""), list[Event]()

    def judge(_: RunFolder, elapsed_s: float) -> Event | None:
        time.sleep(0.5)
        return found("Decided at look 4.", decided=True)

    with looks(judge, folder, told.append) as look:
        assert look(1.0) is None
    assert texts(told, folder) == ["Decided at look 4. The run had ended by then."]
