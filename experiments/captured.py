"""A run's records against the endpoint's data capture, joined by InferenceId."""

import json
import logging
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from experiments.errors import AbreastError

logger = logging.getLogger(__name__)


class Joined(NamedTuple):
    """How many requests have one captured event, how many that were answered have none, or more.

    Where an endpoint samples what it captures, many are missing. `foreign` are events that belong
    to none of the requests.
    """

    matched: int
    missing: int
    doubled: int
    foreign: int


def captured_ids(folder: Path) -> Counter[str]:
    """Count the events of each InferenceId in a folder's .jsonl files; "" is those without one.

    A last line that is cut off, as a writer that was killed leaves it, is skipped with a warning.
    """
    ids: Counter[str] = Counter()
    files = sorted(file for file in folder.rglob("*.jsonl") if not file.is_dir())
    if not files:
        raise AbreastError(
            f"--capture {folder}: there is no .jsonl file in it.",
            "Give the folder that data capture writes to, or a copy of its S3 prefix.",
        )
    torn = 0
    for file in files:
        try:
            content = file.read_bytes()
        except OSError as error:
            raise AbreastError(
                f"{file}: cannot be read: {error.strerror}.", "Make it readable, or move it away."
            ) from None
        # Lines end in \n only: JSON may hold what else Python takes for an end of line.
        lines = content.rstrip(b"\n").split(b"\n") if content.strip() else []
        for number, line in enumerate(lines, start=1):
            try:
                ids[json.loads(line)["eventMetadata"].get("inferenceId", "")] += 1
            except (ValueError, LookupError, TypeError, AttributeError) as error:
                is_last = number == len(lines) and not content.endswith(b"\n")
                if is_last and line.startswith(b"{") and isinstance(error, ValueError):
                    torn += 1
                    continue
                raise AbreastError(
                    f"{file}, line {number}: this is no event of SageMaker's data capture.",
                    "Give a folder with files of data capture only.",
                ) from None
    if torn:
        logger.warning("--capture %s: %d last lines are cut off, and are skipped.", folder, torn)
    return ids


def join(requests: Iterable[tuple[str, bool]], captured: Counter[str]) -> Joined:
    """Join requests, each its InferenceId and whether it was answered well, to captured events."""
    asked = dict(requests)
    return Joined(
        matched=sum(captured[one] == 1 for one in asked),
        missing=sum(is_ok and captured[one] == 0 for one, is_ok in asked.items()),
        doubled=sum(captured[one] > 1 for one in asked),
        foreign=sum(count for one, count in captured.items() if one not in asked),
    )
