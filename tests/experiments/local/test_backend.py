import asyncio
import json
from itertools import repeat

import pytest

from experiments.local import http
from experiments.local.backend import Asked, Model, Simulated
from experiments.local.clock import Clock
from experiments.local.http import Response
from experiments.local.instance import Instance


def test_an_answer_takes_its_service_time_and_waits_for_a_worker() -> None:
    async def main() -> list[tuple[float, float, float]]:
        clock = Clock()
        queue = Simulated(Instance(repeat(0.04), workers=2), clock, 60.0)

        async def one() -> tuple[float, float, float]:
            at_s = clock.now_s()
            reply = await queue.invoke(Asked(at_s=at_s))
            assert json.loads(reply.response.body) == {"predictions": [{"label": 0}]}
            return clock.now_s() - at_s, reply.wait_s, reply.service_s

        return await asyncio.gather(*(one() for _ in range(4)))

    for place, (took_s, wait_s, service_s) in enumerate(http.run(main())):
        expected_wait_s = 0.04 * (place // 2)
        assert wait_s == pytest.approx(expected_wait_s, abs=0.002)
        assert service_s == pytest.approx(0.04)
        assert wait_s + service_s <= took_s < expected_wait_s + 1.0


def test_an_answer_in_real_time_is_due_when_it_is_in_virtual_time() -> None:
    times_s = [0.001 * step for step in range(40)]

    def queue() -> Instance:
        return Instance(iter([0.003, 0.001, 0.008, 0.0] * 10), workers=2)

    async def main() -> list[tuple[float, float]]:
        clock = Clock()
        served = Simulated(queue(), clock, 60.0)
        clock.now_s()

        async def one(at_s: float) -> tuple[float, float]:
            await clock.sleep_until(at_s)
            reply = await served.invoke(Asked(at_s=at_s))
            return at_s + reply.wait_s + reply.service_s, clock.now_s()

        return await asyncio.gather(*map(one, times_s))

    virtual = queue()
    for at_s, (due_s, ended_s) in zip(times_s, http.run(main()), strict=True):
        assert due_s == pytest.approx(virtual.arrives(at_s).ends_at_s)
        assert ended_s >= due_s - 1e-9


def test_over_its_limit_it_is_a_timeout_at_the_limit_and_the_worker_stays_busy() -> None:
    async def main() -> None:
        clock = Clock()
        instance = Instance(repeat(0.5))
        at_s = clock.now_s()
        with pytest.raises(TimeoutError):
            await Simulated(instance, clock, 0.01).invoke(Asked(at_s=at_s))
        assert 0.01 <= clock.now_s() - at_s < 0.4
        assert instance.outstanding(clock.now_s()) == 1

    http.run(main())


def test_a_model_server_has_its_calls_counted_timed_and_limited() -> None:
    async def main() -> None:
        clock = Clock()
        asked = asyncio.Event()

        async def ask(request: Asked) -> Response:
            asked.set()
            await asyncio.sleep(0.02 if request.body == b"fast" else 20)
            return http.text(200, "well")

        model = Model(ask, clock, 0.2)
        call = asyncio.ensure_future(model.invoke(Asked({}, b"fast", clock.now_s(), 0.03)))
        await asked.wait()
        assert model.outstanding(0.0) == 1
        reply = await call
        assert model.outstanding(0.0) == 0
        assert (reply.response.body, reply.wait_s) == (b"well", 0.0)
        assert reply.service_s >= 0.049
        with pytest.raises(TimeoutError):
            await model.invoke(Asked({}, b"slow", clock.now_s()))
        assert model.outstanding(0.0) == 0

    http.run(main())
