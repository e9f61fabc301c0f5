"""Locust's `constant_throughput` with boto3, a client a process; settings as in `common`.

A user's number travels as InferenceId, since boto3 takes no headers of a caller's.
"""

import time

from locust import User, task

from benchmarks.generator.peers.common import URL, USERS, take_place, wait_time
from benchmarks.generator.target import BODY

# After locust, whose import patches what boto3 is built on.
import boto3  # isort: skip
from botocore.config import Config  # isort: skip

CLIENT = boto3.client(
    "sagemaker-runtime",
    endpoint_url=URL,
    config=Config(retries={"total_max_attempts": 1}, max_pool_connections=USERS),
)


class Boto3(User):
    host = URL
    wait_time = wait_time()

    def on_start(self) -> None:
        self.number = str(take_place(self))

    @task
    def invoke(self) -> None:
        failure = None
        started = time.perf_counter()
        try:
            answer = CLIENT.invoke_endpoint(
                EndpointName="benchmark",
                Body=BODY,
                ContentType="application/json",
                InferenceId=self.number,
            )
            answer["Body"].read()
        except Exception as error:  # noqa: BLE001 - Locust is told of whatever it was
            failure = error
        response_time = (time.perf_counter() - started) * 1000
        self.environment.events.request.fire(
            request_type="InvokeEndpoint",
            name="benchmark",
            response_time=response_time,
            response_length=0,
            exception=failure,
            context={},
        )
