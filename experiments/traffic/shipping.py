"""Brings a worker's streams into the run folder where the two do not share a disk.

A stream is a file that only grows, so the master's copy needs no more than its length to say what
it holds: parts carry their place in the file, those that are there already change nothing, and
what was not confirmed for some seconds is sent again.
"""

import contextlib
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from experiments.traffic.messages import Part
from experiments.traffic.recorder import Recorder

PART = 65_536
UNCONFIRMED = 1_048_576
"""Most bytes of a stream that are under way."""
RESEND_S = 3.0
_NAME = re.compile(r"(requests|health)-(\d+)\.arrows")


class _Stream:
    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.file = recorder.path.open("rb", buffering=0)
        self.sent = self.confirmed = 0
        self.moved_s = time.monotonic()


class Shipper:
    """A worker's side. `send` takes a part: the stream's name, the place in it, and the bytes."""

    def __init__(
        self, recorders: Sequence[Recorder], send: Callable[[str, int, bytes], object]
    ) -> None:
        self._streams = {each.path.name: _Stream(each) for each in recorders}
        self._send = send

    @property
    def unconfirmed(self) -> int:
        """Bytes that the master has not confirmed yet."""
        return sum(each.recorder.size - each.confirmed for each in self._streams.values())

    def ship(self) -> None:
        """Send what is new, as far as it may be under way, and again what seems lost."""
        for name, stream in self._streams.items():
            if stream.sent > stream.confirmed and time.monotonic() - stream.moved_s > RESEND_S:
                stream.sent, stream.moved_s = stream.confirmed, time.monotonic()
            while stream.sent < min(stream.recorder.size, stream.confirmed + UNCONFIRMED):
                length = min(PART, stream.recorder.size - stream.sent)
                content = os.pread(stream.file.fileno(), length, stream.sent)
                if stream.sent == stream.confirmed:
                    stream.moved_s = time.monotonic()
                at = stream.sent
                stream.sent += len(content)  # first: while it is sent, another part may be
                self._send(name, at, content)

    def confirm(self, sizes: Mapping[str, int]) -> None:
        """Take in how much of each stream the master has; more than there is it cannot have."""
        for name, size in sizes.items():
            stream = self._streams.get(name)
            if stream is not None and stream.confirmed < size <= stream.recorder.size:
                stream.confirmed, stream.moved_s = size, time.monotonic()
                stream.sent = max(stream.sent, size)

    def close(self) -> None:
        """Let go of the files."""
        for stream in self._streams.values():
            stream.file.close()


class Copies:
    """The master's side: the streams of all workers, in the run folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[Path, int] = {}

    def add(self, rank: int, part: Part) -> dict[str, int]:
        """Append a part that is next, and give how much of its stream is there; others change none.

        Raises:
            ValueError: it is not a part of a stream of that worker's.
            OSError: the disk refuses; none of the part is kept.
        """
        named = _NAME.fullmatch(part.name)
        if named is None or int(named[2]) != rank:
            raise ValueError(
                f"Worker {rank} sent a part of {part.name!r}, which is no stream of its."
            )
        path = self._folder / part.name
        if path not in self._files:
            self._files[path] = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND)
        file = self._files[path]
        if part.at == os.fstat(file).st_size:
            left = memoryview(part.content)
            try:
                while left:
                    left = left[os.write(file, left) :]
            except OSError as error:
                error.filename = str(path)
                with contextlib.suppress(OSError):
                    os.ftruncate(file, part.at)
                raise
        return {part.name: os.fstat(file).st_size}

    def close(self) -> None:
        """Let go of the files, safely on disk."""
        for file in self._files.values():
            os.fsync(file)
            os.close(file)
        self._files.clear()
