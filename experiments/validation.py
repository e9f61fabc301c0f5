"""What is wrong in a file, said to the user: file, key, value, rule, and what to do."""

import difflib
import re
import tomllib
from collections.abc import Container, Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from experiments.errors import PlanError

_SUBJECT = re.compile(r"^(Input|String|Dictionary|List|Tuple|Value) should (?=\w)")


def read_toml(path: Path) -> dict[str, Any]:
    """Read a file of the user's."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise PlanError(f"{path}: not valid TOML: {error}.", "Mend that line.") from None
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise PlanError(f"{path}: cannot be read: {why}.", "Give a readable TOML file.") from None


def plain(message: str) -> str:
    """Say what Pydantic does, in words that need no knowledge of it."""
    return _SUBJECT.sub("must ", message.removeprefix("Value error, "))


def explain(
    error: ValidationError, source: str, model: type[BaseModel], overridden: Container[str] = ()
) -> PlanError:
    """Return the error for the user: a line for each key of the file `source` that is wrong.

    A key that does not exist is answered with the nearest of `model` that does. What lies under an
    `overridden` key is the command line's. A rule's second line is its next step.
    """
    lines, hints = [], []
    for item in error.errors(include_url=False):
        keys = [str(part) for part in item["loc"] if part != "[key]"]
        key = ".".join(keys)
        by = "--set" if any(k in overridden for k in accumulate(keys, "{}.{}".format)) else source
        where = f"{by}: {key}" if keys else by
        if item["type"] == "extra_forbidden":
            near = _nearest(key, model)
            lines.append(f"{where}: there is no such key.")
            hints.append(f'Did you mean "{near}"?' if near else "Remove it or correct its name.")
        elif item["type"] == "missing":
            lines.append(f"{where}: is required.")
            hints.append("Add it.")
        else:
            shown = "" if isinstance(item["input"], dict) else f" = {_shortened(item['input'])}"
            rule, _, step = plain(item["msg"]).partition("\n")
            if item["type"] in ("model_type", "dict_type"):
                table = f"[[{'.'.join(keys[:-1])}]]" if keys[-1].isdigit() else f"[{key}]"
                rule = f"must be a table, as under {table}"
            lines.append(f"{where}{shown}: {rule.rstrip('.')}.")
            hints.append(step or f"Change what {by} says.")
    return PlanError("\n".join(lines), " ".join(dict.fromkeys(hints)))


def _nearest(key: str, model: type[BaseModel]) -> str | None:
    """Find the key that is meant by its name, and where several tables have it, by its table."""
    schema = model.model_json_schema()
    names = {path: path.rpartition(".")[2] for path in _paths(schema, schema.get("$defs", {}))}
    near = difflib.get_close_matches(key.rpartition(".")[2], names.values(), n=1)
    places = (path for path, name in names.items() if name in near)
    place = max(places, key=lambda p: difflib.SequenceMatcher(None, p, key).ratio(), default=None)
    table, star, rest = (place or "").partition("*")
    own, _, more = key.removeprefix(table).partition(".")
    return f"{table}{own}{rest}" if star and more and key.startswith(table) else place


def _paths(table: Any, tables: dict[str, Any], at: str = "", deep: int = 5) -> Iterator[str]:
    """Give each key with the tables that it is in; * is any name that is the user's to give."""
    for name, own in table.get("properties", {}).items() if deep else ():
        yield at + name
        any_name = "*." if re.search(r"'(items|\w+Properties)'", str(own)) else ""
        for inner in re.findall(r"#/\$defs/([\w-]+)", str(own)):
            yield from _paths(tables[inner], tables, f"{at}{name}.{any_name}", deep - 1)


def _shortened(value: object) -> str:
    text = f'"{value}"' if isinstance(value, str) else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
