"""Locust with FastHttpUser, signed by botocore."""

from locust import FastHttpUser, task

from benchmarks.generator.target import BODY, PATH
from benchmarks.transport.peers.common import URL

# After locust, whose import patches what boto3 is built on.
import boto3  # isort: skip
from botocore.auth import SigV4Auth  # isort: skip
from botocore.awsrequest import AWSRequest  # isort: skip

SESSION = boto3.Session()
CREDENTIALS = SESSION.get_credentials()
assert CREDENTIALS is not None
SIGNER = SigV4Auth(CREDENTIALS, "sagemaker", SESSION.region_name)


class FastHttp(FastHttpUser):
    host = URL

    @task
    def invoke(self) -> None:
        headers = {"Content-Type": "application/json"}
        request = AWSRequest("POST", URL + PATH, headers, BODY)
        SIGNER.add_auth(request)
        self.client.post(PATH, data=BODY, headers=dict(request.headers.items()))
