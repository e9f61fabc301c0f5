"""Weights that a run sets are put back, whoever is killed and whenever; or `restore` does it."""

import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from tests.end_to_end.aws import World, kill, locust_of, world
from tests.end_to_end.conftest import finish, wait_for

WEIGHTED = 'routing = "weighted"\nset_weights = true'
BEFORE = {"current": 3.0, "candidate": 1.0}
PHASES = {
    "setting": lambda world: world.journal().get("state") == "asked",
    "running": lambda world: '"start"' in world.timeline(),
    "putting back": lambda world: world.journal().get("state") == "restoring",
}
KILLED = [
    ("ctrl-c", "setting"), ("ctrl-c", "running"), ("ctrl-c", "putting back"),
    ("locust", "setting"), ("locust", "running"), ("locust", "putting back"),
    ("supervisor", "setting"), ("supervisor", "running"), ("supervisor", "putting back"),
    ("both", "running"), ("both", "setting"), ("plain", "setting"),
]  # fmt: skip


def ended(folder: Path, who: str, phase: str) -> dict[str, object]:
    """End a run in a phase, and tell what came of it."""
    with world(folder, 'update_takes = "700ms"') as there:
        plan = there.plan(WEIGHTED, duration="500ms" if phase == "putting back" else "60s")
        # Judging is no part of this, but for one run that is ended as its users end it.
        is_whole = (who, phase) == ("ctrl-c", "running")
        begin = there.locust if who == "plain" else there.supervise
        process = there.start("run", str(plan)) if is_whole else begin(plan)
        wait_for(lambda: PHASES[phase](there) or process.poll() is not None)
        locust = psutil.Process(process.pid) if who == "plain" else locust_of(process)
        if who in ("ctrl-c", "plain"):
            process.send_signal(signal.SIGINT)
        else:
            kill(*{"locust": [locust.pid], "supervisor": [process.pid],
                   "both": [locust.pid, process.pid]}[who])  # fmt: skip
        _, said = finish(process)
        found: dict[str, object] = {"said": said, "code": process.returncode}
        if who == "both":
            found |= killed_both(there, plan, phase)
        else:
            wait_for(lambda: not locust.is_running() or locust.status() == psutil.STATUS_ZOMBIE)
        return {**found, "weights": there.weights(), "state": there.journal().get("state")}


def killed_both(there: World, plan: Path, phase: str) -> dict[str, object]:
    """Go on where nothing is left of a run but its folder."""
    if phase == "setting":
        return {"restored": there.run("restore")}
    left = there.weights()
    code, refused = there.run("run", str(plan))
    _, restored = there.run("restore")
    return {"left": left, "refused": (code, refused), "restored": restored}


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], dict[str, object]]:
    """What came of every run, four of them at a time."""
    folder = tmp_path_factory.mktemp("ends")
    with ThreadPoolExecutor(4) as pool:
        ends = pool.map(lambda each: ended(folder / "-".join(each).replace(" ", ""), *each), KILLED)
        return dict(zip(KILLED, ends, strict=True))


@pytest.mark.parametrize(("who", "phase"), KILLED)
def test_weights_are_put_back_whoever_is_ended_and_when(ends, who: str, phase: str) -> None:
    found = ends[who, phase]
    assert found["weights"] == BEFORE, found["said"]
    # Where a run has not begun, what supervises it leaves nothing of it.
    is_gone = phase == "setting" and who in ("ctrl-c", "locust")
    assert found["state"] == (None if is_gone else "restored")


def test_a_run_that_was_ended_says_what_it_does_about_the_weights(ends) -> None:
    assert "Putting back the weights of shop: current 3" in ends["ctrl-c", "running"]["said"]
    assert ends["ctrl-c", "running"]["code"] == 130
    assert ends["plain", "setting"]["code"] == 130
    for phase in ("setting", "running", "putting back"):
        said = ends["locust", phase]["said"].replace("\n", " ")
        assert "did not put back the weights: abreast restore" in said


def test_where_nothing_is_left_of_a_run_the_next_refuses_until_they_are_restored(ends) -> None:
    found = ends["both", "running"]
    assert found["left"] == {"current": 1.0, "candidate": 1.0}
    code, refused = found["refused"]
    assert code == 2
    assert "Put them back first: abreast restore " in refused
    assert "The weights are put back." in found["restored"]
