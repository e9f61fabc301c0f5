"""Do the parsers of what others wrote ever crash, hang or take memory without bound?

    python -m benchmarks.fuzz --minutes 30

fuzzes each of them for so many minutes of CPU: a whole input is mutated (bits flipped, parts cut,
repeated and replaced by telling words) and read, in a process of its own. What a parser may say of
bad input is in `Target.refusals`; anything else is a finding, and ends the process with the input.
"""

import argparse
import asyncio
import atexit
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from experiments import run_folder
from experiments.errors import AbreastError
from experiments.local import http
from experiments.plan_file import BUILT_IN, load
from experiments.record import SCHEMA
from experiments.traffic.http1 import Connection, CutShortError, MalformedError, NoAnswerError

if TYPE_CHECKING:
    from experiments.traffic.sockets import Stream

LONGEST_S = 5
"""Of CPU, lest a busy machine be taken for a hang: an input that takes longer is one."""
MOST_BYTES = 2 * 2**30
"""Of address space beyond what the process has when it begins."""
BATCH = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A parser, inputs that it takes, words that its inputs are made of, and how it refuses."""

    parse: Callable[[bytes], object]
    seeds: Callable[[], Sequence[bytes]]
    words: Sequence[bytes]
    refusals: tuple[type[Exception], ...]


class Hangs(BaseException):
    """An input took too long: no `Exception`, which a parser might catch."""


class _Scripted:
    """A stream whose peer says some bytes, a few at a time, and closes."""

    def __init__(self, said: bytes) -> None:
        self._said = said
        self._at = 0

    def send(self, data: bytes) -> None:
        """Take what is sent."""

    def receive(self) -> bytes:
        """Give the next bytes, of which there are ever more at once."""
        start, self._at = self._at, 2 * self._at + 7
        return self._said[start : self._at]

    def rest(self) -> None:
        """Wait no more."""


def _read_answer(said: bytes) -> None:
    connection = Connection(cast("Stream", _Scripted(said)))
    connection.read(*connection.begin(b"", b""))


class _Transport:
    """Where an endpoint's answers go: counted, and not kept."""

    def write(self, data: bytes) -> None:
        """Take what is written."""

    pause_reading = resume_reading = close = abort = lambda _: None


async def _echo(request: http.Request) -> http.Response:
    return http.text(200, f"{request.method} {len(request.target)} {len(request.body)}")


async def _serve(said: bytes) -> None:
    connection = http._Connection(_echo, set(), 1_000_000)
    connection.connection_made(cast("asyncio.Transport", _Transport()))
    for start in range(0, len(said), 97):
        connection.data_received(said[start : start + 97])
        await asyncio.sleep(0)
    while connection._answering is not None and not connection._answering.done():
        await asyncio.sleep(0)
    connection.connection_lost(None)


@cache
def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


@cache
def _scratch() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    atexit.register(shutil.rmtree, folder)
    return folder


def _read_plan(said: bytes) -> None:
    path = _scratch() / "plan.toml"
    path.write_bytes(said)
    load(path)


def _read_records(said: bytes) -> None:
    path = _scratch() / "requests-0.arrows"
    path.write_bytes(said)
    table, _ = run_folder.read_stream(path, SCHEMA)
    if table is not None:
        table.to_pandas()


def _streams() -> list[bytes]:
    found = []
    for rows in (0, 3, 300):
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, SCHEMA) as writer:
            columns = [
                pa.array(["a"] * rows if field.type == pa.string() else [1] * rows).cast(field.type)
                for field in SCHEMA
            ]
            writer.write_batch(pa.record_batch(columns, schema=SCHEMA))
            writer.write_batch(pa.record_batch(columns, schema=SCHEMA))
        found.append(sink.getvalue().to_pybytes())
    return found


TARGETS = {
    "plan reader": Target(
        parse=_read_plan,
        seeds=lambda: [path.read_bytes() for path in sorted(BUILT_IN.glob("*.toml"))],
        words=[
            b"[slo]", b"[[stages]]", b'"', b"=", b"{", b"}", b"[", b"]", b".", b"-1", b"1e999",
            b"0", b"nan", b"inf", b'"p99"', b"true", b"99999999999999999999", b"\n", b"arms",
            b'"5%"', b'"1h"', b"for", b"stages", b"1979-05-27", b"\xff", b"users", b"rate", b"#",
        ],
        refusals=(AbreastError,),
    ),
    "record reader": Target(
        parse=_read_records,
        seeds=_streams,
        words=[b"\xff\xff\xff\xff", bytes(4), bytes(8), b"\xff\xff\xff\x7f", b"\x01\x00\x00\x00"],
        refusals=(),
    ),
    "answers": Target(
        parse=_read_answer,
        seeds=lambda: [
            b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\nContent-Type: text/csv\r\n\r\n0123456789ab",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n1;x=y\r\ne\r\n0\r\n"
            b"T: t\r\n\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 424 Failed\r\nContent-Length: 2\r\n\r\n{}",
            b"HTTP/1.0 500 X\r\nConnection: close\r\n\r\nto the end",
            b"HTTP/1.1 204 No Content\r\nx-amzn-RequestId: 1\r\n\r\n",
        ],
        words=[
            b"\r\n", b"\r\n\r\n", b":", b" ", b"0", b"-1", b"ffffffffffffff", b"99999999999999",
            b"Content-Length: ", b"Transfer-Encoding: chunked\r\n", b"HTTP/1.1 100 \r\n\r\n",
            b"HTTP/1.1 304 \r\n\r\n", b"\x00", b"\xff", b"Connection: close\r\n", b"\n", b"\t",
        ],
        refusals=(NoAnswerError, MalformedError, CutShortError),
    ),
    "requests": Target(
        parse=lambda said: _loop().run_until_complete(_serve(said)),
        seeds=lambda: [
            b"POST /endpoints/shop/invocations HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n"
            b'Authorization: AWS4-HMAC-SHA256 Credential=a\r\n\r\n{"x": 1.0}',
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            b"GET /ping HTTP/1.1\r\nHost: a\r\n\r\nGET /ping HTTP/1.0\r\n\r\n",
            b"HEAD /x?y=%20 HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\na",
        ],
        words=[
            b"\r\n", b"\r\n\r\n", b":", b" ", b"0", b"-1", b"999999999999999", b"Upgrade: h2\r\n",
            b"Content-Length: ", b"Transfer-Encoding: chunked\r\n", b"HTTP/1.1", b"PRI * HTTP/2.0",
            b"\x00", b"\xff", b"Connection: Upgrade\r\n", b"Expect: 100-continue\r\n", b"CONNECT ",
        ],
        refusals=(),
    ),
}  # fmt: skip


