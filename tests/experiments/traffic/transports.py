"""Both transports to a server, from surroundings in which nothing else says how to get there."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest

from experiments.sagemaker.invoke import Transport, boto3_transport
from experiments.tables import Endpoint
from experiments.traffic.fast import fast_transport

CALL: dict[str, Any] = {"EndpointName": "digits", "Body": b"{}"}


class Both(NamedTuple):
    theirs: Transport
    ours: Transport


def at(url: str) -> Endpoint:
    return Endpoint(name="digits", target=url)


def fast_at(url: str) -> Transport:
    made = fast_transport(at(url))
    assert callable(made), made
    return made


def both_at(url: str) -> Both:
    return Both(boto3_transport(at(url), 1), fast_at(url))


@contextmanager
def aws_environment() -> Iterator[pytest.MonkeyPatch]:
    """Keys and a region from the environment, and nothing else of AWS or of a proxy there."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith("AWS_") or name.lower().endswith(("_proxy", "_ca_bundle")):
                patch.delenv(name)
        patch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        yield patch
