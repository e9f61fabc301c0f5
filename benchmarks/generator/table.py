"""The options that the benchmarks share, and their figures as a Markdown table."""

import argparse
import math
import platform
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from statistics import median

from benchmarks.generator.target import CLIENT_CPU, SERVER_CPU

DASH = "\u2013"
WARMUP_S = 2
"""Cut from the start of each tool's load: connections are opened, and caches are filled."""


def options(description: str, *, seconds: int) -> argparse.ArgumentParser:
    """Make a parser of the options that every benchmark takes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--seconds", type=int, default=seconds, help="measured, of each run")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--transport", default="fast", help="ours: traffic.transport")
    parser.add_argument("--tools", help="only those whose name contains one of these, by commas")
    return parser


def numbers(text: str) -> tuple[int, ...]:
    """Read "500,1000"."""
    return tuple(int(part) for part in text.split(","))


def is_wanted(tool: str, tools: str | None) -> bool:
    """Say whether `--tools` asks for a tool."""
    return tools is None or any(part.strip().lower() in tool.lower() for part in tools.split(","))


def progress(text: str) -> None:
    """Say on stderr what is being measured."""
    print(text, file=sys.stderr, flush=True)


def cell(values: Sequence[float | None], digits: int) -> str:
    """Give the median over the repeats, and the range if there are several; a dash for nothing."""
    known = [value for value in values if value is not None and not math.isnan(value)]
    if not known:
        return DASH
    middle, low, high = (f"{v:,.{digits}f}" for v in (median(known), min(known), max(known)))
    return middle if low == high else f"{middle} ({low}{DASH}{high})"


def show(text: str) -> None:
    """Print a part of the table as soon as it is known."""
    print(text, flush=True)


def row(label: Sequence[str], repeats: Sequence[Mapping[str, float | None]], **digits: int) -> str:
    """Give a row: its label, and for each named figure a cell over the repeats."""
    cells = [cell([figures.get(name) for figures in repeats], n) for name, n in digits.items()]
    return f"| {' | '.join([*label, *cells])} |"


def header(labels: Sequence[str], figures: Sequence[str]) -> str:
    """Give a table's first two lines."""
    names = " | ".join([*labels, *figures])
    return f"| {names} |\n|{':--|' * len(labels)}{'--:|' * len(figures)}"


def _version(package: str) -> str:
    try:
        return f"{package} {metadata.version(package)}"
    except metadata.PackageNotFoundError:
        return f"{package} not installed"


def conditions(run: argparse.Namespace) -> str:
    """Say what was run on what."""
    versions = ", ".join(map(_version, ("abreast", "locust", "boto3", "k6")))
    cores = (
        f"The server had core {SERVER_CPU} and each tool core {CLIENT_CPU}."
        if SERVER_CPU != CLIENT_CPU
        else "The server and each tool shared one core."
    )
    times = "once" if run.repeats == 1 else f"{run.repeats} times; medians, with the range"
    return (
        f"{run.seconds} s measured, {times}. Over loopback, plain HTTP, a body of 1 KB. {cores}\n"
        f"FastHttpUser and k6 do not sign their requests; boto3 and abreast do (abreast with "
        f'transport "{run.transport}").\n'
        f"{versions}, Python {platform.python_version()}."
    )
