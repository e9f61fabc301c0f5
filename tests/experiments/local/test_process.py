"""Processes: that they start, that they say why not, and that none is left behind."""

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from experiments import child
from experiments.errors import EndpointError
from experiments.local import process
from experiments.local.process import LocalEndpoint
from tests.experiments.local.worlds import signed

SIMULATED = """
    name = "sim"
    [variants.only]
    simulated = { constant = "1ms" }
    """
MODEL = """
    name = "real"
    [variants.only]
    model = "digits-svm"
    """


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "e.toml"
        path.write_text(textwrap.dedent(text))
        return path

    return write


def children_of(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    if not listed.exists():
        pytest.skip("the children of a process are read from Linux's /proc")
    return [int(child) for child in listed.read_text().split()]


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def wait_until_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + 20
    while any(map(is_running, pids)):
        assert time.monotonic() < deadline, f"still running: {list(filter(is_running, pids))}"
        time.sleep(0.02)


def test_the_environment_is_what_the_sdks_read(endpoint: LocalEndpoint) -> None:
    running = endpoint
    assert running.url == f"http://127.0.0.1:{running.port}"
    assert running.variants == ("svm", "fixed", "unweighted")
    assert running.environment() == {
        "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": running.url,
        "AWS_ENDPOINT_URL_SAGEMAKER": running.url,
        "AWS_ENDPOINT_URL_CLOUDWATCH": running.url,
        "AWS_ENDPOINT_URL_APPLICATION_AUTO_SCALING": running.url,
        "AWS_ENDPOINT_URL_STS": running.url,
        "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "false",
        "AWS_USE_FIPS_ENDPOINT": "false",
        "AWS_USE_DUALSTACK_ENDPOINT": "false",
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    script = f'{running.exports()}echo "$AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME" "$AWS_REGION"'
    shell = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert shell.stdout == f"{running.url} us-east-1\n"


@pytest.mark.parametrize(
    "base",
    [
        {},
        {
            "AWS_PROFILE": "other",
            "AWS_DEFAULT_PROFILE": "other",
            "AWS_SESSION_TOKEN": "other",
            "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true",
            "AWS_USE_FIPS_ENDPOINT": "true",
            "AWS_USE_DUALSTACK_ENDPOINT": "true",
            "HTTP_PROXY": "http://127.0.0.1:9",
        },
    ],
    ids=["empty", "another_endpoint"],
)
def test_boto3_calls_the_endpoint_whatever_the_environment_was(
    endpoint: LocalEndpoint, base: dict[str, str]
) -> None:
    script = (
        "import boto3; asked = {'EndpointName': 'mixed', 'TargetVariant': 'fixed', 'Body': b'{}'};"
        "answer = boto3.client('sagemaker-runtime').invoke_endpoint(**asked);"
        "print(answer['InvokedProductionVariant'])"
    )
    base = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", **base}
    said = subprocess.check_output(
        [sys.executable, "-c", script], env=endpoint.client_environment(base), text=True
    )
    assert said == "fixed\n"


def test_a_stopped_endpoint_is_gone_with_its_models(file: Callable[[str], Path]) -> None:
    running = process.start(file(MODEL))
    models = children_of(running.process.pid)
    assert len(models) == 1
    running.stop()
    running.stop()
    assert running.process.returncode == 0
    wait_until_gone(models)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", running.port), timeout=5)


def test_what_is_in_flight_when_it_is_stopped_has_its_line_in_the_served_log(
    file: Callable[[str], Path], tmp_path: Path, connect: Callable[..., Any]
) -> None:
    path = file("""
        name = "e"
        served_log = "served.csv"
        [variants.slow]
        simulated = { constant = "30s", workers = 9, chunks = 1000 }
        [variants.fast]
        simulated = { constant = "1ms" }
        """)
    running = process.start(path, log_dir=tmp_path)
    asked = {"EndpointName": "e", "TargetVariant": "slow", "Body": b"{}"}
    stream = connect(running).invoke_endpoint_with_response_stream(**asked)["Body"]
    assert next(iter(stream))
    waiting = [socket.create_connection(("127.0.0.1", running.port), timeout=20) for _ in range(3)]
    for one in waiting:
        one.sendall(signed(variant="slow"))
    connect(running).invoke_endpoint(**{**asked, "TargetVariant": "fast"})  # read after those
    running.stop()
    with (tmp_path / "served.csv").open(newline="") as log:
        lines = [(line["variant"], line["status"]) for line in csv.DictReader(log)]
    assert lines == [("fast", "200"), *[("slow", "")] * 4]
    assert (tmp_path / "endpoint.log").read_text() == ""
    for one in [stream, *waiting]:
        one.close()


def test_a_killed_parent_takes_the_endpoint_with_it(
    file: Callable[[str], Path], tmp_path: Path
) -> None:
    path = file(SIMULATED)
    # Another folder of the name `experiments`, where the parent runs, must not be taken for ours.
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "__init__.py").write_text("raise SystemExit('not this one')")
    script = f"""
    import pathlib, sys, time
    sys.path.insert(0, {str(child.ROOT)!r})
    from experiments.local import process
    running = process.start(pathlib.Path({str(path)!r}))
    print(running.process.pid, flush=True)
    time.sleep(60)
    """
    command = [sys.executable, "-P", "-c", textwrap.dedent(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as parent:
        assert parent.stdout is not None
        server = int(parent.stdout.readline())
        assert is_running(server)
        parent.kill()
    wait_until_gone([server])


def test_a_killed_endpoint_takes_its_models_with_it(
    file: Callable[[str], Path], tmp_path: Path
) -> None:
    running = process.start(file(MODEL), log_dir=tmp_path / "logs")
    models = children_of(running.process.pid)
    running.process.kill()
    wait_until_gone(models)
    running.stop()


def test_ctrl_c_ends_the_server_with_status_0(file: Callable[[str], Path]) -> None:
    command = child.command("experiments.local.server", str(file(SIMULATED)))
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=child.environment()
    ) as server:
        assert server.stdout is not None
        assert server.stderr is not None
        assert set(json.loads(server.stdout.readline())) >= {"port", "url", "endpoint", "variants"}
        server.send_signal(signal.SIGINT)
        assert server.wait(20) == 0
        assert server.stderr.read() == b""


def test_a_port_in_use_is_said_without_a_traceback(file: Callable[[str], Path]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = child.command("experiments.local.server", str(file(SIMULATED)))
        ended = subprocess.run(
            [*command, "--port", str(port)],
            capture_output=True,
            text=True,
            env=child.environment(),
            timeout=60,
            check=False,
        )
        assert ended.returncode == 2
        assert ended.stderr == (
            f"Cannot listen on 127.0.0.1, port {port}: the port is in use by another process.\n"
            "Choose another port, or 0 for a free one.\n"
        )


def test_a_wrong_file_is_said(file: Callable[[str], Path]) -> None:
    path = file('name = "x"\n[variants.a]\nmodel = "digits-svm"\nwieght = 1')
    with pytest.raises(EndpointError) as caught:
        process.start(path)
    assert f"{path}: variants.a.wieght" in caught.value.message
    assert 'Did you mean "variants.a.weight"?' in caught.value.message


def test_a_model_server_that_ends_at_its_start_is_said_with_its_own_words(
    file: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "without" / "sklearn").mkdir(parents=True)
    (tmp_path / "without" / "sklearn" / "__init__.py").write_text("raise ImportError('hidden')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "without"))
    logs = tmp_path / "logs"
    with pytest.raises(EndpointError) as caught:
        process.start(file(MODEL), log_dir=logs)
    assert "only-1 ended while it started" in caught.value.message
    assert "needs scikit-learn" in caught.value.message
    assert "abreast[local]" in caught.value.message
    assert "Traceback" not in caught.value.message
    assert sorted(path.name for path in logs.iterdir()) == ["endpoint.log", "only-1.log"]


def test_a_model_server_elsewhere_that_is_not_there_is_said(file: Callable[[str], Path]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    path = file(f'name = "x"\n[variants.a]\nurl = "http://127.0.0.1:{port}"')
    with pytest.raises(EndpointError, match=r"variants\.a: .* does not answer GET /ping"):
        process.start(path)


def test_who_starts_an_endpoint_imports_neither_its_server_nor_its_models() -> None:
    script = (
        "import sys; import experiments.local.process;"
        "print(sorted({'botocore', 'boto3', 'httptools', 'sklearn', 'numpy'} & set(sys.modules)))"
    )
    said = subprocess.check_output(
        [sys.executable, "-c", script], env=child.environment(), text=True
    )
    assert said == "[]\n"


def test_an_address_that_others_reach_is_warned_of(file: Callable[[str], Path]) -> None:
    command = child.command("experiments.local.server", str(file(SIMULATED)), "--host", "0.0.0.0")
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=child.environment()
    ) as server:
        assert server.stdout is not None
        assert server.stderr is not None
        assert json.loads(server.stdout.readline())["url"].startswith("http://0.0.0.0:")
        server.terminate()
        assert b"others may reach this endpoint" in server.stderr.read()
