"""What a run writes and prints never holds a key, a token, a signature, or what was sent."""

import base64
import json
import re
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from experiments.cli import checks
from experiments.doctor import Finding
from experiments.sagemaker.redacted import keep_out, without_secrets
from tests.end_to_end.conftest import ROOT, command
from tests.experiments.test_doctor import plan
from tests.experiments.traffic.peer import Peer, Script, answer, serving
from tests.reliability.kit import Kit
from tests.reliability.surroundings import own_keys

SECRET = "canary/Secret+Key0123456789abcdefghijklm"
TOKEN = "canaryToken//////////IQoJb3JpZ2luX2VjEJr+abc="
MODEL_ERROR = 'Received server error (500) from primary with message "{}". See https://logs.example'
BODY, ANSWER = "canary-in-the-body", "canary-in-the-answer"
REFUSAL = (
    "The request signature we calculated does not match the signature you provided. The Canonical "
    "String for this request should have been\n'{}\n'"
)


def repeating_what_it_got(refused: range) -> Script:
    """Answer; but refuse some calls as AWS refuses a signature, with the request as it came.

    Of the others each fifth is a model's error, whose model repeats its input, and each fifth a
    proxy's, which does.
    """
    calls = count()

    def script(connection: socket.socket, request: bytes) -> bool:
        is_call = b"POST /endpoints/" in request
        number = next(calls) if is_call else refused.start
        body = request.partition(b"\r\n\r\n")[2].decode()
        if number not in refused and number % 5 == 3:
            page = f"Bad gateway: {body}".encode()
            connection.sendall(answer(502, {"Content-Type": "text/plain"}, page))
            return True
        if number not in refused and number % 5 == 4:
            said = {"Message": MODEL_ERROR.format(body), "OriginalMessage": body}
            error = json.dumps({**said, "OriginalStatusCode": 500}).encode()
            connection.sendall(answer(424, {"x-amzn-ErrorType": "ModelError"}, error))
            return True
        if number not in refused:
            connection.sendall(answer(200, {"Content-Type": "text/csv"}, ANSWER.encode()))
            return True
        head = request.partition(b"\r\n\r\n")[0].decode()
        refusal = {"message": REFUSAL.format(head.lower()), "head": head}
        headers = {"x-amzn-ErrorType": "InvalidSignatureException"}
        connection.sendall(answer(403, headers, json.dumps(refusal).encode()))
        return True

    return script


def texts(folder: Path) -> dict[str, str]:
    """Give what each file of a run says, tables included."""
    found = {}
    for path in folder.rglob("*"):
        if path.suffix == ".parquet":
            found[path.name] = repr(pq.read_table(path).to_pylist())
        elif path.is_file():
            found[path.name] = path.read_bytes().decode("latin-1")
    return found


def leaks(text: str, peer: Peer) -> list[str]:
    """Name what of the secrets stands in a text, in any of their forms."""
    signatures = set(re.findall(rb"Signature=([0-9a-f]{64})", b"".join(peer.requests)))
    assert signatures
    secrets = [SECRET.encode(), TOKEN.encode(), BODY.encode(), ANSWER.encode(), *signatures]
    forms = [
        form
        for secret in secrets
        for form in (secret, base64.b64encode(secret), secret.hex().encode())
    ]
    # JSON may write a slash with a backslash before it, and a URL in percent.
    plain = text.replace("\\/", "/").replace("%2F", "/").replace("%2B", "+").replace("%3D", "=")
    return [form.decode() for form in forms if form.decode().lower() in plain.lower()]


def abreast(kit: Kit, transport: str) -> list[str]:
    return [*command("run", str(kit.plan), "--debug"), "--out", str(kit.out),
            "--set", f"traffic.transport={transport}"]  # fmt: skip


def locust(kit: Kit, transport: str) -> list[str]:
    return [sys.executable, "-m", "locust", "-f", str(ROOT / "locustfile.py"), "--headless",
            "--loglevel", "DEBUG", "--plan", str(kit.plan), "--out", str(kit.out),
            "--set", f"traffic.transport={transport}"]  # fmt: skip


