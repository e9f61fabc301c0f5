"""Several models, containers or components behind one variant."""

import asyncio
from itertools import repeat
from typing import Any

import pytest

from experiments.local import config, http
from experiments.local.backend import Asked, Simulated
from experiments.local.clock import Clock
from experiments.local.instance import Instance
from experiments.local.parts import TARGET_MODEL, Parts
from experiments.local.service_error import ServiceError


def parts(clock: Clock, loads_s: dict[str, float], limit_s: float = 60.0) -> Parts:
    backends = {name: Simulated(Instance(repeat(0.001)), clock, limit_s) for name in loads_s}
    models = {name: {"url": "http://host", "load": load_s} for name, load_s in loads_s.items()}
    return Parts(config.Variant.model_validate({"models": models}), backends, clock, limit_s)


async def ask(of: Parts, clock: Clock, name: str) -> Any:
    """The reply, or the status of the error."""
    try:
        return await of.invoke(Asked({TARGET_MODEL: name}, b"", clock.now_s()))
    except ServiceError as error:
        return error.status


def test_the_first_call_loads_a_model_and_others_are_not_served_meanwhile() -> None:
    async def main() -> None:
        clock = Clock()
        clock.now_s()
        of = parts(clock, {"a": 0.2, "b": 0.0})
        first = asyncio.ensure_future(ask(of, clock, "a"))
        await asyncio.sleep(0.02)
        assert await ask(of, clock, "a") == 429
        assert (await ask(of, clock, "b")).wait_s == 0.0
        reply = await first
        assert reply.wait_s == pytest.approx(0.2)
        assert clock.now_s() >= 0.2
        assert (await ask(of, clock, "a")).wait_s == 0.0

    http.run(main())


def test_a_model_that_loads_beyond_the_limit_is_not_ready_at_the_limit() -> None:
    async def main() -> None:
        clock = Clock()
        at_s = clock.now_s()
        of = parts(clock, {"a": 0.3}, limit_s=0.05)
        assert await ask(of, clock, "a") == 429
        assert 0.05 <= clock.now_s() - at_s < 0.29
        await clock.sleep_until(0.31)  # and goes on being loaded
        assert (await ask(of, clock, "a")).response.status == 200

    http.run(main())


@pytest.mark.parametrize("headers", [{}, {TARGET_MODEL: "c"}])
def test_what_there_is_not_is_refused(headers: dict[str, str]) -> None:
    async def main() -> None:
        clock = Clock()
        of = parts(clock, {"a": 0.0, "b": 0.0})
        with pytest.raises(ServiceError, match="TargetModel must be one of a, b") as caught:
            await of.invoke(Asked(headers, b"", clock.now_s()))
        assert caught.value.code == "ValidationError"
        assert of.outstanding(clock.now_s()) == 0

    http.run(main())
