"""What the tests of the transports share: surroundings, certificates, and a scripted server."""

import gc
import socket
import subprocess
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.experiments.traffic import transports
from tests.experiments.traffic.peer import make_expired, serving


class Scripted:
    """Both transports to one server, which says to every request what a test has it say."""

    def says(self, raw: bytes, *, close: bool = False) -> transports.Both:
        self._raw, self._closes = raw, close
        return self.both

    def _script(self, connection: socket.socket, request: bytes) -> bool:
        connection.sendall(self._raw)
        return not self._closes

    @contextmanager
    def served(self) -> Iterator["Scripted"]:
        with serving(self._script) as self.peer:
            self.both = transports.both_at(self.peer.url)
            yield self
        with warnings.catch_warnings(action="ignore"):
            del self.both  # whose connections go with them, which warns
            gc.collect()


@pytest.fixture(scope="module")
def aws_environment() -> Iterator[pytest.MonkeyPatch]:
    with transports.aws_environment() as patch:
        yield patch


@pytest.fixture(scope="module")
def scripted(aws_environment: pytest.MonkeyPatch) -> Iterator[Scripted]:
    with Scripted().served() as made:
        yield made


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates that are valid, for another host, of nobody that is trusted, and expired."""
    folder = tmp_path_factory.mktemp("certificates")
    hosts = {"trusted": "localhost", "other-host": "example.org", "self": "localhost"}
    for name, host in hosts.items():
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
             "-nodes", "-days", "2", "-keyout", f"{name}.key", "-out", f"{name}.pem",
             "-subj", f"/CN={host}", "-addext", f"subjectAltName=DNS:{host}"],
            cwd=folder, check=True, capture_output=True, timeout=60,
        )  # fmt: skip
    make_expired(folder)
    trusted = ("trusted", "other-host", "expired")
    every = b"".join((folder / f"{name}.pem").read_bytes() for name in trusted)
    (folder / "bundle.pem").write_bytes(every)
    return folder
