"""An endpoint that knows what it did: exact delays, stalls on request, a log of every request.

It speaks HTTP/1.1 with keep-alive on loopback. Each POST is answered a fixed time after its last
byte was read, on a Linux timerfd, since the timers of event loops count whole milliseconds. With
stalls, the world stops for the first seconds of every period, counted from the first POST: no work
is done meanwhile, and what came is answered afterwards, in order.

    python -m benchmarks.generator.server --delay-ms 2

The first line on stdout is {"port": ...}. It ends when its stdin does.
"""

import argparse
import asyncio
import ctypes
import gc
import json
import os
import signal
import sys
import time
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple, cast

import httptools
import uvloop

from experiments import child

BODY = b'{"predictions":[{"label":0}]}'
_CLOCK_MONOTONIC = 1  # the clock of time.perf_counter_ns() on Linux
_TFD_TIMER_ABSTIME = 1


class _Spec(ctypes.Structure):
    _fields_ = (
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("value_s", ctypes.c_long),
        ("value_ns", ctypes.c_long),
    )


class Alarm:
    """A Linux timerfd: readable once the monotonic clock has reached what it was set to."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.fd: int = self._libc.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create failed")

    def set(self, due_ns: int) -> None:
        """Ring at `due_ns` on `time.perf_counter_ns()`; at once where that has passed."""
        spec = _Spec(0, 0, *divmod(due_ns, 1_000_000_000))
        if self._libc.timerfd_settime(self.fd, _TFD_TIMER_ABSTIME, ctypes.byref(spec), None):
            raise OSError(ctypes.get_errno(), "timerfd_settime failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How long an answer takes, in ns: a delay, and stalls of `stall_ns` every `period_ns`."""

    delay_ns: int
    period_ns: int = 0
    stall_ns: int = 0

    def due_ns(self, arrived_ns: int, epoch_ns: int) -> int:
        """Say when to answer; time within a stall does not count as work."""
        if not self.period_ns:
            return arrived_ns + self.delay_ns
        period, phase_ns = divmod(arrived_ns - epoch_ns, self.period_ns)
        begun_ns = max(phase_ns, self.stall_ns)
        end_ns = begun_ns + self.delay_ns
        if end_ns > self.period_ns:
            end_ns += self.stall_ns
        return epoch_ns + period * self.period_ns + end_ns


class _Waiting(NamedTuple):
    due_ns: int
    arrived_ns: int
    transport: asyncio.Transport
    user: bytes | None
    inference_id: bytes | None


class Server:
    """What all connections share: who waits for an answer, the alarm, and the log."""

    def __init__(self, timing: Timing, alarm: Alarm) -> None:
        self._timing = timing
        self._alarm = alarm
        self._waiting: deque[_Waiting] = deque()
        self._log: list[tuple[int, int, bytes | None, bytes | None]] = []
        self._epoch_ns: int | None = None

    def take(
        self, transport: asyncio.Transport, user: bytes | None, inference_id: bytes | None
    ) -> None:
        """Note a request whose last byte was read, and answer it when it is due."""
        arrived_ns = time.perf_counter_ns()
        if self._epoch_ns is None:
            self._epoch_ns = arrived_ns
        due_ns = self._timing.due_ns(arrived_ns, self._epoch_ns)
        if not self._waiting:
            self._alarm.set(due_ns)
        self._waiting.append(_Waiting(due_ns, arrived_ns, transport, user, inference_id))

    def answer_due(self) -> None:
        """Answer what is due, and set the alarm for the next."""
        try:
            os.read(self._alarm.fd, 8)
        except BlockingIOError:
            return  # set anew since it rang
        waiting = self._waiting
        while waiting and waiting[0].due_ns <= time.perf_counter_ns():
            _, arrived_ns, transport, user, inference_id = waiting.popleft()
            own_ns = time.perf_counter_ns() - arrived_ns
            if not transport.is_closing():
                transport.write(
                    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
                    b"x-amzn-invoked-production-variant: a\r\nx-server-ns: %d\r\n\r\n%b"
                    % (len(BODY), own_ns, BODY)
                )
            self._log.append((arrived_ns, own_ns, user, inference_id))
        if waiting:
            self._alarm.set(waiting[0].due_ns)

    def take_log(self) -> bytes:
        """Give the log as JSON lines, in the order of arrival, and empty it."""
        log, self._log = self._log, []
        return b"".join(
            json.dumps(
                {
                    "arrived_ns": arrived_ns,
                    "own_ns": own_ns,
                    "user": user and user.decode("latin-1"),
                    "inference_id": inference_id and inference_id.decode("latin-1"),
                }
            ).encode()
            + b"\n"
            for arrived_ns, own_ns, user, inference_id in log
        )


class Connection(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._parser = httptools.HttpRequestParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.close()

    def on_message_begin(self) -> None:
        self._url = b""
        self._user: bytes | None = None
        self._inference_id: bytes | None = None
        self._is_control_plane = False

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        match name.lower():
            case b"x-user":
                self._user = value
            case b"x-amzn-sagemaker-inference-id":
                self._inference_id = value
            case b"x-amz-target":
                self._is_control_plane = True

    def on_message_complete(self) -> None:
        if self._is_control_plane:
            # The run goes on without a description of the endpoint when it may not have one.
            denied = b'{"__type":"AccessDeniedException","message":"There is no control plane."}'
            self._answer(b"400 Bad Request", denied, b"application/x-amz-json-1.1")
        elif self._parser.get_method() == b"POST":
            self._server.take(self._transport, self._user, self._inference_id)
        elif self._url == b"/log":
            self._answer(b"200 OK", self._server.take_log(), b"application/jsonl")
        elif self._url == b"/ping":
            self._answer(b"200 OK", b"", b"text/plain")
        else:
            self._answer(b"404 Not Found", b"", b"text/plain")

    def _answer(self, status: bytes, body: bytes, content_type: bytes) -> None:
        self._transport.write(
            b"HTTP/1.1 %b\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n%b"
            % (status, content_type, len(body), body)
        )


async def serve(timing: Timing, port: int) -> None:
    """Serve until SIGTERM; say the port on stdout."""
    loop = asyncio.get_running_loop()
    alarm = Alarm()
    server = Server(timing, alarm)
    loop.add_reader(alarm.fd, server.answer_due)
    listening = await loop.create_server(
        lambda: Connection(server), "127.0.0.1", port, backlog=4096
    )
    ended = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    print(json.dumps({"port": listening.sockets[0].getsockname()[1]}), flush=True)
    child.end_with_parent()
    await ended.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--delay-ms", type=float, default=0.0)
    parser.add_argument("--stall-every", type=float, default=0.0, help="seconds; 0 is never")
    parser.add_argument("--stall-for", type=float, default=1.0, help="seconds")
    parser.add_argument("--cpu", type=int, help="the only core to run on")
    options = parser.parse_args()
    timing = Timing(
        delay_ns=round(options.delay_ms * 1e6),
        period_ns=round(options.stall_every * 1e9),
        stall_ns=round(options.stall_for * 1e9),
    )
    if timing.period_ns and timing.stall_ns + timing.delay_ns > timing.period_ns:
        parser.error("a stall and a delay must fit in --stall-every")
    if sys.platform != "linux":
        parser.error("timerfd is Linux's")
    if options.cpu is not None:
        os.sched_setaffinity(0, {options.cpu})
    gc.disable()  # a collection is a stall of its own; what this process makes is not circular
    uvloop.run(serve(timing, options.port))


if __name__ == "__main__":
    main()