def mutated(target: Target) -> st.SearchStrategy[bytes]:
    """Draw an input: a whole one, changed in up to eight places."""
    place = st.integers(0, 2**16)
    step = st.one_of(
        st.tuples(st.just("flip"), place, st.integers(0, 7)),
        st.tuples(st.just("cut"), place, st.integers(1, 64)),
        st.tuples(st.just("end"), place, st.just(0)),
        st.tuples(st.just("repeat"), place, st.integers(1, 2048)),
        st.tuples(st.just("insert"), place, st.integers(0, len(target.words) - 1)),
        st.tuples(st.just("replace"), place, st.integers(0, len(target.words) - 1)),
    )
    steps = st.lists(step, max_size=8)
    return st.builds(lambda seed, todo: _mutate(seed, todo, target.words),
                     st.sampled_from(target.seeds()), steps)  # fmt: skip


def _mutate(seed: bytes, steps: Sequence[tuple[str, int, int]], words: Sequence[bytes]) -> bytes:
    data = bytearray(seed)
    for how, anywhere, more in steps:
        at = anywhere % (len(data) or 1)
        match how:
            case "flip" if data:
                data[at] ^= 1 << more
            case "cut":
                del data[at : at + more]
            case "end":
                del data[at:]
            case "repeat":
                data[at:at] = data[at : at + more]
            case "insert":
                data[at:at] = words[more]
            case "replace":
                data[at : at + len(words[more])] = words[more]
    return bytes(data)


def read(target: Target, data: bytes) -> None:
    """Parse an input, within its time; what it refuses is refused as it should be.

    Raises:
        Exception: a finding.
        Hangs: one too.
    """
    before = signal.signal(signal.SIGPROF, _ring)
    signal.setitimer(signal.ITIMER_PROF, LONGEST_S)
    try:
        with suppress(*target.refusals):
            target.parse(data)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _ring(_number: int, _frame: Any) -> None:
    raise Hangs


@contextmanager
def memory_bounded() -> Iterator[None]:
    """Let this process take no more than `MOST_BYTES` beside what it has."""
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (held + MOST_BYTES, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def fuzz(name: str, cpu_s: float) -> int:
    """Fuzz one parser for so many seconds of CPU, and give how many inputs it read.

    Raises:
        Exception: a finding; its note names a file of the input, made small by hypothesis.
        Hangs: one too.
    """
    target, done, last = TARGETS[name], 0, b""

    @settings(
        max_examples=BATCH, deadline=None, database=None, suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink], report_multiple_bugs=False,
    )  # fmt: skip
    @given(mutated(target))
    def batch(data: bytes) -> None:
        nonlocal done, last
        done, last = done + 1, data
        read(target, data)

    end_s = time.process_time() + cpu_s
    try:
        while time.process_time() < end_s:
            batch()
    except (Exception, Hangs) as error:
        found = Path(tempfile.mkdtemp(prefix="fuzz-")) / "input"
        found.write_bytes(last)
        error.__notes__ = [f"{name}, after {done:,} inputs: {found}"]
        raise
    return done


def main(arguments: Sequence[str] | None = None) -> None:
    """Fuzz each parser in a process of its own, and print what it came to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30, help="Of CPU, for each parser.")
    parser.add_argument("--only", choices=TARGETS)
    asked = parser.parse_args(arguments)
    if asked.only:
        with memory_bounded():
            done = fuzz(asked.only, asked.minutes * 60)
        most_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{asked.only}: {done:,} inputs, {most_mib:,.0f} MiB at most", flush=True)
        return
    for name in TARGETS:
        again = ["--only", name, "--minutes", str(asked.minutes)]
        ended = subprocess.run([sys.executable, "-m", "benchmarks.fuzz", *again], check=False)
        if ended.returncode:
            print(f"{name}: ended with {ended.returncode}", flush=True)


if __name__ == "__main__":
    main()
