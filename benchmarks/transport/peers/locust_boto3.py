"""Locust with boto3, a client a user: the way of AWS's blog and samples."""

from locust import User, task

from benchmarks.generator.target import BODY
from benchmarks.transport.peers.common import URL, tell

# After locust, whose import patches what boto3 is built on.
import boto3  # isort: skip
from botocore.config import Config  # isort: skip


class Boto3(User):
    host = URL

    def on_start(self) -> None:
        self.client = boto3.client(
            "sagemaker-runtime", endpoint_url=URL, config=Config(retries={"max_attempts": 0})
        )

    @task
    def invoke(self) -> None:
        tell(self, self._call)

    def _call(self) -> None:
        answer = self.client.invoke_endpoint(
            EndpointName="benchmark", Body=BODY, ContentType="application/json"
        )
        answer["Body"].read()
