"""A real local endpoint in its own process, and real boto3 clients for it.

boto3 is imported only when a test asks for a client: locust has to be imported before it.
"""

import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from experiments.local import process
from experiments.local.process import LocalEndpoint

MIXED = """
    name = "mixed"
    [variants.svm]
    weight = 1
    model = "digits-svm"
    instance_type = "ml.c6i.large"
    [variants.fixed]
    weight = 3
    simulated = { constant = "1ms", workers = 8 }
    [variants.unweighted]
    weight = 0
    instances = 2
    simulated = { distribution = "lognormal", median = "2ms", sigma = 0.3 }
    """


@pytest.fixture(scope="session")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalEndpoint]:
    """An endpoint with a model, a simulated variant, and one that gets no traffic of its own."""
    folder = tmp_path_factory.mktemp("endpoint")
    file = folder / "mixed.endpoint.toml"
    file.write_text(textwrap.dedent(MIXED))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        running = process.start(file, log_dir=folder / "logs")
    yield running
    running.stop()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], LocalEndpoint]]:
    """Start an endpoint from the text of its file; it is stopped after the test."""
    running: list[LocalEndpoint] = []

    def start_one(text: str) -> LocalEndpoint:
        file = tmp_path / f"{len(running)}.endpoint.toml"
        file.write_text(textwrap.dedent(text))
        running.append(process.start(file))
        return running[-1]

    yield start_one
    for one in running:
        one.stop()


@pytest.fixture
def connect() -> Iterator[Callable[..., Any]]:
    """Make a boto3 client of a service for an endpoint; it is closed after the test."""
    import boto3
    from botocore.config import Config

    clients: list[Any] = []

    def client(running: LocalEndpoint, service: str = "sagemaker-runtime", **changes: Any) -> Any:
        options = {
            "endpoint_url": running.url,
            "region_name": running.region,
            "aws_access_key_id": running.access_key_id,
            "aws_secret_access_key": running.secret_access_key,
            "config": Config(retries={"total_max_attempts": 1, "mode": "standard"}),
        }
        clients.append(boto3.client(service, **{**options, **changes}))
        return clients[-1]

    yield client
    for one in clients:
        one.close()
