"""One endpoint, with a variant for each thing that can be asked of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from experiments.local import process
from experiments.local.process import LocalEndpoint
from tests.sdks import cases, clients, stub


@pytest.fixture(scope="session", autouse=True)
def _clients_are_closed() -> Iterator[None]:
    yield
    clients.close()


@pytest.fixture(scope="session")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("logs")


@pytest.fixture(scope="session")
def every(logs: Path) -> Iterator[LocalEndpoint]:
    with stub.container("first") as first, stub.container("second") as second:
        file = logs / "every.endpoint.toml"
        file.write_text(cases.endpoint_file(first, second))
        running = process.start(file, log_dir=logs)
        try:
            # One call in 1,000 s is let through, and this is it.
            clients.with_boto3(running, cases.Case(arguments=THROTTLED, holds=bool))
            yield running
        finally:
            running.stop()


THROTTLED = {"TargetVariant": "throttled"}
