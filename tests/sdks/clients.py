"""Three clients of AWS's own, unmodified but for the endpoint's URL: a call in, an Outcome out."""

import base64
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
AWS = Path(sys.prefix) / "bin" / "aws"
_SCRIPT = Path(__file__).with_name("invoke.mjs")
_CLI_ERROR = re.compile(
    r"An error occurred \((\w+)\) when calling the \w+ operation(?: \(.*?\))?: (.*)", re.S
)


def unavailable(reason: str) -> None:
    """Skip a test, or have it fail where nothing may be skipped."""
    if os.environ.get("ABREAST_SKIP_NOTHING"):
        pytest.fail(reason)
    pytest.skip(reason)


def boto3_client(running: LocalEndpoint, service: str, keys: tuple[str, str]) -> Any:
    import boto3
    from botocore.config import Config

    return boto3.client(
        service,
        endpoint_url=running.url,
        region_name=running.region,
        aws_access_key_id=keys[0],
        aws_secret_access_key=keys[1],
        config=Config(retries={"total_max_attempts": 1, "mode": "standard"}),
    )


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
    finally:
        client.close()
    return Outcome(fields=answer, body=answer["Body"].read(), status=200)


def command(running: LocalEndpoint, *arguments: str, keys: Sequence[str] = ()) -> Any:
    """Run the AWS CLI as a user would."""
    if not AWS.exists():
        unavailable("the AWS CLI is not installed")
    environment = running.client_environment(os.environ) | {"AWS_MAX_ATTEMPTS": "1"}
    if keys:
        environment |= {"AWS_ACCESS_KEY_ID": keys[0], "AWS_SECRET_ACCESS_KEY": keys[1]}
    return subprocess.run(
        [sys.executable, str(AWS), *arguments, "--output", "json"],
        env=environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def with_cli(running: LocalEndpoint, case: Case, folder: Path) -> Outcome | None:
    """Return `None` where this AWS CLI is older than a parameter."""
    body, answer = folder / "body", folder / "answer"
    call = dict(case.call)
    body.write_bytes(call.pop("Body"))
    options: list[str] = []
    for name, value in call.items():
        options += ["--" + re.sub("(?<!^)([A-Z])", r"-\1", name).lower(), value]
    ended = command(
        running, "sagemaker-runtime", "invoke-endpoint", *options,
        "--body", f"fileb://{body}", str(answer), keys=case.keys,
    )  # fmt: skip
    if ended.returncode == 0:
        return Outcome(fields=json.loads(ended.stdout), body=answer.read_bytes(), status=200)
    if "Unknown options" in ended.stderr:
        return None
    match = _CLI_ERROR.search(ended.stderr)
    assert match, ended.stderr
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
