"""The files of several endpoints behind one port; what they answer, tests/sdks says."""

from pathlib import Path

import pytest

from experiments.errors import PlanError
from experiments.local import config

BLUE = """
name = "blue"
also = ["green.toml"]
account = "111111111111"
[variants.AllTraffic]
simulated = { distribution = "exponential", mean = "5ms", workers = 4 }
"""
GREEN = BLUE.replace('"blue"', '"green"').replace('also = ["green.toml"]', "")


def test_the_first_file_has_the_keys_and_chance_is_each_ones_own(tmp_path: Path) -> None:
    (tmp_path / "blue.toml").write_text(BLUE)
    (tmp_path / "green.toml").write_text(GREEN.replace("1111", "2222"))
    first, second = config.load_all(tmp_path / "blue.toml")
    assert second.account == first.account
    assert second.seed != first.seed
    for wrong, said in ((BLUE.replace('"blue"', '"green"'), "has its own also"), (BLUE, "also")):
        (tmp_path / "green.toml").write_text(wrong)
        with pytest.raises(PlanError, match=said):
            config.load_all(tmp_path / "blue.toml")
    (tmp_path / "green.toml").write_text(GREEN.replace('"green"', '"blue"'))
    with pytest.raises(PlanError, match='is the endpoint "blue" again'):
        config.load_all(tmp_path / "blue.toml")
