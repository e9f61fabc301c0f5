"""What a run stands on, failing: endpoint, names, certificates, disk, descriptors, clock."""

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

import pytest

from tests.end_to_end.conftest import environment
from tests.experiments.traffic.peer import OK, Script, answer, make_expired, serving, serving_at
from tests.reliability.kit import LONG, Cause, Ended, Kit
from tests.reliability.stops import SHORT

LIMITS = "limits={max_requests=10000, max_minutes=1}"
ABORTING = "limits={max_requests=10000, max_minutes=5, abort_error_rate=0.2}"
KEYS = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"}


def in_namespace(before: str, after: str = ":", *more: str) -> list[str]:
    """Give the command before a command that runs it where this user may mount, and `more`."""
    unshare = ["unshare", "-rm", *more]
    tried = subprocess.run([*unshare, "true"], capture_output=True, check=False)
    if tried.returncode:
        pytest.skip(f"no namespaces for this user: {tried.stderr.decode().strip()}")
    return [*unshare, "sh", "-c", f"{before} && trap '{after}' EXIT && \"$@\"", "sh"]


def own_keys() -> dict[str, str]:
    """Give the environment of someone whose keys any server of a test takes."""
    theirs = ("AWS_", "LOCUST_", "HTTP_PROXY")
    return {k: v for k, v in environment().items() if not k.startswith(theirs)} | KEYS


def endpoint_returns(kit: Kit) -> Ended:
    first = kit.serve()
    run = kit.start("traffic.duration=4s")
    kit.wait_for_requests(run)
    first.process.kill()
    first.stop()
    with serving_at("127.0.0.1", first.port, answering):
        ended = kit.end(run)
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
    ended = kit.end(kit.start(LONG, under=full))
    assert f"{disk}/" in ended.said  # which file
    kit.out = room
    judged = kit.report()
    assert judged.code == 4, judged.said
    return Ended(code=ended.code, said=ended.said, folder=judged.folder)


def disk_full_at_start(kit: Kit) -> Ended:
    """A run on a disk of 72 kB, which its folder fills, logs included."""
    disk, room = kit.folder / "disk", kit.folder / "room"
    disk.mkdir()
    kit.out = disk
    full = in_namespace(f"mount -t tmpfs -o size=72k tmpfs {disk}", f"cp -r {disk} {room}")
    ended = kit.end(kit.start(*SHORT, under=full))
    assert f"{disk}/" in ended.said  # which file
    assert list(room.iterdir()) == []
    return ended


NO_CONTROL_PLANE = answer(404, {"Content-Type": "application/json"}, b"{}")


def answering(connection: socket.socket, request: bytes) -> bool:
    """Answer as an endpoint does whose control plane is not there."""
    if b"POST /endpoints/" not in request:
        connection.sendall(NO_CONTROL_PLANE)
        return True
    time.sleep(0.4)
    connection.sendall(OK)
    return True


