"""What is wrong in a file, said to the user: file, key, value, rule, and what to do."""

import difflib
import re
import tomllib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from experiments.errors import PlanError

_SUBJECT = re.compile(r"^(Input|String|Dictionary|List|Tuple|Value) should (?=\w)")


def read_toml(path: Path) -> dict[str, Any]:
    """Read a file of the user's.

    Raises:
        PlanError: it cannot be read, or is not TOML; naming the line.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise PlanError(f"{path}: not valid TOML: {error}.", "Mend that line.") from None
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise PlanError(f"{path}: cannot be read: {why}.", "Give a readable TOML file.") from None


def explain(error: ValidationError, source: str, model: type[BaseModel] | None = None) -> PlanError:
    """Return the error for the user: a line for each key of the file `source` that is wrong.

    With the `model` that the file was checked against, a key that does not exist is answered with
    the nearest that does.
    """
    lines, hints = [], []
    for item in error.errors(include_url=False):
        keys = [str(part) for part in item["loc"] if part != "[key]"]
        where = ": ".join([source, ".".join(keys)] if keys else [source])
        if item["type"] == "extra_forbidden":
            near = difflib.get_close_matches(keys[-1], _keys(model) if model else [], n=1)
            lines.append(f"{where}: there is no such key.")
            hints.append(f'Did you mean "{near[0]}"?' if near else "Remove it or correct its name.")
        elif item["type"] == "missing":
            lines.append(f"{where}: is required.")
            hints.append("Add it.")
        else:
            shown = "" if isinstance(item["input"], dict) else f" = {_shortened(item['input'])}"
            rule = _SUBJECT.sub("must ", item["msg"].removeprefix("Value error, "))
            if item["type"] in ("model_type", "dict_type"):
                rule = f"must be a table, as under [{keys[-1]}]"
            lines.append(f"{where}{shown}: {rule.rstrip('.')}.")
            hints.append("Correct it.")
    return PlanError("\n".join(lines), " ".join(dict.fromkeys(hints)))


def _keys(model: type[BaseModel]) -> set[str]:
    """Return the keys of all tables of `model`."""
    schema = model.model_json_schema()
    tables = [schema, *schema.get("$defs", {}).values()]
    return {key for table in tables for key in table.get("properties", {})}


def _shortened(value: object) -> str:
    text = f'"{value}"' if isinstance(value, str) else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
