"""The front door for plain Locust: `locust -f locustfile.py --plan ab --headless`."""

from locust import events

from experiments.traffic.control import add_options, attach
from experiments.traffic.users import EndpointUser


class Slot(EndpointUser):
    """One request in flight at most; the plan says how many slots there are."""


events.init_command_line_parser.add_listener(add_options)  # type: ignore[no-untyped-call]
events.init.add_listener(attach)  # type: ignore[no-untyped-call]
