"""No name that a plan holds can name a path, and no folder of payloads reaches beyond itself."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from experiments import payloads, run_folder
from experiments.errors import PlanError
from experiments.local import config
from experiments.plan import Plan
from experiments.plan_file import find, load

AB = load(find("ab")).model_dump(mode="json", exclude_none=True)
NAMES = ["..", "../x", "a/b", "/etc", "a\n", "a\0", "", ".hidden", "~", "a" * 64]


def table(**changes: Any) -> dict[str, Any]:
    return {**AB, **changes}


@pytest.mark.parametrize("name", NAMES)
def test_names_are_no_paths(name: str) -> None:
    arms = {"current": {}, "candidate": {"request": {"target_variant": name}}}
    stage = {"rate": 1.0, "for": 60.0, "name": name}
    traffic = {k: v for k, v in AB["traffic"].items() if k not in ("rate", "duration")}
    for wrong in (
        table(endpoint={**AB["endpoint"], "name": name}),
        table(arms={"current": {}, name: {}}),
        table(arms=arms),
        table(traffic={**traffic, "stages": [stage]}),
    ):
        with pytest.raises(ValidationError):
            Plan.model_validate(wrong)
    Plan.model_validate(table(traffic={**traffic, "stages": [{**stage, "name": "fine"}]}))
    variant = {"simulated": {"distribution": "constant", "constant": 0.001, "workers": 1}}
    config.Endpoint.model_validate({"name": "shop", "variants": {"fine": variant}})
    with pytest.raises(ValidationError):
        config.Endpoint.model_validate({"name": "shop", "variants": {name: variant}})


@pytest.mark.parametrize("name", ["../../etc", "a/b", "..", "a\nb", "x" * 300, "\u00e9\0"])
def test_a_runs_folder_lies_where_it_was_asked_for(name: str, tmp_path: Path) -> None:
    folder = run_folder.create(tmp_path / "out", name, "")
    assert folder.path.parent == tmp_path / "out"
    assert folder.run_id.isascii()
    assert folder.run_id.replace("-", "").isalnum()


def test_a_link_that_leaves_a_folder_of_payloads_is_refused(tmp_path: Path) -> None:
    (tmp_path / "private").write_text("mine")
    bodies = tmp_path / "bodies"
    bodies.mkdir()
    (bodies / "a").write_text("1")
    (bodies / "b").symlink_to(bodies / "a")
    plan = Plan.model_validate(table(request={"payloads": "bodies"}, answers={}))
    assert len(payloads.load(plan, tmp_path / "plan.toml")) == 2
    (bodies / "c").symlink_to(tmp_path / "private")
    with pytest.raises(PlanError, match="c is a link that leaves the folder"):
        payloads.load(plan, tmp_path / "plan.toml")
