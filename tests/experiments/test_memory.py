"""A plan that the machine could not hold is refused, with the figures, before anything is sent."""

from pathlib import Path

import pytest

from experiments import memory
from experiments.errors import PlanError
from experiments.memory import BYTES_PER_REQUEST, refuse_beyond_memory
from experiments.plan_file import find, load


def test_what_no_machine_holds_is_refused() -> None:
    plan = load(find("ab"), ["traffic.rate=1000000", "traffic.duration=10h", "traffic.warmup=0s"])
    # 36,000,000,000 requests of 700 bytes.
    with pytest.raises(PlanError, match=r"36,000,000,000 requests.*need 23,469 GiB") as refused:
        refuse_beyond_memory(plan, "my.toml")
    assert refused.value.message.startswith("my.toml: traffic: ")
    assert "traffic.rate" in refused.value.hint


def test_memory_that_others_hold_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = load(find("ab"))
    needed = round((plan.traffic.expected_requests or 0) * BYTES_PER_REQUEST)
    (tmp_path / "meminfo").write_text(
        f"MemTotal:       64000000 kB\nMemAvailable:   {needed // 1024} kB\nBuffers:  1 kB\n"
    )
    monkeypatch.setattr(memory, "_MEMORY", tmp_path / "meminfo")
    with pytest.raises(PlanError, match="GiB free"):
        refuse_beyond_memory(plan, "ab")


@pytest.mark.parametrize(("limit", "is_refused"), [(-1, True), (0, False)])
@pytest.mark.parametrize("version", [1, 2])
def test_the_limit_of_a_container_counts(
    version: int, limit: int, is_refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = load(find("ab"))
    needed = round((plan.traffic.expected_requests or 0) * BYTES_PER_REQUEST)
    limits = tmp_path / "v2", tmp_path / "v1"
    limits[version % 2].write_text(f"{needed + limit}\n")
    monkeypatch.setattr(memory, "_LIMITS_OF_CONTAINER", limits)
    if is_refused:
        with pytest.raises(PlanError, match="GiB"):
            refuse_beyond_memory(plan, "ab")
    else:
        refuse_beyond_memory(plan, "ab")


@pytest.mark.parametrize("said", ["max\n", ""])
def test_no_limit_is_none(said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "memory.max").write_text(said)
    monkeypatch.setattr(memory, "_LIMITS_OF_CONTAINER", (tmp_path / "memory.max",))
    refuse_beyond_memory(load(find("ab")), "ab")
    closed = ["traffic={routing='paired', arrivals='closed', users=20000, duration='9999h'}"]
    refuse_beyond_memory(load(find("ab"), closed), "ab")
