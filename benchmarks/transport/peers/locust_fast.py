"""Locust with the fast transport, without a schedule and without records."""

from locust import User, task

from benchmarks.generator.target import BODY
from benchmarks.transport.peers.common import URL, tell

# After locust, whose import patches what boto3 is built on.
from experiments.tables import Endpoint

from experiments.traffic.fast import fast_transport  # isort: skip

made = fast_transport(Endpoint(name="benchmark", target=URL))
assert callable(made), made
TRANSPORT = made
CALL = {
    "EndpointName": "benchmark",
    "Body": BODY.encode(),
    "ContentType": "application/json",
}


class Fast(User):
    host = URL

    @task
    def invoke(self) -> None:
        tell(self, self._call)

    def _call(self) -> None:
        reply = TRANSPORT(CALL)
        if reply.exception is not None:
            raise reply.exception
