"""The order of the tests: those that make runs come first, and the short ones fill what is left."""

import pytest
from hypothesis import HealthCheck, settings

# The machine may be busy.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

_LONG = ("end_to_end", "reliability", "distributed", "browser", "sdks", "calibration")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not any(f"tests/{folder}/" in item.nodeid for folder in _LONG))
