"""The AWS CLI for calls in JSON on stdin: a line for each, with exit status, output and error."""

import io
import json
import sys
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from typing import Any

from awscli.clidriver import create_clidriver


@cache
def driver(keys: str) -> Any:
    """One for each pair of keys, as starting the CLI takes longer than a call."""
    made = create_clidriver()
    if keys:
        made.session.set_credentials(*keys.split(":"))
    return made


for asked in json.load(sys.stdin):
    keys = asked.pop(0) if ":" in asked[0] else ""
    output, error = io.TextIOWrapper(io.BytesIO()), io.StringIO()
    with redirect_stdout(output), redirect_stderr(error):
        status = driver(keys).main([*asked, "--output", "json"])
    output.seek(0)
    sys.stdout.write(json.dumps([status, output.read(), error.getvalue()]) + "\n")
