"""Retries that a client makes by itself, seen by the id that the AWS SDKs give to each call."""

from collections import OrderedDict

REMEMBERED = 100_000


class Attempts:
    """Counts the calls, and those that came before with the same amz-sdk-invocation-id.

    The latest 100,000 ids are remembered.
    """

    def __init__(self) -> None:
        self._seen: OrderedDict[str, int] = OrderedDict()
        self.calls = 0
        self.repeated = 0

    def attempt(self, invocation_id: str | None) -> int:
        """Return which attempt of its call this is, from 1; without an id it is the first."""
        self.calls += 1
        if invocation_id is None:
            return 1
        attempt = self._seen.pop(invocation_id, 0) + 1
        self._seen[invocation_id] = attempt
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        self.repeated += attempt > 1
        return attempt