def answering_once(connection: socket.socket, request: bytes) -> bool:
    """The same, on connections that end with an answer."""
    found = OK if b"POST /endpoints/" in request else NO_CONTROL_PLANE
    time.sleep(0.4)
    connection.sendall(found.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    return False


NOBODY, SILENCE = "nameserver 127.0.0.2\n", "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n"
NETWORK = """
import socket, time
from pathlib import Path
from tests.experiments.traffic.peer import serving_at
from tests.reliability.surroundings import answering_once
silent = socket.socket(type=socket.SOCK_DGRAM)
silent.bind(("127.0.0.1", 53))
with serving_at("127.0.0.1", 8080, answering_once):
    Path("ready").touch()
    time.sleep(90)
"""


def names_lost(kit: Kit) -> Ended:
    """Each request needs its host's name, on a network that holds nothing but the endpoint."""
    hosts, servers, network = kit.folder / "hosts", kit.folder / "servers", kit.folder / "net.py"
    known = "127.0.0.1 shop.test\n"
    hosts.write_text(known)
    servers.write_text(NOBODY)
    network.write_text(NETWORK)
    kit.call("http://shop.test:8080")
    kit.env = own_keys()
    under = in_namespace(
        f"mount --bind {hosts} /etc/hosts && mount --bind {servers} /etc/resolv.conf "
        f"&& ip link set lo up && {{ {sys.executable} {network} > net.log 2>&1 & serving=$!; }} "
        "&& until [ -e ready ]; do sleep 0.1; done",
        "kill $serving",
        "-n",
    )
    dropping = ("traffic.rate=30", "traffic.slots=20", "traffic.overflow=drop")
    run = kit.start("traffic.duration=6s", *dropping, LIMITS, under=under)
    kit.wait_for_requests(run)
    hosts.write_text("")
    time.sleep(0.6)
    hosts.write_text(known)
    time.sleep(0.9)
    servers.write_text(SILENCE)
    hosts.write_text("")
    ended = kit.end(run)
    answered = [row["outcome"] for row in ended.rows if row["outcome"] != "dropped"]
    assert set(answered) == {"ok", "connection"}
    came_back = answered.index("ok", answered.index("connection"))
    assert "connection" in answered[came_back:]
    errors = {row["error"] for row in ended.rows if row["outcome"] == "connection"}
    assert all("Could not connect to the endpoint URL" in error for error in errors), errors
    return ended


def oddly() -> Script:
    """Give a server's script: of 25 answers four are none, one is too long, and one never ends."""
    calls = count()

    def script(connection: socket.socket, request: bytes) -> bool:
        match next(calls) if b"POST /endpoints/" in request else 0:
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
                return True
            case n if n % 25 == 24:
                connection.sendall(b"\x16\x03\x03 this is not HTTP\r\n\r\n")
                return True
        return answering(connection, request)

    return script


WAITING_LESS = """
import locust.main
from experiments.sagemaker import invoke
invoke.CONNECT_TIMEOUT_S = invoke.READ_TIMEOUT_S = 5
from experiments.traffic import control
control.DRAIN_S = 2
locust.main.main()
"""


def odd_answers(transport: str) -> Cause:
    """By plain Locust, whose time limits are shortened: the drain would take 75 s."""

    def cause(kit: Kit) -> Ended:
        with serving(oddly()) as peer:
            kit.call(peer.url)
            kit.env = own_keys()
            sending = f"traffic.transport={transport}"
            ended = kit.end(kit.start_locust(sending, code=WAITING_LESS))
        outcomes = Counter(row["outcome"] for row in ended.rows)
        assert outcomes.keys() == {"ok", "connection", "aborted"}, outcomes
        assert outcomes["aborted"] == 1
        assert ended.manifest["transport"]["name"] == transport
        return ended

    return cause


def certificate(folder: Path, name: str, host: str = "localhost") -> ssl.SSLContext:
    """Make a certificate of a host that only those trust who hold its file, and serve with it."""
    if name == "expired":
        make_expired(folder)
    else:
        made = (
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "
            f"/CN={host} -addext subjectAltName=DNS:{host} -keyout {name}.key -out {name}.pem"
        )
        subprocess.run(made.split(), cwd=folder, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    return context


def refused_certificate(name: str, host: str, trusted: str) -> Cause:
    """Serve with a certificate that is no good from the start."""

    def cause(kit: Kit) -> Ended:
        context = certificate(kit.folder, name, host)
        if trusted != name:
            certificate(kit.folder, trusted)
        kit.env = own_keys() | {"AWS_CA_BUNDLE": str(kit.folder / f"{trusted}.pem")}
        with serving(answering, context) as peer:
            kit.call(f"https://localhost:{peer.port}")
            ended = kit.end(kit.start(*SHORT))
            assert peer.requests == []
        return ended

    return cause


def certificate_changes(kit: Kit) -> Ended:
    """For a while the server, whose connections end with an answer, has another certificate."""
    context = certificate(kit.folder, "good")
    certificate(kit.folder, "other")
    kit.env = own_keys() | {"AWS_CA_BUNDLE": str(kit.folder / "good.pem")}
    with serving(answering_once, context) as peer:
        kit.call(f"https://localhost:{peer.port}")
        run = kit.start("traffic.duration=5s", "traffic.rate=30")
        kit.wait_for_requests(run)
        for name in ("other", "good"):
            context.load_cert_chain(kit.folder / f"{name}.pem", kit.folder / f"{name}.key")
            time.sleep(0.6)
        ended = kit.end(run)
    errors = {row["error"] for row in ended.rows if row["outcome"] == "connection"}
    assert any("certificate verify failed: self-signed certificate" in error for error in errors)
    assert ended.rows[-1]["outcome"] == "ok"
    return ended


def few_descriptors(kit: Kit) -> Ended:
    """Answers of half a second, for more requests at once than there are descriptors."""
    under = ["sh", "-c", 'ulimit -n 80 && exec "$@"', "sh"]
    return kit.end(kit.start(*SHORT, "traffic.rate=200", "traffic.slots=128", under=under))


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
    """An hour on and then two back in the midst of the run, for all of its processes; SIGTERM."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler, for a clock that can be set")
    kit.keep_endpoint()
    (kit.folder / "clock.c").write_text(CLOCK)
    compile_it = [compiler, "-shared", "-fPIC", "-o", "clock.so", "clock.c"]
    subprocess.run(compile_it, cwd=kit.folder, check=True, timeout=60)
    offset = kit.folder / "offset"
    offset.write_bytes(struct.pack("l", 0))
    kit.env |= {"LD_PRELOAD": str(kit.folder / "clock.so"), "CLOCK_OFFSET": str(offset)}
    run = kit.start(LONG)
    kit.wait_for_requests(run)
    for hours in (1, -1):
        with offset.open("r+b") as file:
            file.write(struct.pack("l", hours * 3600))
        time.sleep(0.5)
    run.terminate()
    ended = kit.end(run)
    events = (ended.folder or Path()) / "timeline.jsonl"
    at = {line["kind"]: line["at"] for line in map(json.loads, events.read_text().splitlines())}
    assert at["end"] < at["start"]
    rows = ended.rows
    assert {row["outcome"] for row in rows} == {"ok"}
    took_ns = [row["ended_ns"] - row["scheduled_ns"] for row in rows]
    assert 0 < min(took_ns) <= max(took_ns) < 5e9
    assert rows[-1]["scheduled_ns"] < 20e9
    return ended


def too_large(kit: Kit) -> Ended:
    return kit.end(kit.start("traffic.rate=1000000", "traffic.duration=240h"))


def stalled(*arms: str) -> Cause:
    """Let arms be variants whose model answers nobody within its time."""

    def cause(kit: Kit) -> Ended:
        variants = dict(zip(arms, ("stalled", "stalled-too"), strict=False))
        asked = [
            f'arms.{arm}.request={{target_variant="{variant}"}}'
            for arm, variant in variants.items()
        ]
        ended = kit.end(kit.start(LONG, ABORTING, *asked))
        failed = [row for row in ended.rows if row["outcome"] != "ok"]
        assert len(failed) > 20
        kinds = {(row["outcome"], row["original_status"], row["http_status"]) for row in failed}
        assert kinds == {("model_timeout", 0, 424)}
        return ended

    return cause
