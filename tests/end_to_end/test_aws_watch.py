"""What happens to the endpoint during a run is noticed: changes of it, and calls of others."""

from typing import Any

import pytest

import analysis
from analysis.results.run import Check
from tests.end_to_end.aws import World, world
from tests.end_to_end.conftest import finish, only_run, wait_for

LOCUSTFILE = """
from experiments.traffic import watch
from locustfile import *

watch.EVERY_S = 0.5
"""
TRAFFIC = 'routing = "weighted"\nset_weights = true'
CLOUDWATCH = '[cloudwatch]\nread = true\nwait = "60s"'
TWO_PREPARED = "autoscaling = { min = 1, max = 2, invocations_per_instance = 1000 }"


def clients(there: World) -> list[Any]:
    return [there.client(service) for service in ("sagemaker-runtime", "sagemaker")]


def intrude(there: World) -> None:
    """Call the endpoint beside the run, send one of its requests again, and change what it is."""
    runtime, client = clients(there)
    for variant, body in (("current", b'{"x": 3}'), ("candidate", b"someone else's")):
        runtime.invoke_endpoint(EndpointName="shop", TargetVariant=variant, Body=body)
    client.update_endpoint_weights_and_capacities(
        EndpointName="shop",
        DesiredWeightsAndCapacities=[
            {"VariantName": "current", "DesiredWeight": 1.5, "DesiredInstanceCount": 2}
        ],
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[World, str, list[tuple[int, str]]]:
    """A run of plain Locust with an intruder, and what `restore` said afterwards, twice."""
    folder = tmp_path_factory.mktemp("watch")
    with world(folder, 'update_takes = "1500ms"', TWO_PREPARED) as there:
        plan = there.plan(TRAFFIC, duration="4s", tables=CLOUDWATCH)
        (folder / "own.py").write_text(LOCUSTFILE)
        clients(there)  # before the run, since to make them takes a while
        process = there.locust(plan, folder / "own.py")
        wait_for(lambda: '"start"' in there.timeline() or process.poll() is not None)
        intrude(there)
        _, said = finish(process)
        restored = [there.run("restore"), there.run("restore", "--force")]
        assert there.weights() == {"current": 3.0, "candidate": 1.0}, restored
        return there, said, restored


@pytest.fixture(scope="module")
def run(made) -> analysis.Run:
    return analysis.read_run(only_run(made[0].folder / "reports"))


def check(run: analysis.Run, name: str) -> Check:
    return next(each for each in analysis.validity.check_run(run) if each.name == name)


def test_weighted_routing_counts_whoever_answered(run) -> None:
    rows = run.requests
    assert rows["variant_asked"].isna().all()
    assert set(rows["arm"]) == {"current", "candidate"}
    assert (rows["arm"] == rows["variant_invoked"]).all()


def test_a_weight_and_an_instance_that_change_in_mid_run_are_named(run) -> None:
    changes = [event for event in run.timeline if event["kind"] == "endpoint"]
    assert len(changes) >= 3  # as it was, updating, and updated
    assert len(changes) <= 4  # and no reading that is like the one before
    assert changes[0]["variants"]["current"]["weight"] == 1.0
    assert changes[-1]["variants"]["current"]["weight"] == 1.5
    unchanged, held = check(run, "endpoint"), check(run, "scaling")
    assert (unchanged.state, held.state) == ("fail", "fail")
    assert "the weight of current was 1.0 and is 1.5" in unchanged.finding
    assert "current had 1 and 2 instances" in held.finding


def test_a_retry_below_the_client_and_a_call_of_someone_else_are_found(run) -> None:
    # The run fills no minute, so that they may have been there before it.
    assert check(run, "reconciled").state == "ok"
    found = analysis.reconcile.cloudwatch_of(run)
    for arm in found.arms:
        assert f"No record explains 1 invocation of {arm.arm}." in found.notes
        assert arm.model_ms + arm.overhead_ms + arm.network_ms == pytest.approx(arm.client_ms)
        # The simulated medians are 4 and 2 ms.
        assert 1.5 < arm.model_ms < 12
        assert arm.network_ms > 0


def test_plain_locust_sets_weights_and_leaves_those_of_others_alone(made) -> None:
    _, said, [(refused, why), (code, restored)] = made
    assert "Setting the weights of shop to current 1, candidate 1" in said
    assert "The weights are not put back: abreast restore" in said
    assert (refused, code) == (2, 0)
    assert "Someone else changed them." in why
    assert "The weights are put back." in restored
