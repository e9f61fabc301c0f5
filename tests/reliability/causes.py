"""Faults that take more than a signal: a full disk, lost names, odd answers, a clock that jumps."""

import json
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import time
from collections import Counter
from itertools import count
from pathlib import Path

import psutil
import pytest

from tests.end_to_end.conftest import ROOT, command, environment
from tests.experiments.traffic.peer import (
    OK,
    Script,
    answer,
    make_expired,
    saying,
    serving,
)
from tests.reliability.kit import LIMITS, Ended, Kit

SHORT = "traffic.duration=4s"
ABORTING = "limits={max_requests=10000, max_minutes=5, abort_error_rate=0.2}"
KEYS = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"}


def in_namespace(before: str, after: str = ":") -> list[str]:
    """Give the command before a command that runs it where this user may mount."""
    tried = subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False)
    if tried.returncode:
        pytest.skip(f"no mounts for this user: {tried.stderr.decode().strip()}")
    return ["unshare", "-rm", "sh", "-c", f'{before} && trap "{after}" EXIT && "$@"', "sh"]


def own_keys() -> dict[str, str]:
    """Give the environment of someone whose keys any server of a test takes."""
    theirs = ("AWS_", "LOCUST_", "HTTP_PROXY")
    return {k: v for k, v in environment().items() if not k.startswith(theirs)} | KEYS


