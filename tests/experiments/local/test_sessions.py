"""Sessions of a stateful model, and that their calls stay with its instance."""

import csv
import re
from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from experiments.local import process
from experiments.local.process import LocalEndpoint
from experiments.local.sessions import (
    CLOSED_SESSION_ID,
    NEW_SESSION_ID,
    SESSION_ID,
    RefusedError,
    Sessions,
)

Connect = Callable[..., Any]
FILE = """
    name = "stateful"
    served_log = "served.csv"
    [variants.blue]
    instances = 8
    simulated = { constant = "0s" }
    [variants.aware]
    weight = 0
    instances = 8
    routing = "PREFIX_AWARE"
    simulated = { constant = "0s" }
    """


def test_a_session_is_opened_once_and_closed_once() -> None:
    sessions = Sessions()
    assert sessions.answer({}, b"") == {}
    opened = sessions.answer({SESSION_ID: "NEW_SESSION"}, b"")[NEW_SESSION_ID]
    match = re.fullmatch(r"([0-9a-f-]{36}); Expires=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", opened)
    assert match
    mine = {SESSION_ID: match[1]}
    assert sessions.answer(mine, b"more") == {}
    assert sessions.answer(mine, b"") == {CLOSED_SESSION_ID: match[1]}
    for not_open in (mine, {SESSION_ID: "another"}):
        for body in (b"", b"more"):
            with pytest.raises(RefusedError, match=not_open[SESSION_ID]):
                sessions.answer(not_open, body)


def test_a_session_is_over_when_it_was_announced_to_be() -> None:
    for lifetime, is_open in ((timedelta(0), False), (timedelta(minutes=1), True)):
        sessions = Sessions(lifetime)
        now = datetime.now(UTC)
        opened = sessions.answer({SESSION_ID: "NEW_SESSION"}, b"")[NEW_SESSION_ID]
        session, _, expires = opened.partition("; Expires=")
        assert abs(datetime.fromisoformat(expires) - now - lifetime) < timedelta(seconds=2)
        with nullcontext() if is_open else pytest.raises(RefusedError):
            assert sessions.answer({SESSION_ID: session}, b"more") == {}


def test_calls_of_a_session_or_a_prefix_go_to_one_instance(
    tmp_path: Path, connect: Connect
) -> None:
    (tmp_path / "e.toml").write_text(FILE)
    running: LocalEndpoint = process.start(tmp_path / "e.toml", log_dir=tmp_path)
    client = connect(running)

    def call(inference_id: str, body: bytes = b"x", **more: str) -> Any:
        answer = client.invoke_endpoint(
            EndpointName="stateful", Body=body, InferenceId=inference_id, **more
        )
        answer["Body"].read()
        return answer

    for number in range(4):
        session = call(f"s{number}", SessionId="NEW_SESSION")["NewSessionId"].partition(";")[0]
        for _ in range(5):
            call(f"s{number}", SessionId=session)
        assert call(f"s{number}", b"", SessionId=session)["ClosedSessionId"] == session
        for _ in range(6):
            call(f"p{number}", TargetVariant="aware", PrefixAwareId=f"p{number}")
    for more in ({}, {"TargetVariant": "aware"}):
        with pytest.raises(client.exceptions.ModelError, match="is not open") as caught:
            call("closed", SessionId=session, **more)
        assert caught.value.response["OriginalStatusCode"] == 400
    running.stop()
    with (tmp_path / "served.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    served = {
        key: {row["instance"] for row in rows if row["inference_id"] == key}
        for key in {row["inference_id"] for row in rows} - {"closed"}
    }
    assert {len(instances) for instances in served.values()} == {1}
    assert len(set.union(*served.values())) > 1
