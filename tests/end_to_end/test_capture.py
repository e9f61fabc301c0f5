"""A run against an endpoint that captures: its records and the capture are the same requests."""

import re
from pathlib import Path

from tests.end_to_end.conftest import Command, only_run


def test_a_runs_records_are_joined_to_what_was_captured(
    abreast: Command, plan: Path, tmp_path: Path
) -> None:
    file = plan.with_name("shop.endpoint.toml")
    file.write_text(file.read_text().replace("\n[", '\ncapture = { folder = "captured" }\n[', 1))
    ended = abreast("run", str(plan), "--set", "request.session_id=NEW_SESSION", "--quiet")
    assert ended.returncode in (0, 1, 3, 4), ended.stderr
    run = only_run(tmp_path / "reports")
    (captured,) = run.rglob("captured")

    def shown(folder: Path) -> list[int]:
        shown = abreast("show", str(run), "--capture", str(folder))
        assert shown.returncode == 0, shown.stderr
        (line,) = re.findall(r"^capture .*$", shown.stdout, re.MULTILINE)
        return [int(number.replace(",", "")) for number in re.findall(r"[\d,]*\d", line)]

    matched, missing, doubled, foreign = shown(captured)
    assert matched > 100
    # Each arm is asked once before the clock starts, which is not recorded.
    assert (missing, doubled, foreign) == (0, 0, 2)

    changed = max(captured.rglob("*.jsonl"), key=lambda file: file.stat().st_size)
    _, second, *rest = (line for line in changed.read_text().splitlines() if run.name in line)
    changed.write_text("\n".join([second, second, *rest]) + "\n")
    assert shown(captured)[:3] == [matched - 2, 1, 1]

    refused = abreast("show", str(run), "--capture", str(tmp_path / "none"))
    assert refused.returncode == 2
    assert "there is no .jsonl file" in refused.stderr
    assert abreast("show", "ab", "--capture", str(captured)).returncode == 2
