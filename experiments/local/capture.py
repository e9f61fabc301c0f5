"""Data capture: what was asked and answered, in files of SageMaker's layout, joined by InferenceId.

Layout and fields: "Capture data from real-time endpoint" in the SageMaker AI Developer Guide. A
folder stands for the S3 prefix.
"""

import base64
import json
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from experiments.errors import EndpointError
from experiments.local import config
from experiments.local.seeded import generator


class CaptureLog:
    """Files of JSON lines: <folder>/<endpoint>/<variant>/yyyy/mm/dd/hh/<mm-ss-mmm-uuid>.jsonl."""

    def __init__(self, table: config.Capture, folder: Path, endpoint: config.Endpoint) -> None:
        self._table = table
        self._folder = folder / endpoint.name
        self._chance = generator(endpoint.seed, "capture")
        self._files: dict[str, tuple[str, IO[str]]] = {}

    def write(
        self,
        variant: str,
        inference_id: str | None,
        asked: tuple[str | None, bytes],
        answered: tuple[str | None, bytes],
    ) -> None:
        """Capture one invocation: content type and body of the request, and of the answer.

        Raises:
            EndpointError: a file cannot be written.
        """
        if self._table.share is not None and self._chance.random() >= self._table.share:
            return
        now = datetime.now(UTC)
        metadata = {"eventId": str(uuid.uuid4())}
        if inference_id is not None:
            metadata["inferenceId"] = inference_id
        metadata["inferenceTime"] = f"{now:%Y-%m-%dT%H:%M:%SZ}"
        event = {
            "captureData": {
                "endpointInput": self._observed("INPUT", *asked),
                "endpointOutput": self._observed("OUTPUT", *answered),
            },
            "eventMetadata": metadata,
            "eventVersion": "0",
        }
        try:
            file = self._file(variant, now)
            file.write(json.dumps(event) + "\n")
            file.flush()
        except OSError as error:
            raise EndpointError(
                f"capture.folder: {self._folder} cannot be written: {error}.",
                "Give another folder.",
            ) from None

    def close(self) -> None:
        """Close the files."""
        for _, file in self._files.values():
            file.close()

    def _file(self, variant: str, now: datetime) -> IO[str]:
        hour = f"{now:%Y/%m/%d/%H}"
        known = self._files.get(variant)
        if known is not None and known[0] == hour:
            return known[1]
        if known is not None:
            known[1].close()
        folder = self._folder / variant / hour
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{now:%M-%S}-{now.microsecond // 1000:03d}-{uuid.uuid4()}.jsonl"
        file = (folder / name).open("w", encoding="utf-8")
        self._files[variant] = hour, file
        return file

    def _observed(self, mode: str, content_type: str | None, body: bytes) -> dict[str, Any]:
        kind = (content_type or "").partition(";")[0].strip().lower()
        encoding, data = "BASE64", ""
        if kind in self._table.csv_content_types:
            encoding = "CSV"
        elif kind in self._table.json_content_types:
            encoding = "JSON"
        try:
            data = "" if encoding == "BASE64" else body.decode()
        except UnicodeDecodeError:
            encoding = "BASE64"
        if encoding == "BASE64":
            data = base64.b64encode(body).decode()
        observed = {"mode": mode, "data": data, "encoding": encoding}
        return (
            observed if content_type is None else {"observedContentType": content_type} | observed
        )
