"""The servers that are measured, each as a child process on a core of its own."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from experiments import child
from experiments.local import process

_CPUS = sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else [0]
CLIENT_CPU, SERVER_CPU = _CPUS[0], _CPUS[-1]
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")

_NGINX = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    keepalive_requests 100000000;
    client_body_temp_path {folder};
    proxy_temp_path {folder};
    fastcgi_temp_path {folder};
    uwsgi_temp_path {folder};
    scgi_temp_path {folder};
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        location / {{
            default_type application/json;
            return 200 '{{"predictions": [{{"label": 0}}]}}';
        }}
    }}
}}
"""


def cpu_s(pid: int) -> float:
    """Read the CPU time that a process has taken, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def core_wait_s(pid: int) -> float:
    """Read how long a process was ready to run while something else had its core, in seconds."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9


@contextmanager
def endpoint(text: str, folder: Path) -> Iterator[tuple[int, int]]:
    """Serve an endpoint file's text; give the port and the process's id."""
    file = folder / "benchmark.endpoint.toml"
    file.write_text(text)
    running = process.start(file, log_dir=folder)
    try:
        os.sched_setaffinity(running.process.pid, {SERVER_CPU})
        yield running.port, running.process.pid
    finally:
        running.stop()


@contextmanager
def nginx(folder: Path) -> Iterator[tuple[int, int]]:
    """Serve a fixed answer by one nginx worker; give the port and the worker's id."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = folder / "nginx.conf"
    config.write_text(_NGINX.format(folder=folder, port=port))
    found = shutil.which("nginx") or "/usr/sbin/nginx"
    master = subprocess.Popen(
        ["taskset", "--cpu-list", str(SERVER_CPU), found, "-c", str(config), "-p", str(folder)],
        env=child.environment(), stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield port, _worker_of(master, port)
    finally:
        master.terminate()
        master.wait()


def _worker_of(master: subprocess.Popen[bytes], port: int) -> int:
    deadline = time.monotonic() + 10
    children = Path(f"/proc/{master.pid}/task/{master.pid}/children")
    while master.poll() is None and time.monotonic() < deadline:
        if workers := children.read_text().split():
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return int(workers[0])
        time.sleep(0.02)
    raise RuntimeError("nginx did not start.")