def supervisor_killed(kit: Kit) -> Ended:
    run = kit.start("traffic.duration=60s")
    kit.wait_for_requests(run)
    children = psutil.Process(run.pid).children(recursive=True)
    assert len(children) >= 2
    run.kill()
    run.communicate(timeout=60)
    _, alive = psutil.wait_procs(children, timeout=20)
    assert alive == []
    (folder,) = kit.out.iterdir()
    judged = subprocess.Popen(
        command("report", str(folder)), env=environment(), stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    return kit.end(judged)


def endpoint_returns(kit: Kit) -> Ended:
    first = kit.serve()
    env = first.client_environment(environment())
    run = kit.start("traffic.duration=5s", env=env)
    kit.wait_for_requests(run)
    first.process.kill()
    first.stop()
    again = kit.serve(first.port)
    try:
        ended = kit.end(run)
    finally:
        again.stop()
    outcomes = [row["outcome"] for row in ended.rows]
    assert set(outcomes) == {"ok", "connection"}
    assert outcomes[0] == outcomes[-1] == "ok"
    return ended


def disk_full(kit: Kit) -> Ended:
    """A run on a disk of 150 kB, judged once its folder is where there is room."""
    disk, room = kit.folder / "disk", kit.folder / "room"
    disk.mkdir()
    kit.out = disk
    full = in_namespace(f"mount -t tmpfs -o size=150k tmpfs {disk}", f"cp -r {disk} {room}")
    ended = kit.end(kit.start("traffic.duration=60s", under=full))
    assert f"{disk}/" in ended.said  # which file
    kit.out = room
    (folder,) = room.iterdir()
    judged = subprocess.run(
        command("report", str(folder)), env=environment(), capture_output=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert judged.returncode == 4, judged.stderr
    return Ended(code=ended.code, said=ended.said, folder=folder)


def disk_full_at_start(kit: Kit) -> Ended:
    """A run on a disk of 72 kB, which its folder fills, logs included."""
    disk, room = kit.folder / "disk", kit.folder / "room"
    disk.mkdir()
    kit.out = disk
    full = in_namespace(f"mount -t tmpfs -o size=72k tmpfs {disk}", f"cp -r {disk} {room}")
    ended = kit.end(kit.start(SHORT, under=full))
    assert f"{disk}/" in ended.said  # which file
    assert list(room.iterdir()) == []
    return ended


def names_lost(kit: Kit) -> Ended:
    """Every connection needs its host's name, which for a second nothing knows."""
    kit.endpoint_file.write_text(
        kit.endpoint_file.read_text() + '[[faults]]\nkind = "closed_keep_alive"\n'
    )
    endpoint = kit.serve()
    hosts, nobody = kit.folder / "hosts", kit.folder / "nobody"
    known = "127.0.0.1 shop.test\n"
    hosts.write_text(known)
    nobody.write_text("nameserver 127.0.0.1\n")
    text = kit.plan.read_text()
    kit.plan.write_text(text.replace("127.0.0.1", "shop.test"))
    mounts = f"mount --bind {hosts} /etc/hosts && mount --bind {nobody} /etc/resolv.conf"
    try:
        run = kit.start(
            "traffic.duration=5s", LIMITS, under=in_namespace(mounts),
            env=endpoint.client_environment(environment()),
        )  # fmt: skip
        kit.wait_for_requests(run)
        hosts.write_text("")
        time.sleep(0.7)
        hosts.write_text(known)
        ended = kit.end(run)
    finally:
        endpoint.stop()
    errors = [row["error"] for row in ended.rows if row["outcome"] != "ok"]
    assert any("Could not connect to the endpoint URL" in error for error in errors), errors
    assert ended.rows[-1]["outcome"] == "ok"
    return ended


def oddly() -> Script:
    """Give a server's script: of 25 answers four are none, one is too long, and one never ends."""
    calls = count()

    def script(connection: socket.socket, request: bytes) -> bool:
        if b"POST /endpoints/" not in request:
            connection.sendall(answer(404, {"Content-Type": "application/json"}, b"{}"))
            return True
        match next(calls):
            case 40:
                connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                while True:
                    connection.sendall(b"1\r\nx\r\n")
                    time.sleep(0.1)
            case n if n % 25 == 5:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return False
            case n if n % 25 == 10:
                connection.shutdown(socket.SHUT_WR)
                return connection.recv(1) != b""
            case n if n % 25 == 15:
                connection.sendall(OK.replace(b"Content-Length: 2", b"Content-Length: 200"))
                return False
            case n if n % 25 == 20:
                connection.sendall(OK + b"more than was promised")
            case n if n % 25 == 24:
                connection.sendall(b"\x16\x03\x03 this is not HTTP\r\n\r\n")
            case _:
                connection.sendall(OK)
        return True

    return script


WAITING_LESS = """
import locust.main
from experiments.sagemaker import invoke
invoke.CONNECT_TIMEOUT_S = invoke.READ_TIMEOUT_S = 1
locust.main.main()
"""


def odd_answers(kit: Kit) -> Ended:
    """By plain Locust, whose time limits are shortened: the drain would take 75 s."""
    with serving(oddly()) as peer:
        kit.call(peer.url)
        run = subprocess.Popen(
            [sys.executable, "-c", WAITING_LESS, "-f", str(ROOT / "locustfile.py"), "--headless",
             "--only-summary", "--plan", str(kit.plan), "--out", str(kit.out)],
            cwd=kit.folder,
            env=own_keys(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )  # fmt: skip
        ended = kit.end(run)
    outcomes = Counter(row["outcome"] for row in ended.rows)
    assert outcomes.keys() == {"ok", "connection", "aborted"}, outcomes
    assert outcomes["aborted"] == 1
    return ended


def expired_certificate(kit: Kit) -> Ended:
    make_expired(kit.folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(kit.folder / "expired.pem", kit.folder / "expired.key")
    env = own_keys() | {"AWS_CA_BUNDLE": str(kit.folder / "expired.pem")}
    with serving(saying(OK), context) as peer:
        kit.call(f"https://localhost:{peer.port}")
        ended = kit.end(kit.start(SHORT, env=env))
        assert peer.requests == []
    return ended


def few_descriptors(kit: Kit) -> Ended:
    """Answers that take half a second, for more requests at once than there are descriptors."""
    for times in ("6ms", "3ms"):
        text = kit.endpoint_file.read_text().replace(f'"{times}"', '"500ms"')
        kit.endpoint_file.write_text(text.replace("workers = 4", "workers = 99"))
    endpoint = kit.serve()
    try:
        run = kit.start(
            SHORT, "traffic.rate=140", "traffic.slots=128",
            under=["sh", "-c", 'ulimit -n 80 && exec "$@"', "sh"],
            env=endpoint.client_environment(environment()),
        )  # fmt: skip
        return kit.end(run)
    finally:
        endpoint.stop()


CLOCK = """
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
static volatile long *offset;
__attribute__((constructor)) static void begin(void) {
    int fd = open(getenv("CLOCK_OFFSET"), O_RDONLY);
    offset = mmap(0, sizeof(long), PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
}
int clock_gettime(clockid_t id, struct timespec *at) {
    int failed = syscall(SYS_clock_gettime, id, at);
    if (id == CLOCK_REALTIME && offset) at->tv_sec += *offset;
    return failed;
}
"""


def clock_stepped(kit: Kit) -> Ended:
    """Two minutes back in the midst of the run, for all of its processes."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler, for a clock that can be set")
    (kit.folder / "clock.c").write_text(CLOCK)
    compile_it = [compiler, "-shared", "-fPIC", "-o", "clock.so", "clock.c"]
    subprocess.run(compile_it, cwd=kit.folder, check=True, timeout=60)
    offset = kit.folder / "offset"
    offset.write_bytes(struct.pack("l", 0))
    shifted = {"LD_PRELOAD": str(kit.folder / "clock.so"), "CLOCK_OFFSET": str(offset)}
    run = kit.start(SHORT, env=environment() | shifted)
    kit.wait_for_requests(run)
    with offset.open("r+b") as file:
        file.write(struct.pack("l", -120))
    ended = kit.end(run)
    events = (ended.folder or Path()) / "timeline.jsonl"
    at = {line["kind"]: line["at"] for line in map(json.loads, events.read_text().splitlines())}
    assert at["end"] < at["start"]
    took_ns = [row["ended_ns"] - row["started_ns"] for row in ended.rows]
    assert 0 < min(took_ns) <= max(took_ns) < 5e9
    return ended


def too_large(kit: Kit) -> Ended:
    return kit.end(kit.start("traffic.rate=1000000", "traffic.duration=240h"))


def one_arm_fails(kit: Kit) -> Ended:
    failing = (
        '[[faults]]\nkind = "model_error"\nstatus = 500\nvariant = "candidate"\nat = "100ms"\n'
    )
    kit.endpoint_file.write_text(kit.endpoint_file.read_text() + failing)
    return kit.end(kit.start("traffic.duration=60s", ABORTING))


def all_arms_fail(kit: Kit) -> Ended:
    kit.endpoint_file.write_text(f'model_timeout = "1ms"\n{kit.endpoint_file.read_text()}')
    ended = kit.end(kit.start("traffic.duration=60s", ABORTING))
    failed = [row for row in ended.rows if row["outcome"] == "model_timeout"]
    assert len(failed) > 50
    assert {(row["original_status"], row["http_status"]) for row in failed} == {(0, 424)}
    return ended
