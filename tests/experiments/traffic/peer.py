"""A server whose every byte is scripted, in threads of its own, plain or in TLS."""

import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

Script = Callable[[socket.socket, bytes], bool]
"""Answers one request on a connection; says whether the connection stays open."""


@dataclass
class Peer:
    """What a server has seen."""

    port: int
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0
    closed: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def saying(raw: bytes, *, close: bool = False) -> Script:
    def script(connection: socket.socket, request: bytes) -> bool:
        connection.sendall(raw)
        return not close

    return script


def answer(status: int, headers: dict[str, str], body: bytes) -> bytes:
    lines = [f"HTTP/1.1 {status} X", *(f"{k}: {v}" for k, v in headers.items())]
    lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


OK = answer(200, {"Content-Type": "text/csv"}, b"3\n")


@contextmanager
def serving(script: Script, context: ssl.SSLContext | None = None) -> Iterator[Peer]:
    with serving_at("127.0.0.1", 0, script, context) as peer:
        yield peer


@contextmanager
def serving_at(
    address: str, port: int, script: Script, context: ssl.SSLContext | None = None
) -> Iterator[Peer]:
    listener = socket.create_server((address, port), backlog=256)
    peer = Peer(listener.getsockname()[1])
    threads: list[threading.Thread] = []
    opened: list[socket.socket] = []

    def converse(connection: socket.socket) -> None:
        # A client may go away at any time, which is a part of some tests.
        with suppress(OSError), connection:
            if context is not None:
                connection = context.wrap_socket(connection, server_side=True)
                opened.append(connection)
            peer.connections += 1
            with connection:
                while (request := read_request(connection)) is not None:
                    peer.requests.append(request)
                    if not script(connection, request):
                        return

    def serve(connection: socket.socket) -> None:
        converse(connection)
        peer.closed += 1

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            opened.append(connection)
            threads.append(threading.Thread(target=serve, args=(connection,)))
            threads[-1].start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield peer
    finally:
        for each in (listener, *opened):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in (accepting, *threads):
            thread.join(30)


def read_request(connection: socket.socket) -> bytes | None:
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        if not more:
            return None
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        int(line.partition(b":")[2])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length")
    )
    parts = [body]
    got = len(body)
    while got < length:
        parts.append(connection.recv(1 << 20))
        if not parts[-1]:
            return None
        got += len(parts[-1])
    return head + b"\r\n\r\n" + b"".join(parts)


def make_expired(folder: Path) -> None:
    """Make expired.pem and expired.key, of a certificate for localhost that was valid once."""
    (folder / "ca").mkdir()
    (folder / "ca" / "index.txt").touch()
    (folder / "ca.cnf").write_text(
        "[ca]\ndefault_ca=d\n[d]\nnew_certs_dir=ca\ndatabase=ca/index.txt\nrand_serial=yes\n"
        "default_md=sha256\npolicy=p\nx509_extensions=x\n[p]\ncommonName=supplied\n"
        "[x]\nsubjectAltName=DNS:localhost\nbasicConstraints=CA:true\n"
        "[req]\ndistinguished_name=n\n[n]\n"
    )
    for arguments in (
        "req -config ca.cnf -new -newkey rsa:2048 -nodes -keyout expired.key -out expired.csr "
        "-subj /CN=localhost",
        "ca -config ca.cnf -batch -selfsign -keyfile expired.key -in expired.csr -out expired.pem "
        "-notext -startdate 20200101000000Z -enddate 20200201000000Z",
    ):
        subprocess.run(["openssl", *arguments.split()], cwd=folder, check=True, capture_output=True)
