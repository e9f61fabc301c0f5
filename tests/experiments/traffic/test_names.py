"""A new connection looks its host up anew: an endpoint that moves is followed, by its next one."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import gevent
import pytest

from experiments.traffic.sockets import connect
from tests.experiments.traffic.peer import OK, serving_at
from tests.experiments.traffic.transports import CALL, fast_at

# A transport keeps its connections, and goes with them.
pytestmark = [
    pytest.mark.usefixtures("aws_environment"),
    pytest.mark.filterwarnings(
        "ignore:unclosed <s:ResourceWarning",
        "ignore:Exception ignored in. <s:pytest.PytestUnraisableExceptionWarning",
    ),
]


@contextmanager
def names(addresses: dict[str, str]) -> Iterator[int]:
    """A name server of one record, `addresses["A"]`, which nobody may keep; yields its port."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 0))

    def answer() -> None:
        while True:
            query, client = server.recvfrom(512)
            if not query:
                return
            end = query.index(b"\0", 12) + 5
            is_a = query[end - 4 : end - 2] == b"\0\x01"
            counts = struct.pack(">HHHHH", 0x8180, 1, is_a, 0, 0)
            record = struct.pack(">HHHIH", 0xC00C, 1, 1, 0, 4) + socket.inet_aton(addresses["A"])
            server.sendto(query[:2] + counts + query[12:end] + record * is_a, client)

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        yield server.getsockname()[1]
    finally:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", server.getsockname())
        thread.join(10)
        server.close()


def test_a_new_connection_follows_the_name_to_another_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from gevent.resolver.ares import Resolver

    def once(connection: socket.socket, request: bytes) -> bool:
        connection.sendall(OK)
        return len(here.requests) < 2  # the second request is the last of its connection

    address = {"A": "127.0.0.1"}
    with (
        serving_at("127.0.0.1", 0, once) as here,
        serving_at("127.0.0.2", here.port, once) as there,
        names(address) as port,
    ):
        resolver = Resolver(servers="127.0.0.1", udp_port=port, tcp_port=port)
        monkeypatch.setattr(gevent.get_hub(), "resolver", resolver)
        transport = fast_at(f"http://moving.example:{here.port}")
        assert transport(CALL).outcome == "ok"
        address["A"] = "127.0.0.2"
        assert not transport(CALL).new_connection  # one that is kept stays where it is
        with gevent.Timeout(20):
            while not here.closed:
                gevent.sleep(0.001)
        moved = transport(CALL)
        assert (moved.outcome, moved.new_connection) == ("ok", True)
        resolver.close()
    assert (len(here.requests), len(there.requests)) == (2, 1)


def test_a_name_server_that_says_nothing_is_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    from gevent.resolver.ares import Resolver

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        resolver = Resolver(servers="127.0.0.1", udp_port=port, tcp_port=port, timeout=30)
        monkeypatch.setattr(gevent.get_hub(), "resolver", resolver)
        with gevent.Timeout(10), pytest.raises(TimeoutError):
            connect("silent.example", 80, None, within_s=0.1, timeout_s=1)
        resolver.close()
