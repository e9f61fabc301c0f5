"""A weight change that ended in any of its moments can be taken back, and is taken back once."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from experiments import restore as journals
from experiments import run_folder
from experiments.errors import EndpointError, PlanError, RunFolderError
from experiments.plan import Plan
from experiments.plan_file import load
from experiments.run_folder import RunFolder
from experiments.sagemaker import weights
from tests.end_to_end.aws import World, world

BEFORE, WANTED = {"current": 3.0, "candidate": 1.0}, {"current": 1.0, "candidate": 1.0}
WEIGHTED = 'routing = "weighted"\nset_weights = true'


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("weights"), 'update_takes = "200ms"') as there:
        yield there


@pytest.fixture
def plan(there: World, monkeypatch: pytest.MonkeyPatch) -> Plan:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "local")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "local")
    update(there, BEFORE)
    return load(there.plan(WEIGHTED))


@pytest.fixture
def folder(there: World) -> RunFolder:
    return run_folder.create(there.folder / "reports", "shop", "")


def update(there: World, wanted: dict[str, float]) -> None:
    """Set weights as whoever else may, and wait until they hold."""
    update_only(there, wanted)
    weights._in_service(there.client("sagemaker"), "shop", 10)


def update_only(there: World, wanted: dict[str, float]) -> None:
    there.client("sagemaker").update_endpoint_weights_and_capacities(
        EndpointName="shop",
        DesiredWeightsAndCapacities=[
            {"VariantName": name, "DesiredWeight": weight} for name, weight in wanted.items()
        ],
    )


def only_written(folder: RunFolder, plan: Plan, there: World) -> None:
    weights.ask(folder, plan, str)
    weights._in_service(there.client("sagemaker"), "shop", 10)
    update(there, BEFORE)


def asked(folder: RunFolder, plan: Plan, there: World) -> None:
    weights.ask(folder, plan, str)


def held(folder: RunFolder, plan: Plan, there: World) -> None:
    weights.ask(folder, plan, str)
    weights.await_set(folder, str)


def described_as_before(folder: RunFolder, plan: Plan, there: World) -> None:
    held(folder, plan, there)
    update(there, BEFORE)  # which a DescribeEndpoint of before the run would say, too


def asked_back(folder: RunFolder, plan: Plan, there: World) -> None:
    held(folder, plan, there)
    journals.write(folder, replace(journals.read(folder), state="restoring"))
    weights._update(there.client("sagemaker"), "shop", BEFORE)


@pytest.mark.parametrize("moment", [only_written, asked, held, described_as_before, asked_back])
def test_weights_are_put_back_from_every_moment_of_a_change(
    moment: Callable[..., None], folder: RunFolder, plan: Plan, there: World
) -> None:
    moment(folder, plan, there)
    assert journals.read(folder).before == BEFORE
    assert [each.path for each in journals.pending(folder.path.parent)] == [folder.path]
    with pytest.raises(EndpointError, match="are not put back"):
        journals.refuse_unrestored(folder.path.parent, plan.endpoint)
    said: list[str] = []
    weights.restore(folder, said.append)
    # What DescribeEndpoint says may be from before the change, so that it is asked for anyway.
    assert said[0].startswith("Putting back")
    assert there.weights() == BEFORE
    assert journals.pending(folder.path.parent) == []
    update(there, WANTED)
    weights.restore(folder, said.append)
    assert "put back already" in said[-1]
    assert there.weights() == WANTED


def test_weights_that_someone_else_changed_are_left_without_force(
    folder: RunFolder, plan: Plan, there: World
) -> None:
    held(folder, plan, there)
    update(there, {"current": 1.0, "candidate": 9.0})
    with pytest.raises(EndpointError, match="Someone else changed them") as refused:
        weights.restore(folder, str)
    assert "--force sets current 3, candidate 1" in refused.value.hint
    weights.restore(folder, str, force=True)
    assert there.weights() == BEFORE


def test_an_endpoint_of_that_name_in_another_account_is_left_alone(
    folder: RunFolder, plan: Plan, there: World
) -> None:
    held(folder, plan, there)
    known = journals.read(folder)
    elsewhere = known.arn.replace(known.arn.split(":")[4], "999999999999")
    journals.write(folder, replace(known, arn=elsewhere))
    for force in (False, True):
        with pytest.raises(EndpointError, match="These credentials reach") as refused:
            weights.restore(folder, str, force=force)
        assert elsewhere in refused.value.message
    assert there.weights() == WANTED
    journals.write(folder, known)
    weights.restore(folder, str)


def test_a_refused_change_leaves_nothing_to_put_back(
    folder: RunFolder, plan: Plan, there: World
) -> None:
    # Someone else's change comes between this one's look and its question.
    with pytest.raises(EndpointError, match="cannot be set"):
        weights.ask(folder, plan, lambda _: update_only(there, WANTED))
    assert journals.read(folder) is None
    weights._in_service(there.client("sagemaker"), "shop", 10)


def test_a_run_below_the_same_folder_that_has_set_weights_is_in_the_way(
    folder: RunFolder, plan: Plan, there: World
) -> None:
    held(folder, plan, there)
    second = run_folder.create(there.folder / "reports", "shop", "")
    with pytest.raises(EndpointError, match="are not put back"):
        weights.ask(second, plan, str)
    weights.restore(folder, str)


def test_a_variant_that_is_gone_is_left_out(folder: RunFolder, plan: Plan, there: World) -> None:
    held(folder, plan, there)
    known = journals.read(folder)
    gone = {key: {**getattr(known, key), "gone": 1.0} for key in ("before", "wanted")}
    journals.write(folder, replace(known, **gone))
    weights.restore(folder, str)
    assert there.weights() == BEFORE


def test_an_endpoint_that_is_gone_says_the_way_out(folder: RunFolder, plan: Plan, there) -> None:
    held(folder, plan, there)
    known = journals.read(folder)
    renamed = known.endpoint.model_copy(update={"name": "gone"})
    journals.write(folder, replace(known, endpoint=renamed))
    with pytest.raises(EndpointError, match="cannot be described") as refused:
        weights.restore(folder, str)
    assert f"delete {folder.path / journals.WEIGHTS}" in refused.value.hint
    journals.write(folder, known)
    weights.restore(folder, str)


def test_a_change_that_does_not_settle_in_time_is_said(
    folder: RunFolder, plan: Plan, there: World
) -> None:
    client = there.client("sagemaker")
    weights.ask(folder, plan, str)
    with pytest.raises(EndpointError, match=r"is Updating after 0 s"):
        weights._in_service(client, "shop", 0)
    weights.restore(folder, str)


def test_weights_in_proportion_are_left_alone(folder: RunFolder, plan: Plan, there: World) -> None:
    update(there, {"current": 7.0, "candidate": 7.0})
    assert weights.ask(folder, plan, str) is False
    assert journals.read(folder) is None


def test_a_variant_with_weight_that_is_no_arm_is_refused(
    folder: RunFolder, plan: Plan, there: World
) -> None:
    arms = {"current": plan.arms["current"]}
    with pytest.raises(EndpointError, match='"candidate" has the weight 1 and is no arm'):
        weights.ask(folder, plan.model_copy(update={"arms": arms}), str)


def test_a_run_that_is_under_way_holds_its_folder(folder: RunFolder) -> None:
    with (
        journals.held(folder),
        pytest.raises(RunFolderError, match="still under way"),
        journals.held(folder),
    ):
        raise AssertionError("it was held twice")
    with journals.held(folder):
        pass


def test_a_damaged_file_says_what_to_do(folder: RunFolder) -> None:
    (folder.path / journals.WEIGHTS).write_text(json.dumps({"before": 1}))
    with pytest.raises(RunFolderError, match="not readable"):
        journals.is_pending(folder)
    (folder.path / journals.WEIGHTS).unlink()


def test_restore_takes_the_newest_run_first_whatever_is_damaged_beside_it(
    plan: Plan, there: World, tmp_path: Path
) -> None:
    first, broken, second = (
        run_folder.RunFolder(tmp_path / f"20260131-1200{n}-shop-1a2b") for n in ("00", "10", "20")
    )
    weights.ask(make(first), plan, str)
    weights.await_set(first, str)
    known = journals.read(first)
    later = {"current": 1.0, "candidate": 2.0}
    update(there, later)
    journals.write(make(second), replace(known, before=WANTED, wanted=later))
    renamed = (first.path / journals.WEIGHTS).read_text().replace('"name"', '"nom"')
    (make(broken).path / journals.WEIGHTS).write_text(renamed)
    code, said = there.run("restore", "--out", str(tmp_path))
    assert there.weights() == BEFORE
    assert (code, "of 1 of 3 runs are not put back" in said) == (2, True), said
    assert f"{broken.path / journals.WEIGHTS}: not readable" in said


def make(folder: RunFolder) -> RunFolder:
    folder.path.mkdir()
    return folder


@pytest.mark.parametrize(
    ("traffic", "said"),
    [('routing = "paired"\nset_weights = true', "set_weights goes with routing"),
     ('routing = "pinned"\nset_weights = true', "set_weights goes with routing")],
)  # fmt: skip
def test_weights_go_with_weighted_routing_only(there: World, traffic: str, said: str) -> None:
    path = there.plan(traffic)
    with pytest.raises(PlanError, match=said):
        load(path)


def test_a_search_sets_no_weights(there: World) -> None:
    search = ["question=capacity", 'slo={p99="300ms"}', 'capacity={arm="current", start_rate=10}']
    with pytest.raises(PlanError, match="does not go with a search"):
        load(there.plan(WEIGHTED), search)
