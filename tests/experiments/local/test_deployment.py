"""Updates of weights and instances, by the API and by scripted autoscaling."""

import asyncio

from experiments.local import http
from experiments.local.clock import Clock
from experiments.local.fleet import Size
from tests.experiments.local.worlds import deployed, endpoint

ENDPOINT = endpoint(
    """
    update_takes = "300ms"
    [variants.a]
    simulated = { constant = "0s" }
    autoscaling = { max = 2, invocations_per_instance = 9.0, activities = [A] }
    [variants.b]
    simulated = { constant = "0s" }
    autoscaling = { max = 3, invocations_per_instance = 9.0, activities = [A] }
    """.replace("A]", '{ at = "10ms", instances = 2 }]')
)


def test_autoscaling_waits_until_an_update_in_progress_has_settled() -> None:
    async def main() -> None:
        clock = Clock()
        clock.now_s()
        deployment = deployed(ENDPOINT, clock)
        fleet = deployment.fleet
        deployment.update({"a": Size(2.0, 1)})
        await deployment.scale()
        assert clock.now_s() >= 0.29
        assert fleet.current == {"a": Size(2.0, 1), "b": Size(1.0, 1)}
        assert fleet.desired == {"a": Size(2.0, 2), "b": Size(1.0, 2)}  # both at one time
        assert fleet.is_updating
        assert {one.ended_s for one in fleet.activities} == {None}
        while fleet.is_updating:
            await asyncio.sleep(0.01)
        assert clock.now_s() >= 0.59
        assert fleet.current == fleet.desired
        assert None not in {one.ended_s for one in fleet.activities}
        clock.close()

    http.run(main())


def test_a_pending_deployment_is_told_at_its_times_and_asking_starts_none() -> None:
    text = 'pending = { config = "b", for = "20ms" }\n[variants.a]\nsimulated = { constant = "0s" }'

    async def main() -> None:
        clock = Clock()
        deployment = deployed(endpoint(text), clock)
        await asyncio.sleep(0.03)
        assert deployment.is_deploying()
        assert clock.now_s() == 0.0
        await clock.sleep_until(0.03)
        assert not deployment.is_deploying()
        clock.close()

    http.run(main())
