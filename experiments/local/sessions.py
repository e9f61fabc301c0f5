"""A stateful model's sessions, as SageMaker's container contract has it open and close them."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from uuid import uuid4

SESSION_ID = "x-amzn-sagemaker-session-id"
NEW_SESSION_ID = "x-amzn-sagemaker-new-session-id"
CLOSED_SESSION_ID = "x-amzn-sagemaker-closed-session-id"
NEW_SESSION = "NEW_SESSION"
LIFETIME = timedelta(minutes=20)


class RefusedError(Exception):
    """Raised by a model of ours to answer with an error status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Sessions:
    """The sessions of one model: NEW_SESSION opens one, and an empty body in one closes it.

    How a client closes a session is a container's own affair; this is how ours do it.
    """

    def __init__(self, lifetime: timedelta = LIFETIME) -> None:
        self._lifetime = lifetime
        self._open: dict[str, datetime] = {}

    def answer(self, headers: Mapping[str, str], body: bytes) -> dict[str, str]:
        """Return what an answer has beside its own headers; refuse a session that is not open."""
        asked = headers.get(SESSION_ID)
        if asked is None:
            return {}
        now = datetime.now(UTC)
        while self._open and next(iter(self._open.values())) <= now:
            del self._open[next(iter(self._open))]  # the oldest come first
        if asked == NEW_SESSION:
            session = str(uuid4())
            # What is announced has whole seconds.
            self._open[session] = expires = (now + self._lifetime).replace(microsecond=0)
            return {NEW_SESSION_ID: f"{session}; Expires={expires:%Y-%m-%dT%H:%M:%SZ}"}
        if asked not in self._open:
            raise RefusedError(400, f"The session {asked} is not open: ask for {NEW_SESSION}.")
        if not body:
            del self._open[asked]
            return {CLOSED_SESSION_ID: asked}
        return {}
