"""Machines of a kind: network namespaces with links of their own, that tests can cut."""

import os
import re
import shlex
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.end_to_end.conftest import ENDPOINT, ROOT, command

ENDPOINT_HOST = "10.99.0.1"
"""The endpoint's address, which the cut of a link to the master does not touch."""

PLAN = f"""
question = "compare"
seed = 5
[endpoint]
name = "shop"
target = "http://{ENDPOINT_HOST}:8080"
[arms.current]
[arms.candidate]
[request]
payloads = "rows.jsonl"
content_type = "application/json"
[traffic]
routing = "paired"
rate = 80
warmup = "1s"
duration = "3s"
slots = 32
[limits]
max_requests = 5000
max_minutes = 2
[compare]
baseline = "current"
margins = {{ p50 = "5%" }}
"""


def ip(*arguments: str) -> None:
    """Run iproute2's `ip`."""
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


def environment(**more: str) -> dict[str, str]:
    """Give the environment of a machine: nothing of AWS but what is given."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "PYTEST", "COV_"))}
    return {**kept, "PYTHONPATH": str(ROOT), "AWS_EC2_METADATA_DISABLED": "true", **more}


@dataclass
class Net:
    """A leader's namespace, with a link for orders and one for load to each worker's."""

    stem: str
    stack: ExitStack
    exports: dict[str, str] = field(default_factory=dict)

    def worker(self, number: int) -> str:
        """Give the namespace of a worker, made where there is none yet."""
        name = f"{self.stem}w{number}"
        if f"{name}\n" in _namespaces():
            return name
        ip("netns", "add", name)
        self.stack.callback(ip, "netns", "del", name)
        for kind, net in (("a", 77), ("b", 88)):
            here, there = f"{self.stem}{kind}{number}", f"{kind}{number}"
            ip("link", "add", here, "netns", self.leader, "type", "veth", "peer", there,
               "netns", name)  # fmt: skip
            for space, link, host in ((self.leader, here, 1), (name, there, 2)):
                ip("-n", space, "addr", "add", f"10.{net}.{number}.{host}/30", "dev", link)
                ip("-n", space, "link", "set", link, "up")
        ip("-n", name, "route", "add", ENDPOINT_HOST, "via", f"10.88.{number}.1")
        return name

    @property
    def leader(self) -> str:
        """The namespace of the master and of the endpoint."""
        return f"{self.stem}m"

    def set_link(self, number: int, state: str) -> None:
        """Cut a worker's link to the master, or mend it."""
        ip("-n", self.leader, "link", "set", f"{self.stem}a{number}", state)

    def start(
        self, space: str, line: Sequence[str], folder: Path, hidden: Path | None = None
    ) -> "subprocess.Popen[str]":
        """Start a program there; `hidden` is a folder that its disk does not have."""
        mount = f"mount -t tmpfs none {shlex.quote(str(hidden))} && " if hidden else ""
        started = subprocess.Popen(
            ["ip", "netns", "exec", space, "sh", "-c", f"{mount}exec {shlex.join(line)}"],
            cwd=folder,
            env=environment(**self.exports),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.stack.callback(_end, started)
        return started

    def start_worker(
        self, number: int, port: int, folder: Path, hidden: Path | None
    ) -> "subprocess.Popen[str]":
        """Start a worker whose disk has no run folder where that is `hidden`."""
        master = ("--master-host", f"10.77.{number}.1", "--master-port", str(port))
        line = command("worker", *master, "--out", str(folder / f"spool-{number}"))
        return self.start(self.worker(number), line, folder, hidden)

    def start_run(
        self, folder: Path, port: int, workers: int, seconds: int
    ) -> "subprocess.Popen[str]":
        """Start a run whose workers come by themselves."""
        bind = ("--master-bind-host", "0.0.0.0", "--master-port", str(port))
        length = ("--set", f"traffic.duration={seconds}s", "--out", str(folder / "out"))
        line = command("run", "shop.toml", "--expect-workers", str(workers), *bind, *length)
        return self.start(self.leader, line, folder)


def _namespaces() -> str:
    listed = subprocess.run(["ip", "netns", "list"], check=True, capture_output=True, text=True)
    return re.sub(r" .*", "", listed.stdout) + "\n"


def _end(started: "subprocess.Popen[str]") -> None:
    if started.poll() is None:
        started.kill()
    started.communicate()


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Net]:
    """Namespaces with a local endpoint in the leader's, and what its clients export."""
    stem = f"ab{os.getpid() % 100_000}"
    with ExitStack() as stack:
        made = Net(stem, stack)
        try:
            ip("netns", "add", made.leader)
        except (OSError, subprocess.CalledProcessError) as error:
            reason = f"no network namespaces here: {getattr(error, 'stderr', error)}"
            if os.environ.get("ABREAST_SKIP_NOTHING"):
                pytest.fail(reason)
            pytest.skip(reason)
        stack.callback(ip, "netns", "del", made.leader)
        ip("-n", made.leader, "link", "set", "lo", "up")
        ip("-n", made.leader, "addr", "add", f"{ENDPOINT_HOST}/32", "dev", "lo")
        folder = tmp_path_factory.mktemp("endpoint")
        (folder / "shop.endpoint.toml").write_text(ENDPOINT)
        line = command("serve", "shop.endpoint.toml", "--host", ENDPOINT_HOST)
        served = made.start(made.leader, line, folder)
        assert served.stdout is not None
        while "AWS_DEFAULT_REGION" not in made.exports:  # the last
            said = served.stdout.readline()
            assert said, "the endpoint ended"
            if said.startswith("export "):
                key, _, value = said.removeprefix("export ").strip().partition("=")
                made.exports[key] = shlex.split(value)[0] if value else ""
        threading.Thread(target=served.stdout.read, daemon=True).start()
        yield made


def put_plan(folder: Path) -> Path:
    """Put a plan and its payloads into a folder, and give where its runs are to be."""
    (folder / "shop.toml").write_text(PLAN)
    (folder / "rows.jsonl").write_text("".join(f'{{"x": {i}}}\n' for i in range(10)))
    (folder / "out").mkdir()
    return folder / "out"


def wait_for(happened: Callable[[], object], seconds: float = 180) -> None:
    """Wait until something has happened."""
    until = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.05)


def started_in(out: Path) -> bool:
    """Whether the run's time zero is set."""
    return any('"start"' in path.read_text() for path in out.glob("*/timeline.jsonl"))
