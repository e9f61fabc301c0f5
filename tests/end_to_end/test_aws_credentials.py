"""Credentials that last five seconds are renewed under load, and no request shows it."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

import analysis
from analysis.reconcile import reconciled_check
from tests.end_to_end.aws import World, world
from tests.end_to_end.conftest import only_run

LIFETIME_S = 5
CLOUDWATCH = '[cloudwatch]\nread = true\nwait = "60s"'
PAIRED = 'routing = "paired"\ntransport = "{transport}"'
PROVIDER = """#!/bin/sh
# Hands out another key each second, which ends five seconds later.
number=$(( $(date +%s) - {began} ))
ends=$(date -u -d @$(( {began} + number + {lifetime} )) +%FT%TZ)
echo '{{"Version": 1, "AccessKeyId": "KEY'$number'", "SecretAccessKey": "secret'$number'",' \\
     '"SessionToken": "token'$number'", "Expiration": "'$ends'"}}'
"""


def keys(began: int) -> str:
    """Give the endpoint's keys, each of which is refused when it has ended."""
    lines = []
    for number in range(300):
        ends = datetime.fromtimestamp(began + number + LIFETIME_S, UTC)
        lines += [
            f"[keys.KEY{number}]", f'secret_access_key = "secret{number}"',
            'account = "123456789012"', f'session_token = "token{number}"',
            f"expires = {ends.isoformat()}",
        ]  # fmt: skip
    return "\n".join(lines)


def sent(folder: Path, transport: str) -> tuple[World, str]:
    """Make a run with such credentials only."""
    began = int(time.time())
    with world(folder, keys(began)) as there:
        provider, config = folder / "provider.sh", folder / "aws.ini"
        provider.write_text(PROVIDER.format(began=began, lifetime=LIFETIME_S))
        provider.chmod(0o755)
        config.write_text(f"[default]\ncredential_process = {provider}\n")
        plan = there.plan(
            PAIRED.format(transport=transport), rate=40, duration="8s", tables=CLOUDWATCH
        )
        none = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
        _, said = there.run("run", str(plan), AWS_CONFIG_FILE=str(config), **none)
        return there, said


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[World, str]]:
    """A run over each transport, at the same time."""
    folder = tmp_path_factory.mktemp("credentials")
    with ThreadPoolExecutor(2) as pool:
        transports = ("fast", "boto3")
        made = pool.map(lambda name: sent(folder / name, name), transports)
        return dict(zip(transports, made, strict=True))


@pytest.mark.parametrize("transport", ["fast", "boto3"])
def test_keys_of_five_seconds_are_renewed_and_no_request_shows_it(runs, transport: str) -> None:
    there, said = runs[transport]
    run = analysis.read_run(only_run(there.folder / "reports"))
    rows = run.requests
    assert len(rows) > 300, said
    assert (rows["outcome"] == "ok").all(), rows["error"].dropna().unique()
    # Keys that end so soon are always due for renewal, by a process. Within the requests it would
    # take tens of milliseconds of each. (A busy machine takes as much of those of a second.)
    each_second = rows["service_ms"].groupby(rows["started_ms"] // 1000).quantile(0.1)
    assert each_second.median() < 25, each_second
    assert reconciled_check(run).state == "ok"
