"""What the locustfiles share: their settings, from environment variables, and how to tell Locust.

Settings: URL and USERS. Each user sends its next request when it has the answer to the last.
"""

import os
import time
from collections.abc import Callable
from typing import Any

from locust import User

URL = os.environ["URL"]
USERS = int(os.environ["USERS"])


def tell(user: User, call: Callable[[], Any]) -> None:
    """Make a call and report it to Locust, whatever comes of it."""
    failure = None
    started = time.perf_counter()
    try:
        call()
    except Exception as error:  # noqa: BLE001 - Locust is told of whatever it was
        failure = error
    user.environment.events.request.fire(
        request_type="InvokeEndpoint",
        name="benchmark",
        response_time=(time.perf_counter() - started) * 1000,
        response_length=0,
        exception=failure,
        context={},
    )
