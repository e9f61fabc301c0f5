"""Data capture: what was asked and answered, in files of SageMaker's layout, joined by InferenceId.

Layout and fields: "Capture data from real-time endpoint" in the SageMaker AI Developer Guide. A
folder stands for the S3 prefix.
"""

import base64
import contextlib
import json
import logging
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import IO, NamedTuple

from experiments.errors import EndpointError
from experiments.local import config
from experiments.local.seeded import generator

_PIECE = 49_152
"""Bytes or characters that are encoded at a time, so that answers need not wait for long.

A multiple of 3, as base64 has it.
"""

logger = logging.getLogger(__name__)


class _Event(NamedTuple):
    at: datetime
    variant: str
    inference_id: str | None
    asked: tuple[str | None, bytes]
    answered: tuple[str | None, bytes]


class CaptureLog:
    """Files of JSON lines: <folder>/<endpoint>/<variant>/yyyy/mm/dd/hh/<mm-ss-mmm-uuid>.jsonl.

    One thread writes them, beside the answers. A write that fails is logged, the first time.

    Raises:
        EndpointError: the folder cannot be made.
    """

    def __init__(self, table: config.Capture, folder: Path, endpoint: config.Endpoint) -> None:
        self._table = table
        self._folder = folder / endpoint.name
        self._chance = generator(endpoint.seed, "capture")
        self._files: dict[str, tuple[str, IO[bytes]]] = {}
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EndpointError(
                f"capture.folder: {self._folder} cannot be made: {error.strerror}.",
                "Give another folder.",
            ) from None
        self._events: SimpleQueue[_Event | None] = SimpleQueue()
        self._thread = Thread(target=self._write_all, daemon=True)
        self._thread.start()

    def write(
        self,
        variant: str,
        inference_id: str | None,
        asked: tuple[str | None, bytes],
        answered: tuple[str | None, bytes],
    ) -> None:
        """Capture one invocation: content type and body of the request, and of the answer."""
        if self._table.share is None or self._chance.random() < self._table.share:
            self._events.put(_Event(datetime.now(UTC), variant, inference_id, asked, answered))

    def close(self) -> None:
        """Write what is left, and close the files."""
        self._events.put(None)
        self._thread.join()

    def _write_all(self) -> None:
        has_failed = False
        while (event := self._events.get()) is not None:
            try:
                file = self._file(event.variant, event.at)
                for piece in self._line(event):
                    file.write(piece)
                file.flush()
            except OSError as error:
                if not has_failed:
                    logger.error("capture.folder: %s cannot be written: %s.", self._folder, error)
                has_failed = True
                self._close(event.variant)  # a line that is cut off must be the last of its file
        for variant in list(self._files):
            self._close(variant)

    def _close(self, variant: str) -> None:
        with contextlib.suppress(KeyError, OSError):
            self._files.pop(variant)[1].close()

    def _line(self, event: _Event) -> Iterator[bytes]:
        yield b'{"captureData": {"endpointInput": '
        yield from self._observed("INPUT", *event.asked)
        yield b', "endpointOutput": '
        yield from self._observed("OUTPUT", *event.answered)
        metadata = {"eventId": str(uuid.uuid4())}
        if event.inference_id is not None:
            metadata["inferenceId"] = event.inference_id
        metadata["inferenceTime"] = f"{event.at:%Y-%m-%dT%H:%M:%SZ}"
        yield f'}}, "eventMetadata": {json.dumps(metadata)}, "eventVersion": "0"}}\n'.encode()

    def _file(self, variant: str, now: datetime) -> IO[bytes]:
        hour = f"{now:%Y/%m/%d/%H}"
        known = self._files.get(variant)
        if known is not None and known[0] == hour:
            return known[1]
        self._close(variant)
        folder = self._folder / variant / hour
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{now:%M-%S}-{now.microsecond // 1000:03d}-{uuid.uuid4()}.jsonl"
        file = (folder / name).open("wb")
        self._files[variant] = hour, file
        return file

    def _observed(self, mode: str, content_type: str | None, body: bytes) -> Iterator[bytes]:
        kind = (content_type or "").partition(";")[0].strip().lower()
        encoding = "BASE64"
        if kind in self._table.csv_content_types:
            encoding = "CSV"
        elif kind in self._table.json_content_types:
            encoding = "JSON"
        try:
            text = "" if encoding == "BASE64" else body.decode()
        except UnicodeDecodeError:
            encoding = "BASE64"
        said = {} if content_type is None else {"observedContentType": content_type}
        said |= {"mode": mode, "encoding": encoding}
        yield json.dumps(said)[:-1].encode() + b', "data": "'
        if encoding == "BASE64":
            for start in range(0, len(body), _PIECE):
                yield base64.b64encode(body[start : start + _PIECE])
        else:
            for start in range(0, len(text), _PIECE):
                yield json.dumps(text[start : start + _PIECE])[1:-1].encode()
        yield b'"}'
