"""Endpoints from the text of their files, and calls to them."""

import textwrap
import tomllib
from pathlib import Path
from typing import Any

from experiments.local import config
from experiments.local.backend import Simulated
from experiments.local.clock import Clock
from experiments.local.deployment import Deployment
from experiments.local.instance import simulated


def endpoint(text: str, folder: Path | None = None) -> config.Endpoint:
    """Read the text of an endpoint file; the name is given."""
    tables: dict[str, Any] = {"name": "e", **tomllib.loads(textwrap.dedent(text))}
    return config.Endpoint.model_validate(tables, context={"folder": folder or Path()})


def deployed(table: config.Endpoint, clock: Clock) -> Deployment:
    """Deploy an endpoint whose variants are simulated, in this process."""
    backends = {
        name: [Simulated(one, clock, table.model_timeout) for one in instances]
        for name, instances in simulated(table).items()
    }
    return Deployment(endpoint=table, backends=backends, clock=clock)


def signed(name: str = "e", variant: str = "a", host: str = "localhost") -> bytes:
    """A request as botocore would send it, of the default credentials."""
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    url = f"http://{host}/endpoints/{name}/invocations"
    headers = {"X-Amzn-SageMaker-Target-Variant": variant}
    request = AWSRequest("POST", url, headers=headers, data=b"{}")
    SigV4Auth(Credentials("local", "local"), "sagemaker", "us-east-1").add_auth(request)
    lines = [f"{key}: {value}" for key, value in request.headers.items()]
    head = [f"POST /endpoints/{name}/invocations HTTP/1.1", f"Host: {host}", *lines]
    return "\r\n".join([*head, "Content-Length: 2", "", "{}"]).encode()
