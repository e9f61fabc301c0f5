"""A second of the run as its workers lived it, as messages carry it and as one."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from experiments.live import Second, Tally
from experiments.sketch import Sketch, merged


def encoded(second: Second) -> dict[str, Any]:
    """Give what a message can hold."""
    arms = {arm: asdict(tally) for arm, tally in second.arms.items()}
    lateness, lag = asdict(second.lateness), asdict(second.lag)
    return {"due": second.due, "cpu": second.cpu, "arms": arms, "lateness": lateness, "lag": lag}


def as_one(elapsed_s: float, parts: Sequence[Mapping[str, Any]]) -> Second:
    """Put together the encoded seconds of several workers; the CPU is that of the busiest."""
    arms: dict[str, Tally] = {}
    for part in parts:
        for arm, told in part["arms"].items():
            sketches = {key: Sketch.of(told[key]) for key in ("response", "service")}
            arms.setdefault(arm, Tally()).merge(Tally(**{**told, **sketches}))
    return Second(
        elapsed_s=elapsed_s,
        due=sum(part["due"] for part in parts),
        arms=arms,
        lateness=merged(Sketch.of(part["lateness"]) for part in parts),
        lag=merged(Sketch.of(part["lag"]) for part in parts),
        cpu=max((part["cpu"] for part in parts), default=0.0),
    )
