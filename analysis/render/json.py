"""What does a machine read? report.json, its schema, and the way back to a Report."""

import json
import re
from typing import Any

from pydantic import TypeAdapter

from analysis.results.report import Report

_REPORT = TypeAdapter(Report)
_SCHEMA_FILE = "report.schema.json"


def render(report: Report) -> str:
    """Write a report as JSON; what is missing is null.

    Raises ValueError for a number that is not finite: JSON has none, and a report must not.
    """
    document = {"$schema": _SCHEMA_FILE, **_REPORT.dump_python(report, mode="json")}
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    # A list of numbers takes a line; no text holds a bare line break, so this meets lists only.
    numbers = r"\[\n(?:[-+.\deE,\s]|null)+\]"
    return re.sub(numbers, lambda found: re.sub(r"\s+", " ", found[0]), text)


def parse(text: str | bytes) -> Report:
    """Read a report back; raises pydantic.ValidationError where it does not follow the schema."""
    return _REPORT.validate_json(text)


def schema() -> dict[str, Any]:
    """Return the JSON schema of report.json, generated from `analysis.results`."""
    generated = _REPORT.json_schema(mode="serialization")
    generated["properties"] = {"$schema": {"type": "string"}, **generated["properties"]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **generated}
