"""The files of several endpoints behind one port; what they answer, tests/sdks says."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from experiments.errors import PlanError
from experiments.local import config, process

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


def test_a_body_is_held_to_the_limit_of_the_endpoint_that_is_called(
    tmp_path: Path, connect: Callable[..., Any]
) -> None:
    (tmp_path / "blue.toml").write_text(BLUE)
    (tmp_path / "green.toml").write_text("body_limit = 10\n" + GREEN)
    running = process.start(tmp_path / "blue.toml")
    client = connect(running)
    try:
        client.invoke_endpoint(EndpointName="blue", Body=b"x" * 11)
        client.invoke_endpoint(EndpointName="green", Body=b"x" * 10)
        with pytest.raises(client.exceptions.ClientError, match="exceeded 10 bytes") as caught:
            client.invoke_endpoint(EndpointName="green", Body=b"x" * 11)
    finally:
        running.stop()
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 413
    assert caught.value.response["ResponseMetadata"]["RequestId"]
