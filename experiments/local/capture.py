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
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from experiments.errors import EndpointError
from experiments.local import config
from experiments.local.seeded import generator

_PIECE = 49_152
"""Bytes or characters that are encoded at a time, so that answers need not wait for long.

A multiple of 3, as base64 has it.
"""

logger = logging.getLogger(__name__)


Said = tuple[str | None, bytes]
"""The content type and the body of a request or an answer."""


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
        self._files: dict[str, IO[bytes]] = {}
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EndpointError(
                f"capture.folder: {self._folder} cannot be made: {error.strerror}.",
                "Give another folder.",
            ) from None
        self._writer = ThreadPoolExecutor(max_workers=1)
        self._has_failed = False

    def write(self, variant: str, inference_id: str | None, asked: Said, answered: Said) -> None:
        """Capture one invocation."""
        if self._table.share is None or self._chance.random() < self._table.share:
            at = datetime.now(UTC)
            line = self._line(at, inference_id, asked, answered)  # put together by the writer
            self._writer.submit(self._write, variant, at, line)

    def close(self) -> None:
        """Write what is left, and close the files."""
        self._writer.shutdown()
        for variant in list(self._files):
            self._close(variant)

    def _write(self, variant: str, at: datetime, line: Iterator[bytes]) -> None:
        try:
            file = self._file(variant, at)
            file.writelines(line)
            file.flush()
        except OSError as error:
            if not self._has_failed:
                logger.error("capture.folder: %s cannot be written: %s.", self._folder, error)
            self._has_failed = True
            self._close(variant)  # a line that is cut off must be the last of its file

    def _close(self, variant: str) -> None:
        with contextlib.suppress(KeyError, OSError):
            self._files.pop(variant).close()

    def _line(
        self, at: datetime, inference_id: str | None, asked: Said, answered: Said
    ) -> Iterator[bytes]:
        metadata = {"eventId": str(uuid.uuid4())}
        if inference_id is not None:
            metadata["inferenceId"] = inference_id
        metadata["inferenceTime"] = f"{at:%Y-%m-%dT%H:%M:%SZ}"
        yield b'{"captureData": {"endpointInput": '
        yield from self._observed("INPUT", *asked)
        yield b', "endpointOutput": '
        yield from self._observed("OUTPUT", *answered)
        yield f'}}, "eventMetadata": {json.dumps(metadata)}, "eventVersion": "0"}}\n'.encode()

    def _file(self, variant: str, now: datetime) -> IO[bytes]:
        folder = self._folder / variant / f"{now:%Y/%m/%d/%H}"
        known = self._files.get(variant)
        if known is None or Path(known.name).parent != folder:
            self._close(variant)
            folder.mkdir(parents=True, exist_ok=True)
            name = f"{now:%M-%S}-{now.microsecond // 1000:03d}-{uuid.uuid4()}.jsonl"
            known = self._files[variant] = (folder / name).open("wb")
        return known

    def _observed(self, mode: str, content_type: str | None, body: bytes) -> Iterator[bytes]:
        kind = (content_type or "").partition(";")[0].strip().lower()
        encoding, text = "BASE64", None
        with contextlib.suppress(UnicodeDecodeError):
            if kind in self._table.csv_content_types:
                encoding, text = "CSV", body.decode()
            elif kind in self._table.json_content_types:
                encoding, text = "JSON", body.decode()
        said = {} if content_type is None else {"observedContentType": content_type}
        yield json.dumps({**said, "mode": mode, "encoding": encoding})[:-1].encode()
        yield b', "data": "'
        for start in range(0, len(body if text is None else text), _PIECE):
            if text is None:
                yield base64.b64encode(body[start : start + _PIECE])
            else:
                yield json.dumps(text[start : start + _PIECE])[1:-1].encode()
        yield b'"}'