@pytest.mark.parametrize(
    ("starting", "transport", "refused"),
    [
        (abreast, "fast", range(40, 80)),
        (abreast, "boto3", range(1, 2)),
        (locust, "boto3", range(1, 2)),
    ],
    ids=["failures during the run", "a refused start", "a refused start at DEBUG"],
)
def test_nothing_secret_is_written_or_printed(
    starting: Callable[[Kit, str], list[str]], transport: str, refused: range, kit: Kit
) -> None:
    (kit.folder / "rows.jsonl").write_text(f'{{"x": "{BODY}"}}\n' * 10)
    env = own_keys() | {"AWS_SECRET_ACCESS_KEY": SECRET, "AWS_SESSION_TOKEN": TOKEN}
    with serving(repeating_what_it_got(refused)) as peer:
        kit.call(peer.url)
        ended = subprocess.run(
            starting(kit, transport),
            cwd=kit.folder, env=env, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert TOKEN.encode() in b"".join(peer.requests)
        said = {"stdout": ended.stdout, "stderr": ended.stderr, **texts(kit.out)}
        for name, text in said.items():
            assert leaks(text, peer) == [], name
            assert not re.search(r"(?i)x-amz-security-token: ?[^* ]", text), name
    if refused.start == 1:
        assert ended.returncode == 2
        assert "signature=***" in ended.stderr  # what was refused is said all the same
        assert ("Traceback" in ended.stderr) == (starting is abreast)
        return
    assert ended.returncode in (3, 4), ended.stderr
    assert "InvalidSignatureException" in said["requests.parquet"]
    assert "x-amz-security-token: ***" in said["requests.parquet"]
    kept = MODEL_ERROR.replace('"{}"', "(27 characters, not kept)")
    assert f"ModelError: {kept}" in said["requests.parquet"]
    assert "502: (40 bytes of text/plain, not kept)" in said["requests.parquet"]
    (folder,) = kit.out.iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_check_that_breaks_repeats_no_token(capsys: pytest.CaptureFixture[str]) -> None:
    def check(_: checks.Known) -> Finding:
        raise ValueError(REFUSAL.format(f"host:a\nx-amz-security-token:{TOKEN}"))

    found = checks.made(checks.Known(plan=plan(), path=Path(), debug=True), "A check", check)
    printed = capsys.readouterr().err
    assert "ValueError" in printed
    for said in (found.finding, printed):
        assert "x-amz-security-token:***" in said
        assert TOKEN not in said


@pytest.mark.parametrize(
    ("text", "without"),
    [
        ("x-amz-security-token:abc/+=\nhost:b", "x-amz-security-token:***\nhost:b"),
        ('{"X-Amz-Security-Token": "abc"}', '{"X-Amz-Security-Token": "***"}'),
        ("?X-Amz-Signature=0f&x=1", "?X-Amz-Signature=***&x=1"),
        ("SignedHeaders=host;x-amz-security-token, Signature=0f'", None),
        (r"{\"X-Amz-Security-Token\": \"a\/b=\"}", r"{\"X-Amz-Security-Token\": \"***\"}"),
        ("('X-Amz-Security-Token', 'abc')", "('X-Amz-Security-Token', '***')"),
        ("{b'X-Amz-Security-Token': b'abc'}", "{b'X-Amz-Security-Token': b'***'}"),
        ('{"x-amz-security-token": ["abc"]}', '{"x-amz-security-token": ["***"]}'),
        ("<X-Amz-Security-Token>abc</", "<X-Amz-Security-Token>***</"),
        ("x-amz-security-token%3Aa%2Fb&x=1", "x-amz-security-token%3A***&x=1"),
        (f"what was expected is {'0f' * 32}.", "what was expected is ***."),
        ("the signature you provided does not match", "the signature you provided does not match"),
    ],
)
def test_what_services_repeat_is_cut_out(text: str, without: str | None) -> None:
    assert without_secrets(text) == (without or text.replace("0f", "***"))


def test_what_is_known_is_cut_out_wherever_it_stands() -> None:
    keep_out("Known/Key+0123456789=", None, "short")
    for form in ("Known/Key+0123456789=", r"Known\/Key+0123456789=", "known%2fkey%2B0123456789%3D"):
        assert without_secrets(f"it said {form}, in short") == "it said ***, in short"
