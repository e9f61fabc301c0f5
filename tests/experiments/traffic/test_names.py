"""A new connection looks its host up anew: an endpoint that moves is followed, by its next one."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gevent
import pytest

from experiments.tables import Endpoint
from experiments.traffic.fast import fast_transport
from tests.experiments.traffic.peer import OK, serving_at

# A transport keeps its connections, and goes with them.
pytestmark = pytest.mark.filterwarnings(
    "ignore:unclosed <socket:ResourceWarning",
    "ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning",
)
CALL: dict[str, Any] = {"EndpointName": "digits", "Body": b"{}"}


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

    for name in ("AWS_PROFILE", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "local")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "local")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")

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
        url = f"http://moving.example:{here.port}"
        transport = fast_transport(Endpoint(name="digits", target=url))
        assert callable(transport), transport
        assert transport(CALL).outcome == "ok"
        address["A"] = "127.0.0.2"
        assert not transport(CALL).new_connection  # one that is kept stays where it is
        gevent.sleep(0.05)  # its end arrives
        moved = transport(CALL)
        assert (moved.outcome, moved.new_connection) == ("ok", True)
        resolver.close()
    assert (len(here.requests), len(there.requests)) == (2, 1)
