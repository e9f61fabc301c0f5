"""Whatever fails around a run, it ends by itself, says so, and its records add up."""

from collections.abc import Callable

import pytest

from experiments.sagemaker.endpoint import describe
from experiments.tables import Endpoint
from tests.experiments.traffic.peer import OK, saying, serving
from tests.reliability.matrix import SURROUNDINGS, Fault
from tests.reliability.surroundings import KEYS


@pytest.mark.parametrize("fault", SURROUNDINGS, ids=lambda fault: fault.name)
def test_what_a_run_stands_on_fails(fault: Fault, put_through: Callable[[Fault], None]) -> None:
    put_through(fault)


def test_an_endpoint_without_a_control_plane_of_its_kind_is_not_described(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in (KEYS | {"NO_PROXY": "*"}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    with serving(saying(OK)) as peer:
        found = describe(Endpoint(name="shop", target=peer.url), "shop")
    assert (found.note or "").startswith("The endpoint could not be described: AttributeError")
