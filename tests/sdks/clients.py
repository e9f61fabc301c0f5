"""Three clients of AWS's own, unmodified but for the endpoint's URL: a call in, an Outcome out."""

import base64
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from experiments.local.process import LocalEndpoint
from tests.sdks.cases import Case, Outcome

NODE_PACKAGES = Path(sys.prefix) / "npm"
_SCRIPT = Path(__file__).with_name("invoke.mjs")
_CLI_ERROR = re.compile(
    r"An error occurred \((\w+)\) when calling the \w+ operation(?: \(.*?\))?: (.*)", re.S
)


def unavailable(reason: str) -> None:
    """Skip a test, or have it fail where nothing may be skipped."""
    if os.environ.get("ABREAST_SKIP_NOTHING"):
        pytest.fail(reason)
    pytest.skip(reason)


_MADE: dict[tuple[str, str, tuple[str, str]], Any] = {}


def boto3_client(
    running: LocalEndpoint, service: str, keys: tuple[str, str] = ("local", "local")
) -> Any:
    """One client for all that ask; to make one takes longer than most calls."""
    import boto3
    from botocore.config import Config

    asked = (running.url, service, keys)
    if asked not in _MADE:
        _MADE[asked] = boto3.client(
            service,
            endpoint_url=running.url,
            region_name=running.region,
            aws_access_key_id=keys[0],
            aws_secret_access_key=keys[1],
            config=Config(retries={"total_max_attempts": 1, "mode": "standard"}),
        )
    return _MADE[asked]


def close() -> None:
    """Close the clients that were made."""
    while _MADE:
        _MADE.popitem()[1].close()


def with_boto3(running: LocalEndpoint, case: Case, *, streamed: bool = False) -> Outcome:
    from botocore.exceptions import ClientError

    client = boto3_client(running, "sagemaker-runtime", case.keys)
    try:
        if streamed:
            answer = client.invoke_endpoint_with_response_stream(**case.call)
            parts = [event["PayloadPart"]["Bytes"] for event in answer["Body"]]
            return Outcome(fields=answer, body=b"".join(parts), status=200)
        answer = client.invoke_endpoint(**case.call)
    except ClientError as error:
        response: Any = error.response
        status = response["ResponseMetadata"]["HTTPStatusCode"]
        said = response["Error"]
        return Outcome(fields=response, code=said["Code"], status=status, message=said["Message"])
    return Outcome(fields=answer, body=answer["Body"].read(), status=200)


def with_cli(running: LocalEndpoint, calls: Iterable[Sequence[str]]) -> list[tuple[int, str, str]]:
    """Run the AWS CLI for each call, all in one process; return exit status, output and error.

    A call is its arguments; before them may be keys, as "id:secret".
    """
    if importlib.util.find_spec("awscli") is None:
        unavailable("the AWS CLI is not installed")
    said = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("cli.py"))],
        env=running.client_environment(os.environ) | {"AWS_MAX_ATTEMPTS": "1"},
        input=json.dumps(list(map(list, calls))),
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    return [tuple(json.loads(line)) for line in said.stdout.splitlines()]


def cli_call(case: Case, folder: Path) -> list[str]:
    """Return the arguments of an InvokeEndpoint by the AWS CLI, with files in a `folder`."""
    call = dict(case.call)
    (folder / "body").write_bytes(call.pop("Body"))
    options = [f"{case.keys[0]}:{case.keys[1]}", "sagemaker-runtime", "invoke-endpoint"]
    for name, value in call.items():
        options += ["--" + re.sub("(?<!^)([A-Z])", r"-\1", name).lower(), value]
    return [*options, "--body", f"fileb://{folder / 'body'}", str(folder / "answer")]


def cli_outcome(said: tuple[int, str, str], folder: Path) -> Outcome | None:
    """Read what the AWS CLI said; `None` where it is older than a parameter."""
    status, output, error = said
    if status == 0:
        body = (folder / "answer").read_bytes()
        return Outcome(fields=json.loads(output), body=body, status=200)
    if "Unknown options" in error:
        return None
    match = _CLI_ERROR.search(error)
    assert match, error
    return Outcome(code=match[1], message=match[2].strip(), is_cli=True)


def node_packages() -> Path:
    """The folder of the SDK for JavaScript; the test is skipped where it or Node is not."""
    if shutil.which("node") is None:
        unavailable("Node is not installed")
    if not (NODE_PACKAGES / "node_modules" / "@aws-sdk" / "client-sagemaker-runtime").is_dir():
        unavailable(f"@aws-sdk/client-sagemaker-runtime is not in {NODE_PACKAGES}; see .ci/run")
    return NODE_PACKAGES


def with_javascript(running: LocalEndpoint, calls: Iterable[dict[str, Any]]) -> list[Any]:
    """Make calls in one process of Node; `offset` moves its clock, in ms."""
    asked = [
        {
            "operation": "InvokeEndpoint",
            "keys": ["local", "local"],
            "offset": 0,
            **call,
            "call": {**call["call"], "Body": base64.b64encode(call["call"]["Body"]).decode()},
        }
        for call in calls
    ]
    said = subprocess.run(
        ["node", str(_SCRIPT), str(node_packages())],
        input=json.dumps({"url": running.url, "calls": asked}),
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    return [json.loads(line) for line in said.stdout.splitlines()]


def outcome(said: Any) -> Outcome:
    """Read what the script said of one call."""
    parts = [base64.b64decode(part) for part in said.get("parts", [])]
    return Outcome(
        fields=said["fields"],
        body=b"".join(parts),
        code=said.get("code"),
        status=said.get("status"),
        message=said.get("message"),
    )
