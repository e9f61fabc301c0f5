"""An nginx that answers every request at once, plain and in TLS, and counts them."""

import shutil
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.generator.target import SERVER_CPU

_CONFIG = """
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  keepalive_timeout 600s;
  client_max_body_size 64m;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  default_type application/json;
  server {{
    listen 127.0.0.1:{plain} backlog=4096;
    listen 127.0.0.1:{tls} ssl backlog=4096;
    ssl_certificate {folder}/certificate.pem;
    ssl_certificate_key {folder}/key.pem;
    location = /count {{ stub_status; }}
    location = / {{ return 400 '{{"__type":"AccessDeniedException","message":"none here"}}'; }}
    location / {{
      add_header x-amzn-RequestId 11111111-2222-4333-8444-555555555555;
      add_header x-Amzn-Invoked-Production-Variant a;
      return 200 '{{"predictions":[{{"label":0}}]}}';
    }}
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class Sink:
    """An nginx that runs on a core of its own."""

    plain_port: int
    tls_port: int
    certificate: Path

    def url(self, *, is_tls: bool) -> str:
        """Give its address, without a path; the certificate is for localhost."""
        scheme, port = ("https", self.tls_port) if is_tls else ("http", self.plain_port)
        return f"{scheme}://localhost:{port}"

    def served(self) -> int:
        """Count the requests that it has answered; asking is one more."""
        with urllib.request.urlopen(
            f"http://127.0.0.1:{self.plain_port}/count", timeout=10
        ) as said:
            return int(said.read().split()[9])


@contextmanager
def serving() -> Iterator[Sink]:
    """Run nginx for the length of a `with` block.

    Raises:
        RuntimeError: nginx is not installed, or did not start.
    """
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if nginx is None:
        raise RuntimeError("nginx is not installed; on Debian it is the package nginx-light.")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
             "-keyout", "key.pem", "-out", "certificate.pem", "-subj", "/CN=localhost",
             "-addext", "subjectAltName=DNS:localhost"],
            cwd=folder, check=True, capture_output=True,
        )  # fmt: skip
        sink = Sink(_free_port(), _free_port(), folder / "certificate.pem")
        config = folder / "nginx.conf"
        config.write_text(
            _CONFIG.format(folder=folder, plain=sink.plain_port, tls=sink.tls_port),
            encoding="ascii",
        )
        running = subprocess.Popen(
            ["taskset", "--cpu-list", str(SERVER_CPU), nginx, "-p", name, "-c", str(config)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            _await(sink, running)
            yield sink
        finally:
            running.terminate()
            running.wait(10)


def _await(sink: Sink, running: subprocess.Popen[bytes]) -> None:
    for _ in range(100):
        try:
            sink.served()
        except OSError:
            if running.poll() is not None:
                raise RuntimeError(f"nginx ended with exit code {running.returncode}.") from None
            time.sleep(0.05)
        else:
            return
    raise RuntimeError("nginx did not answer.")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port
