"""One signed InvokeEndpoint call, to be sent again and again: a signature holds for 5 minutes."""

import json
import uuid

NAME = "benchmark"
PATH = f"/endpoints/{NAME}/invocations"
BODY = json.dumps({"features": [round(i / 7, 4) for i in range(128)]}, separators=(",", ":"))
"""About 1 KB."""

_USER_AGENT = (
    "Boto3/1.44.5 md/Botocore#1.44.5 ua/2.1 os/linux#6.1 md/arch#x86_64 lang/python#3.11.7 "
    "md/pyimpl#CPython m/b,Z cfg/retry-mode#standard Botocore/1.44.5"
)


def headers(port: int) -> dict[str, str]:
    """Give the headers that boto3 would send, signed by botocore for a port of this machine."""
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    given = {
        "Content-Type": "application/json",
        "X-Amzn-SageMaker-Target-Variant": "only",
        "X-Amzn-SageMaker-Inference-Id": "benchmark-1",
    }
    request = AWSRequest("POST", f"http://127.0.0.1:{port}{PATH}", headers=given, data=BODY)
    SigV4Auth(Credentials("local", "local"), "sagemaker", "us-east-1").add_auth(request)
    return {
        **dict(request.headers.items()),
        "User-Agent": _USER_AGENT,
        "amz-sdk-invocation-id": str(uuid.uuid4()),
        "amz-sdk-request": "attempt=1",
    }


def message(port: int) -> bytes:
    """Give the call as it goes over the wire."""
    lines = [f"{name}: {value}" for name, value in headers(port).items()]
    lines += [f"Host: 127.0.0.1:{port}", f"Content-Length: {len(BODY)}", "\r\n"]
    return "\r\n".join([f"POST {PATH} HTTP/1.1", *lines]).encode() + BODY.encode()


def wrk_script(port: int) -> str:
    """Give the call as a script for wrk."""
    lines = [f"wrk.headers[{json.dumps(k)}] = {json.dumps(v)}" for k, v in headers(port).items()]
    return "\n".join(['wrk.method = "POST"', f"wrk.body = {json.dumps(BODY)}", *lines, ""])
