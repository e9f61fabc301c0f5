"""The examples of docs/local-endpoint.md are endpoint files, and it names all that there is.

The client that the README has runs against the endpoint that it has.
"""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from experiments.local import config
from experiments.local.faults import Fault
from experiments.local.process import LocalEndpoint
from experiments.local.service_time import Distribution

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "local-endpoint.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
SECTION = README.partition("## A local SageMaker endpoint")[2].partition("\n## ")[0]
(CLIENT,) = re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)
(SHOP,) = re.findall(r"```toml\n(.*?)```", SECTION, re.DOTALL)
EXAMPLES = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda text: text.split('"')[1])
def test_an_example_is_an_endpoint_file(tmp_path: Path, example: str) -> None:
    file = tmp_path / "e.toml"
    file.write_text(example)
    config.load(file)


def test_every_key_is_on_the_page() -> None:
    tables = (
        config.Endpoint, config.Variant, config.Simulated, config.Part, config.Key,
        config.Capture, config.Autoscaling, config.Scaling, Fault,
    )  # fmt: skip
    for table in tables:
        for name, field in table.model_fields.items():
            assert re.search(rf"\b{field.serialization_alias or name}\b", PAGE), name


def test_every_kind_is_on_the_page() -> None:
    for table, field in ((Fault, "kind"), (Distribution, "distribution")):
        for kind in get_args(table.model_fields[field].annotation):
            assert f"`{kind}`" in PAGE


def test_the_client_of_the_readme_runs(start: Callable[[str], LocalEndpoint]) -> None:
    text, green = SHOP.split("[variants.green]\n")
    assert green == 'url = "http://127.0.0.1:9000"\n'
    running = start(text)
    ended = subprocess.run(
        [sys.executable, "-c", CLIENT],
        env=running.client_environment(os.environ),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    first, part, refused = ended.stdout.splitlines()
    assert first == "blue {'predictions': [{'label': 0}]}"
    assert "predictions" in part
    assert "Variant red not found" in refused
