"""The front door for plain Locust: `locust -f locustfile.py --plan ab --headless`."""

from locust import events

from experiments.traffic import EndpointUser, follow

follow(events)


class Slot(EndpointUser):
    """One request in flight at most; the plan says how many slots there are."""
