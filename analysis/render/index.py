"""Which runs does a folder hold, and what came of each? A page of links, like that of a report."""

import shlex
from pathlib import Path
from urllib.parse import quote

from analysis.render import html, json
from analysis.results.report import Report
from experiments.run_folder import RunFolder, has_streams, is_held


def render(folder: Path) -> str:
    """Write the page of the runs in a folder, the latest first, as their names begin with the time.

    Foreign text is escaped, and cut where it is long.
    """
    kinds = ("manifest.json", "report.json")
    places = {path.parent for kind in kinds for path in folder.glob(f"*/{kind}")}
    runs = [
        (
            place.name,
            f"{quote(place.name)}/report.html" if (place / "report.html").is_file() else None,
            _report(place),
            _without(place),
        )
        for place in sorted(places, reverse=True)
    ]
    return html.PAGE.get_template("index.html").render(runs=runs)


def _report(place: Path) -> Report | None:
    try:
        return json.parse((place / "report.json").read_bytes())
    except (OSError, ValueError):
        return None  # not judged, or by another version


def _without(place: Path) -> tuple[str, str]:
    """Say of a run without a report how it stands, and what is to be done."""
    run, several = RunFolder(place), place / "runs"
    if any(is_held(RunFolder(each)) for each in (place, *several.glob("*"))):
        return "running", ""
    if not (several.is_dir() or run.requests.exists() or has_streams(run)):
        return "never began", "It holds no requests."
    return "not judged", f"abreast report {shlex.quote(str(place))} writes its report."
