"""Reads the endpoint's fingerprint again and again while a run goes on, by one kept client.

Making a client holds the event loop for about 100 ms, and its first call for some more, so both
come before the clock starts. Readings that differ from the one before go to the timeline.
"""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import gevent

from experiments import run_folder
from experiments.errors import EndpointError
from experiments.run_folder import RunFolder
from experiments.sagemaker.endpoint import EndpointFacts

EVERY_S = 60.0


class EndpointWatch:
    """What DescribeEndpoint says during one run."""

    def __init__(self, read: Callable[[], EndpointFacts], folder: RunFolder) -> None:
        self._read = read
        self._folder = folder
        self.first = self._last = self._read()
        self._taken = self._failed = 0

    def loop(self) -> None:
        """Read every `EVERY_S` seconds, for ever: a greenlet of the run."""
        while True:
            gevent.sleep(EVERY_S)
            self._take()

    def _take(self) -> None:
        self._taken += 1
        try:
            found = self._read()
        except EndpointError as error:
            found = EndpointFacts(note=error.message)
        if not found.variants:
            self._failed += 1
        elif found != self._last:
            self._last = found
            run_folder.append_event(self._folder, "endpoint", **asdict(found))

    def ended(self) -> dict[str, Any]:
        """Read once more, and give what belongs into the manifest of a run that has ended."""
        readings = {"every_s": EVERY_S, "taken": self._taken, "failed": self._failed}
        try:
            after = self._read()
        except EndpointError as error:
            after = EndpointFacts(note=error.message)
        return {"endpoint_after": asdict(after), "endpoint_readings": readings}


def subject(facts: EndpointFacts) -> dict[str, str]:
    """Give what of an endpoint may differ between runs that are compared."""
    found = {"endpoint config": facts.config or "not known"}
    for name, variant in facts.variants.items():
        found[f"model of {name}"] = variant.model or "not known"
        found[f"image of {name}"] = variant.image or "not known"
    return found


def conditions(facts: EndpointFacts) -> dict[str, str]:
    """Give what of an endpoint must be alike in runs that are compared."""
    return {
        f"instances of {name}": f"{variant.instances} x {variant.instance_type}"
        for name, variant in facts.variants.items()
    }
