"""Updates of weights and instances, by the API and by scripted autoscaling."""

import asyncio

from experiments.local import http
from experiments.local.backend import Simulated
from experiments.local.clock import Clock
from experiments.local.deployment import Deployment
from experiments.local.fleet import Change
from experiments.local.instance import simulated
from experiments.local.routing import Router
from experiments.local.served_log import ServedLog
from tests.experiments.local.worlds import endpoint

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
        backends = {
            name: [Simulated(one, clock, 60.0) for one in instances]
            for name, instances in simulated(ENDPOINT).items()
        }
        deployment = Deployment(
            endpoint=ENDPOINT,
            backends=backends,
            router=Router(ENDPOINT, backends),
            clock=clock,
            served_log=ServedLog(None),
        )
        fleet = deployment.fleet
        deployment.update({"a": Change(weight=2.0)})
        await deployment.scale()
        assert clock.now_s() >= 0.29
        a, b = fleet.variants.values()
        assert (a.current_weight, a.current_instances, a.desired_instances) == (2.0, 1, 2)
        assert (b.current_instances, b.desired_instances) == (1, 2)  # both at one time
        assert fleet.is_updating
        assert {one.ended_s for one in fleet.activities} == {None}
        while fleet.is_updating:
            await asyncio.sleep(0.01)
        assert clock.now_s() >= 0.59
        assert (a.current_instances, b.current_instances) == (2, 2)
        assert None not in {one.ended_s for one in fleet.activities}
        clock.close()

    http.run(main())
