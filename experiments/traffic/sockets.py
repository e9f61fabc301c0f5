"""Byte streams over gevent's loop: plain and TLS, with a limit on how long each wait may take.

They wait on the loop's own watchers: a gevent socket with a timeout costs twice as much a request.
"""

import contextlib
import errno
import os
import select
import socket
import ssl
from collections.abc import Callable
from typing import Any

import gevent
import gevent.socket
import gevent.ssl
from gevent import get_hub
from gevent.monkey import get_original

_READ, _WRITE = 1, 2
_SLICE = 65_536
"""Most bytes that are read, or encrypted, before other slots have their turn."""
_RECORD = 16_384
"""Most bytes of a record of TLS, so that `read` leaves nothing within OpenSSL."""

_plain_socket: Any = get_original("socket", "socket")
_poll: Any = get_original("select", "poll")


class Stream:
    """A TCP connection, made from a connected socket.

    Raises:
        TimeoutError: from `send` and `receive`, when the peer did nothing for `timeout_s`.
        OSError: the connection broke.
    """

    def __init__(self, connected: socket.socket, timeout_s: float) -> None:
        self._socket = _plain_socket(fileno=connected.detach())
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._hub = get_hub()
        self._readable = self._hub.loop.io(self._socket.fileno(), _READ)
        self._writable = self._hub.loop.io(self._socket.fileno(), _WRITE)
        self._readiness = _poll()
        self._readiness.register(self._socket.fileno(), select.POLLIN)
        self._is_late = False
        self._timer = self._hub.loop.timer(timeout_s, timeout_s)

    def send(self, data: bytes | memoryview) -> None:
        """Write all of `data`."""
        while True:
            try:
                sent = self._socket.send(data)
            except BlockingIOError:
                sent = 0
            if sent == len(data):
                return
            data = memoryview(data)[sent:]
            self._wait(self._writable)

    def receive(self) -> bytes:
        """Wait for bytes and give them; none at the end of the stream."""
        while True:
            self._wait(self._readable)
            try:
                data: bytes = self._socket.recv(_SLICE)
            except BlockingIOError:
                continue
            return data

    def is_quiet(self) -> bool:
        """Say whether the peer has neither written nor closed since what was last received."""
        return not self._readiness.poll(0)

    def rest(self) -> None:
        """Wait no more, until the next `send`."""
        self._timer.stop()

    def close(self) -> None:
        """Close it."""
        for watcher in (self._timer, self._readable, self._writable):
            watcher.stop()
            watcher.close()
        self._socket.close()

    def _wait(self, watcher: Any) -> None:
        self._timer.again(self._be_late)
        self._hub.wait(watcher)
        if self._is_late:
            raise TimeoutError("timed out")

    def _be_late(self) -> None:
        self._is_late = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # which wakes whoever waits


class TlsStream(Stream):
    """A connection in TLS, which `open` begins.

    OpenSSL reads and writes the socket itself, as it does for gevent's own: through buffers in
    memory each request would cost 1 µs more.

    Raises:
        ssl.SSLError: the handshake failed, or what came later was not TLS.
    """

    def open(self, context: ssl.SSLContext, host: str) -> None:
        """Shake hands with a peer that must be `host`, as far as the context verifies it."""
        self._tls: Any = context._wrap_socket(self._socket, False, host)  # type: ignore[attr-defined]
        self._when_ready(self._tls.do_handshake)
        self.rest()

    def send(self, data: bytes | memoryview) -> None:
        """Write all of `data`."""
        try:
            self._write(data)
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError) as error:  # Python 3.11's name for EPIPE
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)) from error

    def _write(self, data: bytes | memoryview) -> None:
        sent = self._when_ready(self._tls.write, data)  # a record at most
        left, since_turn = memoryview(data)[sent:], sent
        while left:
            if since_turn >= _SLICE:
                since_turn = 0
                gevent.sleep(0)
            sent = self._when_ready(self._tls.write, left)
            left, since_turn = left[sent:], since_turn + sent

    def receive(self) -> bytes:
        """Wait for bytes and give them; none at the end of the stream."""
        self._wait(self._readable)  # asked too early, `read` raises, at 3 µs a request
        try:
            data: bytes = self._when_ready(self._tls.read, _RECORD)
        except ssl.SSLZeroReturnError:
            return b""
        except ssl.SSLEOFError as error:
            if error.reason is None:  # Python 3.11's name for a reset; a mere end has a reason
                reset = errno.ECONNRESET
                raise ConnectionResetError(reset, os.strerror(reset)) from error
            return b""
        return data

    def _when_ready(self, call: Callable[..., Any], *arguments: Any) -> Any:
        while True:
            try:
                return call(*arguments)
            except ssl.SSLWantReadError:
                self._wait(self._readable)
            except ssl.SSLWantWriteError:
                self._wait(self._writable)


def verifying_context(ca_bundle: str) -> ssl.SSLContext:
    """Make a TLS context that trusts the certificates of a file, and checks the host's name.

    Raises:
        OSError: the file cannot be read, or holds no certificates.
    """
    context: ssl.SSLContext = gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.load_verify_locations(cafile=ca_bundle)
    return context


def connect(
    host: str, port: int, context: ssl.SSLContext | None, *, within_s: float, timeout_s: float
) -> Stream:
    """Resolve a host anew, connect to it, and speak TLS where there is a context.

    Raises:
        TimeoutError: no name server or no address answered, or it did not shake hands, each
            within `within_s`.
        OSError: the host is not known, refused the connection, or is not who it should be.
    """
    connected = _connected(host, port, within_s)
    if context is None:
        return Stream(connected, timeout_s)
    stream = TlsStream(connected, timeout_s)
    try:
        with gevent.Timeout(within_s, TimeoutError("timed out")):
            stream.open(context, host)
    except BaseException:
        stream.close()
        raise
    return stream


def _connected(host: str, port: int, within_s: float) -> Any:
    with gevent.Timeout(within_s, TimeoutError("timed out")):
        found = gevent.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    failed = OSError("the name has no address")
    for family, kind, protocol, _, address in found:
        connected = None
        try:
            connected = gevent.socket.socket(family, kind, protocol)
            connected.settimeout(within_s)
            connected.connect(address)
        except BaseException as error:
            if connected is not None:
                connected.close()
            if not isinstance(error, OSError):
                raise
            failed = error
        else:
            return connected
    raise failed
