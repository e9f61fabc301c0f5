"""The examples of docs/local-endpoint.md are endpoint files, and it names all that there is."""

import re
from pathlib import Path
from typing import get_args

import pytest

from experiments.local import config
from experiments.local.faults import Fault
from experiments.local.service_time import Distribution

PAGE = (Path(__file__).parents[3] / "docs" / "local-endpoint.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda text: text.split('"')[1])
def test_an_example_is_an_endpoint_file(tmp_path: Path, example: str) -> None:
    file = tmp_path / "e.toml"
    file.write_text(example)
    config.load(file)


def test_every_key_is_on_the_page() -> None:
    tables = (config.Endpoint, config.Variant, config.Simulated, Fault)
    for table in tables:
        for name, field in table.model_fields.items():
            assert re.search(rf"\b{field.serialization_alias or name}\b", PAGE), name


def test_every_kind_is_on_the_page() -> None:
    for table, field in ((Fault, "kind"), (Distribution, "distribution")):
        for kind in get_args(table.model_fields[field].annotation):
            assert f"`{kind}`" in PAGE
