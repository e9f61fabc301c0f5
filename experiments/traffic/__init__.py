"""What runs inside the Locust process: everything that imports locust or gevent.

A locustfile of your own takes `EndpointUser` and `follow` from here.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from experiments.traffic.attach import follow
    from experiments.traffic.users import EndpointUser

__all__ = ["EndpointUser", "follow"]

_HOMES = {"EndpointUser": "users", "follow": "attach"}


def __getattr__(name: str) -> Any:
    # To import locust is to patch the standard library, which only those who ask for these want.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
